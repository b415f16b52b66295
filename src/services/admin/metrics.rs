//! Metrics for Prometheus, in the text form of `OpenMetrics`.
//!
//! Always holds: base units; no client id and no topic in a label; what has a reason in the broker has it as a label.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::access::Viewer;
use super::problem::{HttpProblem, ReadProblems};
use super::process::ProcessFigures;
use super::state::AdminState;
use crate::config::MetricsAccess;
use crate::telemetry::{CloseReason, DropReason, Report};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is counted, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "health", security((), ("key" = [])),
    responses(
        (status = 200, description = "OpenMetrics 1.0", body = String, content_type = "application/openmetrics-text"),
        ReadProblems,
    )
)]
pub(super) async fn metrics(
    State(state): State<Arc<AdminState>>,
    viewer: Result<Viewer, HttpProblem>,
) -> Result<Response, HttpProblem> {
    if state.known.load().metrics == MetricsAccess::Authenticated {
        viewer?;
    }
    let reports = state.shards.counts().await?;
    let text = exposition(reports, ProcessFigures::read(), state.started.elapsed());
    let text =
        text.map_err(|_| HttpProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written"))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// The text of one scrape.
fn exposition(reports: Vec<Report>, process: ProcessFigures, uptime: Duration) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    registry.register("dunlin_build", "Which broker this is", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
    let mut sum = Report::default();
    for report in &reports {
        sum.add(report);
    }
    registry.register_collector(Box::new(Scrape { reports, sum, process, uptime }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// What one scrape shows.
#[derive(Debug)]
struct Scrape {
    reports: Vec<Report>,
    sum: Report,
    process: ProcessFigures,
    uptime: Duration,
}

/// A number of a report, with its name and what it means.
type Row = (&'static str, &'static str, fn(&Report) -> u64);

/// What only grows.
const COUNTERS: [Row; 12] = [
    ("dunlin_packets_received", "MQTT packets from clients", |sum| sum.counters.packets_received),
    ("dunlin_packets_sent", "MQTT packets to clients", |sum| sum.counters.packets_sent),
    ("dunlin_messages_received", "PUBLISH packets from clients", |sum| sum.counters.publish_received),
    ("dunlin_messages_sent", "PUBLISH packets to clients", |sum| sum.counters.publish_sent),
    ("dunlin_messages_received_payload_bytes", "Payload of PUBLISH packets from clients", |sum| {
        sum.counters.publish_bytes_received
    }),
    ("dunlin_messages_sent_payload_bytes", "Payload of PUBLISH packets to clients", |sum| {
        sum.counters.publish_bytes_sent
    }),
    ("dunlin_connects_accepted", "CONNECTs that were answered with success", |sum| sum.counters.connections),
    ("dunlin_sessions_expired", "Sessions that ended because nobody came back", |sum| sum.counters.sessions_expired),
    ("dunlin_shard_messages_sent", "Messages from shard to shard", |sum| sum.counters.mesh_sent),
    ("dunlin_network_received_bytes", "Bytes taken from sockets", |sum| sum.transport.bytes_received),
    ("dunlin_network_sent_bytes", "Bytes given to sockets", |sum| sum.transport.bytes_sent),
    ("dunlin_sockets_accepted", "Connections accepted", |sum| sum.transport.sockets),
];

/// What is held now.
const GAUGES: [Row; 6] = [
    ("dunlin_subscriptions", "Subscriptions, shared ones included", |sum| sum.gauges.subscriptions),
    ("dunlin_shared_subscriptions", "Members of shared subscriptions", |sum| sum.gauges.shared_subscriptions),
    ("dunlin_retained_messages", "Retained messages, those of the broker included", |sum| sum.gauges.retained_messages),
    ("dunlin_queued_messages", "Messages queued for or in flight to clients", |sum| sum.gauges.stored_messages),
    ("dunlin_queued_on_disk_messages", "Those of them that are on disk alone", |sum| sum.gauges.stored_on_disk),
    ("dunlin_queued_bytes", "Topics, properties and payloads of those", |sum| sum.gauges.stored_bytes),
];

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, help, value) in COUNTERS {
            counter(&mut encoder, name, help, value(&self.sum))?;
        }
        for (name, help, value) in GAUGES {
            gauge(&mut encoder, name, help, value(&self.sum))?;
        }
        self.encode_sessions(&mut encoder)?;
        self.encode_reasons(&mut encoder)?;
        self.encode_process(&mut encoder)
    }
}

impl Scrape {
    /// Sessions, by shard and by whether their client is there.
    fn encode_sessions(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let kind = ConstGauge::new(0_u64).metric_type();
        let help = "Sessions of each shard, by whether their client is connected";
        let mut family = encoder.encode_descriptor("dunlin_sessions", help, None, kind)?;
        for (shard, report) in self.reports.iter().enumerate() {
            let shard = shard.to_string();
            for (is_connected, value) in
                [("true", report.gauges.clients_connected), ("false", report.gauges.clients_disconnected)]
            {
                let labels = [("shard", shard.as_str()), ("connected", is_connected)];
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    /// What has reasons.
    fn encode_reasons(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let dropped = DropReason::ALL.map(|reason| (reason.label(), self.sum.counters.drops[reason as usize]));
        by_reason(encoder, "dunlin_messages_dropped", "Messages dropped, by reason", &dropped)?;
        let closed = CloseReason::AFTER_CONNACK.map(|reason| (reason.label(), self.sum.closed(reason)));
        by_reason(encoder, "dunlin_connections_closed", "Connections of clients that ended, by reason", &closed)?;
        let refused = CloseReason::BEFORE_CONNACK.map(|reason| (reason.label(), self.sum.refused(reason)));
        by_reason(encoder, "dunlin_connections_refused", "Connections that ended before CONNACK, by reason", &refused)
    }

    /// With the names that Prometheus' own clients use.
    fn encode_process(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let process = &self.process;
        if let Some(seconds) = process.cpu_s {
            let total = ConstCounter::new(seconds);
            let help = "User and system time of the process";
            let encoder = encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), total.metric_type())?;
            total.encode(encoder)?;
        }
        let uptime = ConstGauge::new(self.uptime.as_secs_f64());
        let help = "Time since the admin server started";
        let kind = uptime.metric_type();
        uptime.encode(encoder.encode_descriptor("dunlin_uptime", help, Some(&Unit::Seconds), kind)?)?;
        if let Some(seconds) = process.started_s {
            let started = ConstGauge::new(seconds);
            let (help, kind) = ("Start of the process since 1970", started.metric_type());
            let encoder = encoder.encode_descriptor("process_start_time", help, Some(&Unit::Seconds), kind)?;
            started.encode(encoder)?;
        }
        let whole = [
            ("process_resident_memory_bytes", "Memory of the process in RAM", process.resident_bytes),
            ("process_open_fds", "Open descriptors", process.open_files),
            ("process_max_fds", "Descriptors that may be open", process.open_files_max),
            ("process_threads", "Threads of the process", process.threads),
        ];
        for (name, help, value) in whole {
            if let Some(value) = value {
                gauge(encoder, name, help, value)?;
            }
        }
        Ok(())
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), std::fmt::Error> {
    let counter = ConstCounter::new(value);
    let kind = counter.metric_type();
    counter.encode(encoder.encode_descriptor(name, help, None, kind)?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), std::fmt::Error> {
    let gauge = ConstGauge::new(value);
    let kind = gauge.metric_type();
    gauge.encode(encoder.encode_descriptor(name, help, None, kind)?)
}

fn by_reason(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &[(&'static str, u64)],
) -> Result<(), std::fmt::Error> {
    let kind = ConstCounter::new(0_u64).metric_type();
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (reason, value) in values {
        ConstCounter::new(*value).encode(family.encode_family(&[("reason", *reason)])?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        let mut one = Report::default();
        one.counters.publish_received = 3;
        one.counters.dropped(DropReason::QueueFull);
        one.gauges.clients_connected = 2;
        let mut other = Report::default();
        other.counters.publish_received = 4;
        let process = ProcessFigures { cpu_s: Some(1.5), resident_bytes: Some(4096), ..ProcessFigures::default() };
        exposition(vec![one, other], process, Duration::from_secs(60)).unwrap()
    }

    #[test]
    fn counts_of_all_shards_are_added_and_reasons_kept_apart() {
        let text = text();
        for line in [
            "# TYPE dunlin_messages_received counter",
            "dunlin_messages_received_total 7",
            "dunlin_messages_dropped_total{reason=\"queue_full\"} 1",
            "dunlin_messages_dropped_total{reason=\"expired\"} 0",
            "dunlin_sessions{shard=\"0\",connected=\"true\"} 2",
            "dunlin_sessions{shard=\"1\",connected=\"true\"} 0",
            "process_cpu_seconds_total 1.5",
            "process_resident_memory_bytes 4096",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("process_open_fds"), "what the system does not tell is left out");
    }

    #[test]
    fn every_reason_is_there_from_the_first_scrape_on_and_none_twice() {
        let text = text();
        for reason in DropReason::ALL {
            let wanted = format!("dunlin_messages_dropped_total{{reason=\"{}\"}}", reason.label());
            assert_eq!(text.matches(&wanted).count(), 1, "{wanted}");
        }
        let closed = CloseReason::AFTER_CONNACK.map(|reason| ("closed", reason));
        let refused = CloseReason::BEFORE_CONNACK.map(|reason| ("refused", reason));
        for (what, reason) in closed.into_iter().chain(refused) {
            let wanted = format!("dunlin_connections_{what}_total{{reason=\"{}\"}}", reason.label());
            assert_eq!(text.matches(&wanted).count(), 1, "{wanted}");
        }
    }
}
