//! What happens with some clients, topics or addresses, told for a time to whoever wants to know: the log, or a live stream.
//!
//! Owns: the rules of the process, which any thread may change and shards read.
//! Always holds: there are [`TRACES_MAX`] rules at most; while there is none, an event costs one look at whether there is one; a stream that is
//! not read loses lines and says how many. No payload is shown.
//! Leaves to others: when a rule ends, and who may have one.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::conn::{Connections, Peer};
use crate::ids::ConnectionId;
use crate::limits::TRACES_MAX;
use crate::settings::Network;
use crate::shard::Event;
use crate::telemetry::{Verbosity, log};
use crate::topic::{TopicFilter, TopicName, matches};

/// Takes lines on a shard's thread: it may pass them on and no more. False where it cannot.
pub(crate) type TraceTaker = Box<dyn Fn(TraceLine) -> bool + Send + Sync>;

/// What is told, and to whom.
pub(crate) struct TraceRule {
    /// Of this client alone.
    pub(crate) client_id: Option<Box<str>>,
    /// With a topic, or a filter, that this filter matches.
    pub(crate) topic: Option<Box<str>>,
    /// Of whoever comes from there.
    pub(crate) network: Option<Network>,
    /// Comings and goings, with subscriptions, or with each message.
    pub(crate) detail: Verbosity,
    /// Who is told; the log where it is nobody.
    pub(crate) taker: Option<TraceTaker>,
    /// Lines that it did not take.
    pub(crate) lost: AtomicU64,
}

/// Names a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TraceId(pub(crate) u64);

/// One thing that has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TraceLine {
    /// As the log calls it.
    pub(crate) event: &'static str,
    pub(crate) client_id: Box<str>,
    pub(crate) address: String,
    pub(crate) topic: Option<Box<str>>,
    /// The rest in words.
    pub(crate) text: String,
}

type Rules = Vec<(TraceId, Arc<TraceRule>)>;

static RULES: LazyLock<ArcSwap<Rules>> = LazyLock::new(ArcSwap::default);
/// Held while they are changed; holds the last name.
static CHANGING: Mutex<u64> = Mutex::new(0);
/// The most talkative of the rules, and one more; 0 where there is none.
static WANTED: AtomicU8 = AtomicU8::new(0);

/// Adds a rule. `None` where there are as many as may be.
pub(crate) fn add(rule: TraceRule) -> Option<(TraceId, Arc<TraceRule>)> {
    let mut last = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut rules = RULES.load().to_vec();
    if rules.len() >= TRACES_MAX {
        return None;
    }
    *last += 1;
    let (id, rule) = (TraceId(*last), Arc::new(rule));
    rules.push((id, Arc::clone(&rule)));
    set(rules);
    Some((id, rule))
}

/// Takes a rule out. Returns whether it was there.
pub(crate) fn remove(id: TraceId) -> bool {
    let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut rules = RULES.load().to_vec();
    let before = rules.len();
    rules.retain(|(known, _)| *known != id);
    let is_removed = rules.len() < before;
    set(rules);
    is_removed
}

fn set(rules: Rules) {
    let wanted = rules.iter().map(|(_, rule)| rule.detail as u8 + 1).max().unwrap_or(0);
    RULES.store(Arc::new(rules));
    WANTED.store(wanted, Ordering::Relaxed);
}

/// What the core has to tell for them.
pub(crate) fn verbosity() -> Verbosity {
    match WANTED.load(Ordering::Relaxed) {
        0 | 1 => Verbosity::Info,
        2 => Verbosity::Debug,
        _ => Verbosity::Trace,
    }
}

/// Whether there are any.
#[inline]
pub(super) fn is_on() -> bool {
    WANTED.load(Ordering::Relaxed) > 0
}

/// Something has happened.
pub(super) fn note(connections: &Connections, event: &Event) {
    let Some(seen) = Seen::of(event) else { return };
    let peer = seen.connection.map(|connection| connections.peer(connection));
    for (_, rule) in RULES.load().iter() {
        let ip = peer.and_then(Peer::ip);
        if seen.detail > rule.detail || !seen.is_wanted(rule, ip) {
            continue;
        }
        let line = TraceLine {
            event: seen.event,
            client_id: seen.client_id.into(),
            address: peer.map_or_else(String::new, |peer| peer.to_string()),
            topic: seen.topic.map(Into::into),
            text: text_of(event),
        };
        match &rule.taker {
            Some(take) => {
                if !take(line) {
                    rule.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            None => log::event::traced(line.event, &line.client_id, &line.address, line.topic.as_deref(), &line.text),
        }
    }
}

/// What an event is about.
struct Seen<'a> {
    event: &'static str,
    connection: Option<ConnectionId>,
    client_id: &'a str,
    /// A topic name, or a filter.
    topic: Option<&'a str>,
    is_filter: bool,
    /// From where on it is told.
    detail: Verbosity,
}

impl<'a> Seen<'a> {
    fn of(event: &'a Event) -> Option<Self> {
        let seen = |event, connection, client_id, topic, detail| Self {
            event,
            connection,
            client_id,
            topic,
            is_filter: false,
            detail,
        };
        let filter = |event, connection, client_id, topic| Self {
            is_filter: true,
            ..seen(event, connection, client_id, Some(topic), Verbosity::Debug)
        };
        Some(match event {
            Event::Connected { connection, client_id, .. } => {
                seen("client_connected", Some(*connection), client_id, None, Verbosity::Info)
            }
            Event::Refused { connection, client_id, .. } => {
                seen("connect_refused", Some(*connection), client_id, None, Verbosity::Info)
            }
            Event::Flapping { connection, client_id, .. } => {
                seen("client_flapping", Some(*connection), client_id, None, Verbosity::Info)
            }
            Event::Disconnected { connection, client_id, .. } => {
                seen("client_disconnected", Some(*connection), client_id, None, Verbosity::Info)
            }
            Event::MessageRefused { connection, client_id, topic, .. } => {
                seen("message_refused", Some(*connection), client_id, Some(topic), Verbosity::Info)
            }
            Event::LossBegins { client_id, .. } => seen("messages_lost", None, client_id, None, Verbosity::Info),
            Event::ProtocolError { connection, client_id, .. } => {
                seen("protocol_error", Some(*connection), client_id, None, Verbosity::Debug)
            }
            Event::SubscriptionRevoked { client_id, filter: text } => {
                Self { connection: None, ..filter("subscription_revoked", None, client_id, text) }
            }
            Event::Subscribed { connection, client_id, filter: text, .. } => {
                filter("subscribe", Some(*connection), client_id, text)
            }
            Event::Unsubscribed { connection, client_id, filter: text, .. } => {
                filter("unsubscribe", Some(*connection), client_id, text)
            }
            Event::PublishRefused { connection, client_id, topic, .. } => {
                seen("publish_refused", Some(*connection), client_id, Some(topic), Verbosity::Debug)
            }
            Event::PublishReceived(publish) => seen(
                "publish_received",
                Some(publish.connection),
                &publish.client_id,
                Some(&publish.topic),
                Verbosity::Trace,
            ),
            Event::PublishSent(publish) => seen(
                "publish_sent",
                Some(publish.connection),
                &publish.client_id,
                Some(&publish.topic),
                Verbosity::Trace,
            ),
            _ => return None,
        })
    }

    fn is_wanted(&self, rule: &TraceRule, ip: Option<core::net::IpAddr>) -> bool {
        rule.client_id.as_deref().is_none_or(|id| id == self.client_id)
            && rule.network.is_none_or(|network| ip.is_some_and(|ip| network.contains(ip.to_canonical())))
            && rule.topic.as_deref().is_none_or(|filter| self.topic.is_some_and(|topic| self.is_about(filter, topic)))
    }

    fn is_about(&self, filter: &str, topic: &str) -> bool {
        if self.is_filter {
            return filter == topic;
        }
        let (Ok(filter), Ok(topic)) = (TopicFilter::parse(filter, u16::MAX), TopicName::parse(topic, u16::MAX)) else {
            return false;
        };
        matches(filter, topic)
    }
}

/// The rest of it in words.
fn text_of(event: &Event) -> String {
    match event {
        Event::Connected { user, version, keep_alive_s, clean_start, session_present, .. } => format!(
            "version={} keep_alive_s={keep_alive_s} clean_start={clean_start} session_present={session_present}{}",
            version.name(),
            user.as_deref().map(|user| format!(" user={user:?}")).unwrap_or_default()
        ),
        Event::Refused { reason, text, .. } => format!("reason={} {text}", reason.label()),
        Event::Disconnected { reason, text, .. } => format!("reason={} {text}", reason.label()),
        Event::MessageRefused { text, .. } => (*text).to_owned(),
        Event::LossBegins { reason, queued, .. } => format!("reason={} queued={queued}", reason.label()),
        Event::ProtocolError { code, text, .. } => format!("code=0x{:02x} {text}", *code as u8),
        Event::Subscribed { qos, code, .. } => format!("qos={} code=0x{:02x}", *qos as u8, *code as u8),
        Event::Unsubscribed { code, .. } | Event::PublishRefused { code, .. } => {
            format!("code=0x{:02x}", *code as u8)
        }
        Event::PublishReceived(publish) | Event::PublishSent(publish) => format!(
            "qos={} retain={} dup={} payload_bytes={}",
            publish.qos as u8, publish.retain, publish.dup, publish.payload_bytes
        ),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ReasonCode;
    use crate::ids::Qos;

    fn rule(client_id: Option<&str>, topic: Option<&str>, network: Option<&str>) -> TraceRule {
        TraceRule {
            client_id: client_id.map(Into::into),
            topic: topic.map(Into::into),
            network: network.map(|network| network.parse().unwrap()),
            detail: Verbosity::Debug,
            taker: None,
            lost: AtomicU64::new(0),
        }
    }

    #[test]
    fn a_rule_wants_its_client_its_topics_and_its_network_and_nothing_else() {
        let event = Event::PublishRefused {
            connection: ConnectionId::new(1, 1),
            client_id: "a".into(),
            topic: "t/1".into(),
            code: ReasonCode::QuotaExceeded,
        };
        let subscribed = Event::Subscribed {
            connection: ConnectionId::new(1, 1),
            client_id: "a".into(),
            filter: "t/+".into(),
            qos: Qos::AtMostOnce,
            code: ReasonCode::Success,
        };
        let ip = "192.0.2.9".parse().ok();
        let wants = |rule: &TraceRule, event: &Event| Seen::of(event).unwrap().is_wanted(rule, ip);
        for (client_id, topic, network, expected) in [
            (Some("a"), None, None, true),
            (Some("b"), None, None, false),
            (None, Some("t/+"), None, true),
            (None, Some("u/#"), None, false),
            (None, None, Some("192.0.2.0/24"), true),
            (None, None, Some("192.0.3.0/24"), false),
            (Some("a"), Some("t/1"), Some("192.0.2.9"), true),
        ] {
            assert_eq!(
                wants(&rule(client_id, topic, network), &event),
                expected,
                "{client_id:?} {topic:?} {network:?}"
            );
        }
        assert!(
            wants(&rule(None, Some("t/+"), None), &subscribed) && !wants(&rule(None, Some("t/1"), None), &subscribed)
        );
        assert_eq!(text_of(&event), "code=0x97");
    }

    #[test]
    fn there_are_so_many_rules_and_no_more_and_without_any_nothing_is_built() {
        let rules: Vec<_> = (0..TRACES_MAX).map(|_| add(rule(Some("nobody"), None, None)).unwrap().0).collect();
        assert!(add(rule(None, None, None)).is_none() && is_on());
        assert_eq!(verbosity(), Verbosity::Debug);
        assert!(rules.iter().all(|id| remove(*id)) && !remove(rules[0]));
        assert!(!is_on() && verbosity() == Verbosity::Info);
    }
}
