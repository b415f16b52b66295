//! `$SYS`: the broker's own topics, with Mosquitto's names.
//!
//! Every shard reports its numbers to shard 0 once an interval; shard 0 adds them up and publishes what has changed, as
//! retained messages. What happens with clients is told where the client is (`lifecycle`).

use std::sync::Arc;

use super::outgoing::Fanout;
use super::route::MessageOrigin;
use super::{CertificatesEnd, MeshMessage, ProcessContext, Shard, Turn};
use crate::codec::Forwarded;
use crate::ids::{Qos, ShardId};
use crate::session::{MessageRef, Routed};
use crate::telemetry::{CloseReason, DropReason, PauseReason, Report, TransportCounters};
use crate::time::{Deadline, Now};
use crate::topic::TopicName;

/// One exponentially weighted rate a minute, over 1, 5 and 15 minutes.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    last: u64,
    averages: [f64; 3],
}

const LOAD_MINUTES: [(f64, &str); 3] = [(1.0, "1min"), (5.0, "5min"), (15.0, "15min")];

impl Load {
    /// Goes on to a counter's new value after `interval_s` seconds.
    fn update(&mut self, value: u64, interval_s: f64) {
        #[expect(clippy::cast_precision_loss, reason = "a rate that is shown with two decimals")]
        let per_minute = value.saturating_sub(self.last) as f64 * 60.0 / interval_s;
        self.last = value;
        for (average, (minutes, _)) in self.averages.iter_mut().zip(LOAD_MINUTES) {
            let weight = (-interval_s / (60.0 * minutes)).exp();
            *average = per_minute + weight * (*average - per_minute);
        }
    }
}

/// What `$SYS` needs to remember.
#[derive(Debug)]
pub(super) struct Sys {
    interval_s: u16,
    next: Option<Deadline>,
    started_s: u32,
    last_s: u32,
    reports: Vec<Report>,
    clients_maximum: u64,
    loads: [Load; LOADS.len()],
    /// What was published last, in the order of `topics`.
    published: Vec<String>,
    certificates_end: Arc<CertificatesEnd>,
}

type Counter = fn(&Report) -> u64;

/// Names of the load topics and the counters behind them.
const LOADS: [(&str, Counter); 9] = [
    ("messages/received", |sum| sum.counters.packets_received),
    ("messages/sent", |sum| sum.counters.packets_sent),
    ("publish/received", |sum| sum.counters.publish_received),
    ("publish/sent", |sum| sum.counters.publish_sent),
    ("publish/dropped", |sum| sum.counters.dropped_total()),
    ("bytes/received", |sum| sum.transport.bytes_received),
    ("bytes/sent", |sum| sum.transport.bytes_sent),
    ("sockets", |sum| sum.transport.sockets),
    ("connections", |sum| sum.counters.connections),
];

impl Sys {
    pub(super) fn new(process: &ProcessContext, now: Now) -> Self {
        let settings = &process.settings;
        let interval_s = settings.sys_interval_s;
        Self {
            interval_s,
            // The first publication is early, so that a subscriber need not wait an interval for the version.
            next: (interval_s > 0).then(|| now.after_ms(FIRST_PUBLICATION_MS)),
            started_s: now.s(),
            last_s: now.s(),
            reports: vec![Report::default(); settings.shards],
            clients_maximum: 0,
            loads: [Load::default(); LOADS.len()],
            published: Vec::new(),
            certificates_end: Arc::clone(&process.certificates_end),
        }
    }

    pub(super) const fn next_deadline(&self) -> Option<Deadline> {
        self.next
    }

    /// Changes the interval; the next publication is an early one if it was off.
    pub(super) fn set_interval_s(&mut self, now: Now, interval_s: u16) {
        if interval_s == self.interval_s {
            return;
        }
        self.interval_s = interval_s;
        self.next = (interval_s > 0).then(|| now.after_ms(FIRST_PUBLICATION_MS));
    }

    /// Takes another shard's numbers.
    pub(super) fn report(&mut self, from: ShardId, report: Report) {
        self.reports[from.index()] = report;
    }

    /// Every topic with its present value, always in the same order.
    fn topics(&mut self, now: Now) -> Vec<(String, String)> {
        let mut sum = Report::default();
        self.reports.iter().for_each(|report| sum.add(report));
        let Report { counters, transport, gauges, .. } = &sum;
        let interval_s = f64::from(now.s().saturating_sub(self.last_s).max(1));
        self.last_s = now.s();
        let total = gauges.clients_connected + gauges.clients_disconnected;
        self.clients_maximum = self.clients_maximum.max(gauges.clients_connected);
        let values: [(&str, u64); 21] = [
            ("clients/connected", gauges.clients_connected),
            ("clients/active", gauges.clients_connected),
            ("clients/disconnected", gauges.clients_disconnected),
            ("clients/inactive", gauges.clients_disconnected),
            ("clients/total", total),
            ("clients/maximum", self.clients_maximum),
            ("clients/expired", counters.sessions_expired),
            ("messages/received", counters.packets_received),
            ("messages/sent", counters.packets_sent),
            ("publish/messages/received", counters.publish_received),
            ("publish/messages/sent", counters.publish_sent),
            ("publish/messages/dropped", counters.dropped_total()),
            ("publish/bytes/received", counters.publish_bytes_received),
            ("publish/bytes/sent", counters.publish_bytes_sent),
            ("bytes/received", transport.bytes_received),
            ("bytes/sent", transport.bytes_sent),
            ("retained messages/count", gauges.retained_messages),
            ("subscriptions/count", gauges.subscriptions),
            ("shared_subscriptions/count", gauges.shared_subscriptions),
            ("store/messages/count", gauges.stored_messages),
            ("store/shards/full", gauges.logs_short),
        ];
        let mut topics = vec![
            ("version".to_owned(), concat!("dunlin version ", env!("CARGO_PKG_VERSION")).to_owned()),
            ("uptime".to_owned(), format!("{} seconds", now.s().saturating_sub(self.started_s))),
            ("store/messages/bytes".to_owned(), gauges.stored_bytes.to_string()),
        ];
        topics.extend(values.map(|(name, value)| (name.to_owned(), value.to_string())));
        for reason in DropReason::ALL {
            let count = counters.drops[reason as usize];
            topics.push((format!("publish/messages/dropped/{}", reason.label()), count.to_string()));
        }
        for reason in PauseReason::ALL {
            let count = counters.pauses[reason as usize];
            topics.push((format!("clients/paused/{}", reason.label()), count.to_string()));
        }
        for reason in CloseReason::BEFORE_CONNACK {
            topics.push((format!("connections/refused/{}", reason.label()), sum.refused(reason).to_string()));
        }
        for reason in CloseReason::AFTER_CONNACK {
            topics.push((format!("connections/closed/{}", reason.label()), sum.closed(reason).to_string()));
        }
        for (load, (name, counter)) in self.loads.iter_mut().zip(LOADS) {
            load.update(counter(&sum), interval_s);
            for (average, (_, minutes)) in load.averages.iter().zip(LOAD_MINUTES) {
                topics.push((format!("load/{name}/{minutes}"), format!("{average:.2}")));
            }
        }
        // Listeners neither come nor go, so it is there always or never.
        if let Some(days) = self.certificates_end.days_left(now) {
            topics.push(("tls/certificate/days_left".to_owned(), days.to_string()));
        }
        topics
    }
}

/// See `Sys::new`.
const FIRST_PUBLICATION_MS: u64 = 1_000;

impl Shard {
    /// Shard 0 publishes; the others report to it.
    pub(super) fn publish_sys(&mut self, turn: &mut Turn<'_>, transport: &TransportCounters) {
        self.sys.next = Some(turn.now.after_s(u32::from(self.sys.interval_s)));
        let report = self.report(transport);
        if self.clients.id != ShardId(0) {
            turn.fx.mesh.push(ShardId(0), MeshMessage::Report(Box::new(report)));
            return;
        }
        self.sys.report(ShardId(0), report);
        let topics = self.sys.topics(turn.now);
        let mut published = std::mem::take(&mut self.sys.published);
        published.resize(topics.len(), String::new());
        for ((name, value), last) in topics.into_iter().zip(&mut published) {
            if *last != value {
                self.publish_own(turn, &format!("$SYS/broker/{name}"), value.as_bytes(), true);
                *last = value;
            }
        }
        self.sys.published = published;
    }

    /// A message of the broker's own.
    pub(super) fn publish_own(&mut self, turn: &mut Turn<'_>, topic: &str, payload: &[u8], retain: bool) {
        // A client id may make the topic longer than a topic can be: then there is nobody who could subscribe to it.
        let Ok(name) = TopicName::parse(topic, u16::MAX) else { return };
        let message = MessageRef {
            topic,
            qos: Qos::AtMostOnce,
            retain,
            expires: None,
            publisher: None,
            properties: Forwarded::EMPTY,
            payload,
        };
        self.router.route(
            turn,
            &mut self.clients,
            name,
            &mut Fanout::new(Routed::borrowed(message)),
            MessageOrigin::default(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_what_the_averages_come_to() {
        let mut load = Load::default();
        for step in 1..=2_000_u64 {
            load.update(step * 100, 10.0);
        }
        for average in load.averages {
            assert!((average - 600.0).abs() < 1.0, "{average} a minute instead of 600");
        }
    }
}
