//! Rows as messages on other topics of the same broker.
//!
//! Always holds: a batch is delivered when each of its messages is acknowledged; a message that has passed `max_hops` sinks and bridges is
//! rejected, so that two sinks that feed each other come to an end.
//! Leaves to others: who gets them.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::timeout;

use super::delivered::{DeliverError, Delivered};
use super::row::Row;
use super::values::values_of;
use crate::codec::{AckKind, Property, ReasonCode};
use crate::config::sink_targets::RepublishSettings;
use crate::ids::{PacketId, Qos};
use crate::services::local::{
    LocalClient, LocalConnack, LocalConnect, LocalDoor, LocalError, OwnedPacket, OwnedPublish,
};
use crate::topic::TopicName;

/// The user property that counts them.
pub(super) const HOPS: &str = "dunlin-hops";
/// How long the broker may take to acknowledge a message: a full disk holds it back.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module's text.
pub(crate) struct RepublishTarget {
    settings: RepublishSettings,
    door: LocalDoor,
    /// What it is called in the broker; its session ends with its connection.
    client_id: String,
    client: Option<(LocalClient, LocalConnack)>,
}

impl std::fmt::Debug for RepublishTarget {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RepublishTarget").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl RepublishTarget {
    /// Connects with the first batch. `client_id` begins with `$sink/`.
    pub(crate) const fn new(settings: RepublishSettings, door: LocalDoor, client_id: String) -> Self {
        Self { settings, door, client_id, client: None }
    }

    /// Publishes a batch, and waits for the acknowledgements.
    pub(crate) async fn deliver(&mut self, batch: &[Row]) -> Result<Delivered, DeliverError> {
        // Taken out: when this is dropped half way, the connection goes with it.
        let (mut client, told) = match self.client.take() {
            Some(client) => client,
            None => self.connect().await.map_err(DeliverError::retry)?,
        };
        let mut rejected = Vec::new();
        let mut open = HashMap::new();
        for (at, row) in batch.iter().enumerate() {
            let mut publish = match self.message(row, &told) {
                Ok(publish) => publish,
                Err(why) => {
                    rejected.push((at, why));
                    continue;
                }
            };
            if publish.qos != Qos::AtMostOnce {
                while open.len() >= usize::from(told.receive_maximum.max(1)) {
                    take_ack(&mut client, &mut open, &mut rejected).await?;
                }
                let id = client.next_id();
                publish.packet_id = Some(id);
                open.insert(id, at);
            }
            client.publish(&publish).await.map_err(DeliverError::retry)?;
        }
        while !open.is_empty() {
            take_ack(&mut client, &mut open, &mut rejected).await?;
        }
        self.client = Some((client, told));
        rejected.sort_unstable();
        Ok(if rejected.is_empty() { Delivered::All } else { Delivered::Some { rejected } })
    }

    async fn connect(&self) -> Result<(LocalClient, LocalConnack), LocalError> {
        let who = LocalConnect {
            client_id: self.client_id.clone(),
            clean_start: true,
            session_expiry_s: 0,
            receive_maximum: 1,
            will: None,
        };
        self.door.connect(who).await
    }

    fn message(&self, row: &Row, told: &LocalConnack) -> Result<OwnedPublish, String> {
        let passed = row.user_properties.iter().find(|(name, _)| name == HOPS);
        let passed = passed.map_or(0, |(_, value)| value.parse().unwrap_or(u32::MAX));
        if passed >= u32::from(self.settings.hops_max) {
            return Err(format!("it has passed {passed} sinks and bridges already"));
        }
        let topic = self.settings.topic.render_text(&values_of(row)).map_err(|error| format!("topic: {error}"))?;
        if TopicName::parse(&topic, u16::MAX).is_err() || topic.starts_with("$SYS") {
            return Err(format!("{topic:?} is no topic to publish to"));
        }
        let mut publish = OwnedPublish::new(&topic, row.payload.clone());
        publish.qos = self.settings.qos;
        publish.retain = self.settings.retain;
        publish.properties = properties(row, passed + 1);
        told.lower(&mut publish);
        // It would end the connection, and the same again with the next.
        told.check_size(&publish)?;
        Ok(publish)
    }
}

/// What goes on from the message that it was, and how many have passed it on.
fn properties(row: &Row, hops: u32) -> Box<[u8]> {
    let mut block = Vec::new();
    if let Some(text) = &row.content_type {
        Property::ContentType(text).write_to(&mut block);
    }
    if let Some(text) = &row.response_topic {
        Property::ResponseTopic(text).write_to(&mut block);
    }
    if let Some(data) = &row.correlation_data {
        Property::CorrelationData(data).write_to(&mut block);
    }
    for (name, value) in row.user_properties.iter().filter(|(name, _)| name != HOPS) {
        Property::UserProperty(name, value).write_to(&mut block);
    }
    Property::UserProperty(HOPS, &hops.to_string()).write_to(&mut block);
    block.into()
}

/// Waits for one acknowledgement. One that says no is a row's fault, but for those that say that there is no room now.
async fn take_ack(
    client: &mut LocalClient,
    open: &mut HashMap<PacketId, usize>,
    rejected: &mut Vec<(usize, String)>,
) -> Result<(), DeliverError> {
    loop {
        let packet = timeout(PATIENCE, client.next()).await;
        let packet = packet.map_err(|_| DeliverError::retry("the broker does not acknowledge"))?;
        let OwnedPacket::Ack(ack) = packet.map_err(DeliverError::retry)? else { continue };
        if ack.kind != AckKind::PubAck {
            continue;
        }
        let Some(at) = open.remove(&ack.packet_id) else { continue };
        return match ack.reason {
            reason if !reason.is_error() => Ok(()),
            ReasonCode::QuotaExceeded => Err(DeliverError::retry(format!("the broker refuses it: {}", ack.reason))),
            reason => {
                rejected.push((at, format!("the broker refuses it: {reason}")));
                Ok(())
            }
        };
    }
}
