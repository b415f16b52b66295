//! Sources: messages of other systems that are published here.
//!
//! Owns: for each source a client of this broker, what it reads from, and what waits for its acknowledgement.
//! Always holds: the other system is told that a message was taken only after this broker has acknowledged it: what is cut off in
//! between comes again. What this broker never takes is counted and left behind, so that it holds nothing up.
//! Leaves to others: how Kafka and NATS are read ([`kafka`], [`nats`]), the client ([`local`](super::local)), when it runs (`connectors`).

mod feed;
#[cfg(feature = "kafka")]
mod kafka;
mod message;
#[cfg(feature = "nats")]
mod nats;
mod publish;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::connectors::{ConnectorContext, ConnectorState, ConnectorStatus, NotPassed};
use super::local::{LocalClient, LocalConnack, LocalConnect, LocalDoor, OwnedAck, OwnedPacket};
use crate::codec::{AckKind, ReasonCode};
use crate::config::SourceSettings;
use crate::ids::{PacketId, Qos};
use crate::limits::SOURCE_RETRY_MAX_MS;
use crate::telemetry::log;
use feed::{Feed, FeedWatch};
use message::{FeedMessage, FeedPosition};
use publish::publish_of;

/// The first wait before it tries again.
const RETRY_MIN_MS: u64 = 200;

/// How often it looks how much waits where it reads.
const LAG_LOOK: Duration = Duration::from_secs(2);

/// Runs until it is to end.
pub(super) async fn run(settings: Arc<SourceSettings>, mut context: ConnectorContext) {
    let mut wait_ms = RETRY_MIN_MS;
    loop {
        let mut taken = 0;
        let (state, door) = (Arc::clone(&context.state), context.door.clone());
        let failed = tokio::select! {
            biased;
            () = context.stopped() => return,
            failed = carry(&settings, &state, &door, &mut taken) => failed,
        };
        state.counters.failed_attempts.fetch_add(1, Ordering::Relaxed);
        state.failed(&failed);
        state.set_status(ConnectorStatus::Connecting, Some(settings.feed.address()));
        // Something went through: what failed is not what was there before.
        wait_ms = if taken > 0 { RETRY_MIN_MS } else { (wait_ms * 2).min(SOURCE_RETRY_MAX_MS) };
        tokio::select! {
            () = context.stopped() => return,
            () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
        }
    }
}

/// Carries messages until something fails, and says what.
async fn carry(settings: &SourceSettings, state: &ConnectorState, door: &LocalDoor, taken: &mut u64) -> String {
    state.set_status(ConnectorStatus::Connecting, Some(settings.feed.address()));
    let feed = match Feed::open(&settings.feed).await {
        Ok(feed) => feed,
        Err(why) => return why,
    };
    let who = LocalConnect {
        client_id: state.client_id(),
        clean_start: true,
        session_expiry_s: 0,
        receive_maximum: 1,
        will: None,
    };
    let (client, told) = match door.connect(who).await {
        Ok(connected) => connected,
        Err(error) => return error.to_string(),
    };
    let watch = feed.watch();
    let window = usize::from(settings.inflight_max.min(told.receive_maximum));
    let mut carrier = Carrier { settings, state, client, feed, waiting: HashMap::new(), told };
    let failed = tokio::select! {
        biased;
        never = tell_how_it_does(settings, state, watch) => match never {},
        failed = carrier.run(window, taken) => failed,
    };
    match failed {
        Ok(never) => match never {},
        Err(why) => why,
    }
}

/// Says when the other system has taken the source for a reader, and from then on how much waits there.
async fn tell_how_it_does(
    settings: &SourceSettings,
    state: &ConnectorState,
    mut watch: FeedWatch,
) -> std::convert::Infallible {
    watch.connected().await;
    let address = settings.feed.address();
    log::event::connector_connected(state.kind.word(), &state.name, &address);
    state.counters.connects.fetch_add(1, Ordering::Relaxed);
    state.set_status(ConnectorStatus::Connected, Some(address));
    loop {
        state.set_lag(watch.lag().await);
        tokio::time::sleep(LAG_LOOK).await;
    }
}

/// Messages on their way.
struct Carrier<'a> {
    settings: &'a SourceSettings,
    state: &'a ConnectorState,
    client: LocalClient,
    feed: Feed,
    /// What the other system is told when the acknowledgement has come.
    waiting: HashMap<PacketId, (FeedPosition, usize)>,
    /// What this broker takes.
    told: LocalConnack,
}

impl Carrier<'_> {
    async fn run(&mut self, window: usize, taken: &mut u64) -> Result<std::convert::Infallible, String> {
        loop {
            tokio::select! {
                biased;
                packet = self.client.next() => match packet.map_err(|error| error.to_string())? {
                    OwnedPacket::Ack(ack) if ack.kind == AckKind::PubAck => {
                        self.handle_ack(ack).await?;
                        *taken += 1;
                    }
                    _ => return Err("the broker has sent what nobody expects here".to_owned()),
                },
                message = self.feed.next(), if self.waiting.len() < window => {
                    self.handle_message(message?).await?;
                }
            }
        }
    }

    async fn handle_message(&mut self, message: FeedMessage) -> Result<(), String> {
        let mut publish = match publish_of(self.settings, &message, &self.told) {
            Ok(publish) => publish,
            Err(why) => {
                self.leave_behind(&format!("{} is left behind: {why}", message.mark));
                return self.feed.taken(message.mark).await;
            }
        };
        let bytes = publish.payload.len();
        if publish.qos == Qos::AtMostOnce {
            self.client.publish(&publish).await.map_err(|error| error.to_string())?;
            self.count(bytes);
            return self.feed.taken(message.mark).await;
        }
        let id = self.free_id();
        publish.packet_id = Some(id);
        self.waiting.insert(id, (message.mark, bytes));
        self.client.publish(&publish).await.map_err(|error| error.to_string())
    }

    async fn handle_ack(&mut self, ack: OwnedAck) -> Result<(), String> {
        let Some((mark, bytes)) = self.waiting.remove(&ack.packet_id) else { return Ok(()) };
        match ack.reason {
            reason if !reason.is_error() => self.count(bytes),
            // It is never taken: somebody else's message would wait behind it for good.
            ReasonCode::TopicNameInvalid
            | ReasonCode::PayloadFormatInvalid
            | ReasonCode::PacketTooLarge
            | ReasonCode::ImplementationSpecificError => {
                self.leave_behind(&format!("{mark} is left behind: the broker says {}", ack.reason));
            }
            reason => return Err(format!("the broker does not take {mark}: {reason}")),
        }
        self.feed.taken(mark).await
    }

    fn count(&self, bytes: usize) {
        self.state.counters.messages_in.fetch_add(1, Ordering::Relaxed);
        self.state.counters.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn leave_behind(&self, why: &str) {
        self.state.count_not_passed(NotPassed::Refused);
        self.state.failed(why);
    }

    fn free_id(&mut self) -> PacketId {
        loop {
            let id = self.client.next_id();
            if !self.waiting.contains_key(&id) {
                return id;
            }
        }
    }
}
