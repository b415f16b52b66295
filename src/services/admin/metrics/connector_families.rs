//! The metrics of sinks, bridges and sources, each labelled with its name.

use std::time::Duration;

use super::family::{ConnectorSampler, Family, FamilyKind, FamilyUnit, FamilyValues};
use crate::services::connectors::ConnectorKind::{Bridge, Sink, Source};
use crate::services::connectors::{ConnectorKind, ConnectorStatus, NotPassed};

use FamilyUnit::{Bytes, None as NoUnit, Seconds};

/// The name of one, without its unit, and its meaning.
type Told = (&'static str, &'static str);

const fn counter(of: ConnectorKind, (name, help): Told, unit: FamilyUnit, samples: ConnectorSampler) -> Family {
    Family { name, kind: FamilyKind::Counter, unit, help, values: FamilyValues::OfEach(of, samples) }
}

const fn gauge(of: ConnectorKind, (name, help): Told, unit: FamilyUnit, samples: ConnectorSampler) -> Family {
    Family { name, kind: FamilyKind::Gauge, unit, help, values: FamilyValues::OfEach(of, samples) }
}

pub(super) const SINKS: &[Family] = &[
    gauge(
        Sink,
        ("dunlin_sink_up", "1 where the target of a sink has taken what it was given last, or was given nothing yet"),
        NoUnit,
        |sink, to| {
            to.one(matches!(sink.told.status, ConnectorStatus::Connected | ConnectorStatus::Idle).into());
        },
    ),
    gauge(
        Sink,
        ("dunlin_sink_queued_messages", "Messages that wait for a sink, those that it holds included"),
        NoUnit,
        |sink, to| to.one(sink.queue.messages),
    ),
    gauge(Sink, ("dunlin_sink_queued", "Topics, properties and payloads of those that wait"), Bytes, |sink, to| {
        to.one(sink.queue.bytes);
    }),
    gauge(
        Sink,
        ("dunlin_sink_lag", "How long the oldest message that waits for a sink has waited"),
        Seconds,
        |sink, to| to.real(Duration::from_millis(sink.queue.oldest_ms.unwrap_or(0)).as_secs_f64()),
    ),
    counter(
        Sink,
        ("dunlin_sink_messages_received", "Messages that a sink got from its session"),
        NoUnit,
        |sink, to| to.one(sink.counters.messages_in),
    ),
    counter(Sink, ("dunlin_sink_messages_delivered", "Messages that its target has taken"), NoUnit, |sink, to| {
        to.one(sink.counters.messages_out);
    }),
    counter(Sink, ("dunlin_sink_delivered", "Bytes of those"), Bytes, |sink, to| to.one(sink.counters.bytes_out)),
    counter(
        Sink,
        ("dunlin_sink_messages_passed_over", "Messages that its condition does not hold for"),
        NoUnit,
        |sink, to| to.one(sink.counters.passed_over),
    ),
    counter(
        Sink,
        ("dunlin_sink_dead_letters", "Messages that its target never takes, or that an expression fails for"),
        NoUnit,
        |sink, to| to.one(sink.counters.dead_letters),
    ),
    counter(Sink, ("dunlin_sink_messages_dropped", "Messages of QoS 0 that it had no room for"), NoUnit, |sink, to| {
        to.one(sink.counters.dropped);
    }),
    counter(
        Sink,
        (
            "dunlin_sink_queue_messages_dropped",
            "Messages that the session of a sink has lost since it is there, mostly because its queue had no room",
        ),
        NoUnit,
        |sink, to| to.one(sink.queue.lost),
    ),
    counter(Sink, ("dunlin_sink_failed_attempts", "Attempts that its target did not take"), NoUnit, |sink, to| {
        to.one(sink.counters.failed_attempts);
    }),
];

pub(super) const BRIDGES: &[Family] = &[
    gauge(
        Bridge,
        ("dunlin_bridge_connected", "Whether a bridge is connected to the other broker: 1, or 0"),
        NoUnit,
        |bridge, to| to.one((bridge.told.status == ConnectorStatus::Connected).into()),
    ),
    counter(Bridge, ("dunlin_bridge_connects", "Connections that a bridge has made"), NoUnit, |bridge, to| {
        to.one(bridge.counters.connects);
    }),
    counter(
        Bridge,
        ("dunlin_bridge_messages", "Messages that a bridge has passed on, by direction"),
        NoUnit,
        |bridge, to| {
            to.by("direction", "in", bridge.counters.messages_in);
            to.by("direction", "out", bridge.counters.messages_out);
        },
    ),
    counter(
        Bridge,
        ("dunlin_bridge_payload", "Payloads that a bridge has passed on, by direction"),
        Bytes,
        |bridge, to| {
            to.by("direction", "in", bridge.counters.bytes_in);
            to.by("direction", "out", bridge.counters.bytes_out);
        },
    ),
    counter(
        Bridge,
        ("dunlin_bridge_messages_not_passed", "Messages that a bridge has acknowledged and not passed on, by reason"),
        NoUnit,
        |bridge, to| {
            for reason in NotPassed::ALL {
                to.by("reason", reason.label(), bridge.counters.not_passed[reason as usize]);
            }
        },
    ),
];

pub(super) const SOURCES: &[Family] = &[
    gauge(Source, ("dunlin_source_connected", "Whether a source reads: 1, or 0"), NoUnit, |source, to| {
        to.one((source.told.status == ConnectorStatus::Connected).into());
    }),
    gauge(
        Source,
        (
            "dunlin_source_lag_messages",
            "Messages that wait where a source reads, unacknowledged ones included; absent where that is not known",
        ),
        NoUnit,
        |source, to| to.one_if(source.told.lag),
    ),
    counter(
        Source,
        ("dunlin_source_messages", "Messages that this broker has taken from a source"),
        NoUnit,
        |source, to| to.one(source.counters.messages_in),
    ),
    counter(Source, ("dunlin_source_payload", "Payloads of those"), Bytes, |source, to| {
        to.one(source.counters.bytes_in);
    }),
    counter(
        Source,
        (
            "dunlin_source_messages_left_behind",
            "Messages of a source that MQTT cannot have, or that this broker never takes",
        ),
        NoUnit,
        |source, to| to.one(source.counters.not_passed[NotPassed::Refused as usize]),
    ),
    counter(Source, ("dunlin_source_failures", "How often a source had to begin anew"), NoUnit, |source, to| {
        to.one(source.counters.failed_attempts);
    }),
];
