//! A sink comes in as a client and subscribes to what its table says, and to nothing else.
//!
//! Always holds: filters of an earlier table that this one has no more are unsubscribed from: their messages would be delivered still.
//! Leaves to others: the messages that come before all is subscribed to, which are handed on.

use std::time::Duration;

use crate::codec::{RetainHandling, SubscribeFilter, SubscriptionOptions};
use crate::config::SinkSettings;
use crate::services::connectors::ConnectorContext;
use crate::services::local::{LocalClient, LocalConnack, LocalConnect, LocalError, OwnedPacket};
use crate::shard::{Command, Reply};

/// How long a shard may take to say what a session has subscribed to.
const PATIENCE: Duration = Duration::from_secs(10);
/// Filters of one SUBSCRIBE or UNSUBSCRIBE.
const FILTERS_AT_ONCE: usize = 100;

/// Connects and subscribes. Returns the client, what the broker has announced, and what came meanwhile.
pub(super) async fn connect(
    settings: &SinkSettings,
    context: &ConnectorContext,
) -> Result<(LocalClient, LocalConnack, Vec<OwnedPacket>), LocalError> {
    let client_id = context.state.client_id();
    let who = LocalConnect {
        client_id: client_id.clone(),
        clean_start: false,
        session_expiry_s: settings.session_expiry_s,
        receive_maximum: settings.inflight_max,
        will: None,
    };
    let (mut client, told) = context.door.connect(who).await?;
    let mut earlier = Vec::new();
    if told.session_present {
        let known = subscribed(context, &client_id).await?;
        let gone: Vec<Box<str>> = known.into_iter().filter(|filter| !settings.topics.contains(filter)).collect();
        for filters in gone.chunks(FILTERS_AT_ONCE) {
            unsubscribe(&mut client, filters, &mut earlier).await?;
        }
    }
    for filters in settings.topics.chunks(FILTERS_AT_ONCE) {
        let filters: Vec<SubscribeFilter<'_>> =
            filters.iter().map(|filter| SubscribeFilter { filter, options: options(settings) }).collect();
        let codes = client.subscribe(None, &filters, &mut earlier).await?;
        if let Some(refused) = codes.into_iter().find(|code| code.is_error()) {
            return Err(LocalError::Refused(refused));
        }
    }
    Ok((client, told, earlier))
}

/// Retained messages come with the first subscription to a filter; RETAIN stays as it was published.
const fn options(settings: &SinkSettings) -> SubscriptionOptions {
    SubscriptionOptions {
        qos: settings.qos,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::SendIfNew,
    }
}

/// What the session has subscribed to, a page after the other.
async fn subscribed(context: &ConnectorContext, client_id: &str) -> Result<Vec<Box<str>>, LocalError> {
    let (mut filters, mut first) = (Vec::new(), 0);
    loop {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let command = Command::ListSubscriptions { client_id: client_id.into(), first };
        context.door.owner(client_id).send_then(command, move |reply| drop(answer.send(reply)))?;
        let reply = tokio::time::timeout(PATIENCE, answered).await.map_err(|_| LocalError::Silent)?;
        match reply.map_err(|_| LocalError::Silent)? {
            Reply::Subscriptions { page, next, .. } => {
                filters.extend(page.into_iter().map(|row| row.filter));
                match next {
                    Some(next) => first = next,
                    None => return Ok(filters),
                }
            }
            _ => return Ok(filters),
        }
    }
}

async fn unsubscribe(
    client: &mut LocalClient,
    filters: &[Box<str>],
    earlier: &mut Vec<OwnedPacket>,
) -> Result<(), LocalError> {
    let id = client.next_id();
    client.stream().put_unsubscribe(id, filters.iter().map(|filter| &**filter));
    loop {
        match client.next().await? {
            OwnedPacket::UnsubAck { packet_id } if packet_id == id => return Ok(()),
            packet => earlier.push(packet),
        }
    }
}
