//! Holds `docs/METRICS.md` against the table: `DUNLIN_BLESS=1 cargo test --lib services::admin::metrics` writes its tables anew.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use super::families;
use super::family::{Family, FamilyKind, FamilyUnit};
use super::scrape::{ListenerFigures, Scrape, ShardFigures};
use super::text_form;
use crate::limits::{LISTENERS_MAX, SHARDS_MAX};
use crate::services::admin::connector_figures::{ConnectorFigures, ConnectorQueue};
use crate::services::admin::process::{DiskFigures, ProcessFigures};
use crate::services::connectors::{ConnectorCounters, ConnectorKind, ConnectorTold};
use crate::telemetry::{CloseReason, DropReason, Report};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
const BEGIN: &str = "<!-- metrics -->\n";
const END: &str = "<!-- end of metrics -->\n";

/// A scrape in which everything is there.
fn scrape(shards: usize, listeners: usize) -> Scrape {
    let figures = |shard: usize| {
        let mut report = Report::default();
        report.counters.publish_received = 4;
        report.counters.received_acknowledged = [0, 1];
        report.counters.connections_by_version[2] = 5;
        report.counters.dropped(DropReason::QueueFull);
        report.transport.refused(0, CloseReason::Http);
        report.transport.ended_by_shard(0, CloseReason::BadCredentials);
        report.transport.ended_by_shard(0, CloseReason::KeepAliveTimeout);
        report.gauges.clients_connected = 2;
        report.gauges.queued_memory_bytes = 7;
        report.run.turns.note(90_000 * (1 + shard as u64));
        report.counters.timings.own_acks.note(3_000_000_000);
        ShardFigures { is_fresh: shard.is_multiple_of(2), report }
    };
    let listener = |index: usize| ListenerFigures {
        index: index as u8,
        name: format!("listener-{index}.example:1883"),
        is_open: index == 0,
        connections: 9,
    };
    let mut told = ConnectorTold::default();
    told.lag = Some(7);
    let connector = |(kind, name): (ConnectorKind, &str)| ConnectorFigures {
        kind,
        name: name.to_owned(),
        client_id: String::new(),
        told: told.clone(),
        counters: ConnectorCounters { messages_in: 3, messages_out: 4, ..ConnectorCounters::default() },
        queue: ConnectorQueue::default(),
    };
    Scrape {
        shards: (0..shards).map(figures).collect(),
        listeners: (0..listeners).map(listener).collect(),
        process: ProcessFigures { cpu_s: Some(1.5), resident_bytes: Some(4096), ..ProcessFigures::read() },
        connectors: [
            (ConnectorKind::Sink, "warehouse"),
            (ConnectorKind::Bridge, "cloud"),
            (ConnectorKind::Source, "orders"),
        ]
        .map(connector)
        .into(),
        disk: DiskFigures { available_bytes: Some(1), size_bytes: Some(2) },
        uptime: Duration::from_secs(60),
        certificates_end_s: Some(1_800_000_000),
        lists_end_s: Some(1_800_000_000),
        ..Scrape::default()
    }
}

/// The table of the document.
fn table() -> String {
    let scrape = scrape(1, 1);
    let sum = scrape.sum();
    let mut text = String::from("\n| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n");
    text.push_str("| `dunlin_build_info` | info | | `version` | Which broker this is |\n");
    for family in families::all() {
        let unit = match family.unit {
            FamilyUnit::None => "",
            FamilyUnit::Bytes => "bytes",
            FamilyUnit::Seconds => "seconds",
        };
        let suffix = if unit.is_empty() { String::new() } else { format!("_{unit}") };
        let (kind, total) = match family.kind {
            FamilyKind::Counter => ("counter", "_total"),
            FamilyKind::Gauge => ("gauge", ""),
            FamilyKind::Histogram => ("histogram", ""),
        };
        let labels: Vec<String> = labels_of(family, &scrape, &sum).iter().map(|label| format!("`{label}`")).collect();
        let (name, labels, help) = (family.name, labels.join(", "), family.help);
        let _ = writeln!(text, "| `{name}{suffix}{total}` | {kind} | {unit} | {labels} | {help} |");
    }
    text.push('\n');
    text.replace("|  |", "| |").replace("|  |", "| |")
}

/// The labels of a metric's values.
fn labels_of<'a>(family: &Family, scrape: &'a Scrape, sum: &'a Report) -> Vec<&'static str> {
    let samples = family.samples(scrape, sum);
    samples.0.first().map(|first| first.labels.iter().map(|(name, _)| *name).collect()).unwrap_or_default()
}

#[test]
fn the_document_has_every_metric_as_the_code_has_it() {
    let document = fs::read_to_string(DOCUMENT).expect("docs/METRICS.md is there");
    let (head, rest) = document.split_once(BEGIN).expect("the table's place is marked");
    let (found, tail) = rest.split_once(END).expect("and its end");
    let expected = table();
    if std::env::var_os("DUNLIN_BLESS").is_some() {
        fs::write(DOCUMENT, format!("{head}{BEGIN}{expected}{END}{tail}")).expect("it can be written");
    } else {
        assert_eq!(
            found, expected,
            "`DUNLIN_BLESS=1 cargo test --lib services::admin::metrics` writes docs/METRICS.md anew"
        );
    }
}

#[test]
fn counts_of_all_shards_are_added_and_reasons_kept_apart() {
    let text = scrape(2, 1).open_metrics().unwrap();
    for line in [
        "# TYPE dunlin_messages_received counter",
        "dunlin_messages_received_total{qos=\"0\"} 6",
        "dunlin_messages_received_total{qos=\"2\"} 2",
        "dunlin_connects_accepted_total{version=\"5.0\"} 10",
        "dunlin_messages_dropped_total{reason=\"queue_full\"} 2",
        "dunlin_messages_dropped_total{reason=\"expired\"} 0",
        "dunlin_listener_connections_refused_total{listener=\"listener-0.example:1883\"} 4",
        "dunlin_listener_connections_closed_total{listener=\"listener-0.example:1883\"} 2",
        "dunlin_listener_connections_ended_total{listener=\"listener-0.example:1883\",reason=\"http\"} 2",
        "dunlin_listener_connections_ended_total{listener=\"listener-0.example:1883\",reason=\"bad_credentials\"} 2",
        "dunlin_listener_connections_ended_total{listener=\"listener-0.example:1883\",reason=\"keep_alive_timeout\"} 2",
        "dunlin_listener_messages_dropped_total{listener=\"listener-0.example:1883\"} 0",
        "dunlin_sessions{shard=\"1\",connected=\"true\"} 2",
        "dunlin_queued_memory_bytes 7",
        "dunlin_shard_responding{shard=\"0\"} 1",
        "dunlin_shard_responding{shard=\"1\"} 0",
        "dunlin_sink_messages_delivered_total{sink=\"warehouse\"} 4",
        "dunlin_bridge_messages_total{bridge=\"cloud\",direction=\"in\"} 3",
        "dunlin_source_lag_messages{source=\"orders\"} 7",
        "dunlin_source_connected{source=\"orders\"} 0",
        "dunlin_turn_seconds_bucket{le=\"0.00005\",shard=\"0\"} 0",
        "dunlin_turn_seconds_bucket{le=\"0.0001\",shard=\"0\"} 1",
        "dunlin_turn_seconds_bucket{le=\"+Inf\",shard=\"1\"} 1",
        "dunlin_ack_seconds_sum 6.0",
        "dunlin_ack_seconds_count 2",
        "process_cpu_seconds_total 1.5",
        "process_resident_memory_bytes 4096",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    let text = Scrape::default().open_metrics().unwrap();
    assert!(!text.contains("process_open_fds"), "what the system does not tell is left out");
}

#[test]
fn every_reason_is_there_from_the_first_scrape_on_and_none_twice() {
    let text = scrape(1, 1).open_metrics().unwrap();
    let dropped = DropReason::ALL.map(|reason| ("messages_dropped", reason.label()));
    let closed = CloseReason::AFTER_CONNACK.map(|reason| ("connections_closed", reason.label()));
    let refused = CloseReason::BEFORE_CONNACK.map(|reason| ("connections_refused", reason.label()));
    for (what, reason) in dropped.into_iter().chain(closed).chain(refused) {
        let wanted = format!("dunlin_{what}_total{{reason=\"{reason}\"}}");
        assert_eq!(text.matches(&wanted).count(), 1, "{wanted}");
    }
}

#[test]
fn a_scrape_of_as_many_shards_and_listeners_as_there_may_be_is_small_and_quick() {
    let made = Instant::now();
    let text = scrape(SHARDS_MAX, LISTENERS_MAX).open_metrics().unwrap();
    let took = made.elapsed();
    assert!(text.len() < 100 << 10, "{} bytes", text.len());
    let older = text_form::of(&text);
    assert!(older.len() < text.len() + 1_024);
    // An unoptimized build on a busy machine takes some ten times of what a release does.
    assert!(took < Duration::from_millis(200), "{took:?}");
    let (listeners, ended) = (6 * LISTENERS_MAX, 3);
    assert_eq!(text.matches("listener=\"").count(), listeners + ended);
}
