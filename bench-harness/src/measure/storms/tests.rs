//! What is made of the reports of a fleet and of those beside it.

use super::*;
use crate::distribution::tests::encoded;
use crate::usage::Sample;

/// A report that began at 0 and whose stages have a name, a begin and an end, clients that came, and latencies.
fn report(stages: &[(&str, f64, f64, u64, String)]) -> Report {
    let stage = |(name, from, to, established, hdr): &(&str, f64, f64, u64, String)| {
        serde_json::json!({
            "name": name, "started_ms": from, "ended_ms": to, "completed_in_ms": null, "established": established,
            "traffic": { "messages_received": 9 }, "generator_cpu_s": 0.01, "latency": { "hdr": hdr },
        })
    };
    let nothing = serde_json::json!({ "expected": 0, "excused": 0, "received": 0, "duplicated": 0, "reordered": 0 });
    let owed = serde_json::json!({ "expected": 900, "excused": 0, "received": 900, "duplicated": 0, "reordered": 0 });
    let second = |at_s: f64, p99_ns: u64| serde_json::json!({ "at_s": at_s, "p99_ns": p99_ns, "messages_received": 9 });
    serde_json::from_value(serde_json::json!({
        "started_unix_ms": 0, "stages": stages.iter().map(stage).collect::<Vec<_>>(),
        "connections": { "attempted": 12, "retried": 2, "subscribed": 10, "lost": {}, "first_failure": null },
        "verdict": { "deliveries": [owed, nothing, nothing], "retained": nothing, "corrupted": 0, "misdirected": 0 },
        "timings": { "latency_intended": { "count": 9, "p50_ns": 1, "p99_ns": 2, "p99_9_ns": 3 } },
        "series": [second(1.0, 20_000), second(2.0, 70_000), second(3.0, 90_000)],
    }))
    .expect("a report")
}

fn stage(name: &str, from: f64, to: f64, established: u64) -> (&str, f64, f64, u64, String) {
    (name, from, to, established, String::new())
}

/// A quiet second of 10 us, then tenths of 50 us, and one message in fifty of 900 us.
fn watched() -> Report {
    let slice = |at: u32| {
        let latencies: &[(u64, u64)] = if at < 10 { &[(10_000, 100)] } else { &[(50_000, 98), (900_000, 2)] };
        ("slice", f64::from(at) * 100.0, f64::from(at + 1) * 100.0, 0, encoded(latencies))
    };
    report(&(0..30).map(slice).collect::<Vec<_>>())
}

/// A tenth of a core until the first second is over, the whole core afterwards.
fn usage() -> Usage {
    let cpu_s = |tick: u32| f64::from(tick.min(10)) * 0.01 + f64::from(tick.saturating_sub(10)) * 0.1;
    let sample = |tick| Sample {
        unix_ms: f64::from(tick) * 100.0,
        cpu_s: cpu_s(tick),
        rss_bytes: 1.0,
        wakes: 0.0,
        written_bytes: 0.0,
    };
    Usage((0..=30).map(sample).collect())
}

fn rounded(figures: &Figures, name: &str) -> f64 {
    figures.values.get(name).map_or(f64::NAN, |value| value.round())
}

#[test]
fn a_storm_is_held_against_the_quiet_before_it() {
    let stages = [stage(REST, 0.0, 1_000.0, 0), stage(COME_AGAIN, 1_000.0, 1_500.0, 10), stage(LEAVE, 500.0, 600.0, 0)];
    let figures = figures(&[report(&stages)], &watched(), &usage(), 1.0).expect("figures");
    assert_eq!(rounded(&figures, metric::OTHERS_LEAVING_P99_US), 900.0, "a second and a half behind it, too");
    assert_eq!((rounded(&figures, metric::OTHERS_QUIET_P99_US), rounded(&figures, metric::OTHERS_TIMES)), (10.0, 90.0));
    assert!((figures.values[metric::OTHERS_STORM_P99_US] - 900.0).abs() < 1.0);
    assert_eq!(rounded(&figures, metric::OTHERS_WORST_P99_US), 70.0, "of the second that the storm was in");
    assert_eq!(rounded(&figures, metric::ACCEPT_US), 45_000.0, "half a second less a tenth of it, for ten");
    assert_eq!((rounded(&figures, metric::CONNECTS_PER_SECOND), rounded(&figures, metric::STORM_MS)), (20.0, 500.0));
    assert!(!figures.values.contains_key(metric::LOGIN_US));
    assert_eq!(figures.bottleneck, crate::results::Bottleneck::Broker);
    assert_eq!((figures.verdict.expected, figures.verdict.faults.len()), (900, 0), "two of twelve were second tries");
}

#[test]
fn a_login_is_what_it_adds_to_a_plain_connection_and_several_comings_are_one() {
    let plain = report(&[stage(COME_AGAIN, 1_000.0, 1_200.0, 10)]);
    let named = report(&[
        stage(REST, 0.0, 1_000.0, 0),
        stage(COME_FIRST, 1_500.0, 2_500.0, 10),
        stage(COME_AGAIN, 2_500.0, 2_700.0, 5),
        stage(COME_AGAIN, 2_800.0, 3_000.0, 5),
    ]);
    let figures = figures(&[plain, named], &watched(), &usage(), 1.0).expect("figures");
    assert_eq!((rounded(&figures, metric::PLAIN_US), rounded(&figures, metric::LOGIN_US)), (18_000.0, 18_000.0));
    assert_eq!((rounded(&figures, metric::FIRST_PER_SECOND), rounded(&figures, metric::STORM_MS)), (10.0, 200.0));
    assert_eq!(rounded(&figures, metric::OTHERS_FIRST_TIMES), 90.0);
}

#[test]
fn who_loses_messages_or_clients_beside_a_storm_is_named() {
    let mut storm = report(&[stage(REST, 0.0, 1_000.0, 0), stage(COME_AGAIN, 1_000.0, 1_500.0, 10)]);
    storm.connections.subscribed = 7;
    let mut beside = watched();
    beside.verdict.deliveries[0].received = 897;
    let faults = figures(&[storm], &beside, &usage(), 1.0).expect("figures").verdict.faults;
    assert_eq!(faults, ["3 of 10 clients not served: no reason told", "others: 3 lost"]);
}

#[test]
fn a_time_in_which_nothing_arrived_has_no_percentile_and_a_broken_report_is_an_error() {
    let quiet = [(5_000.0, 6_000.0)];
    assert!(p99_us(&watched(), &quiet, Cut::Touched).expect("read").is_nan());
    // A hundred whole tenths of 10 us; the tenth behind them is touched by a longer span.
    assert!(p99_us(&watched(), &[(0.0, 1_050.0)], Cut::Whole).expect("read") < 11.0);
    let touched = p99_us(&watched(), &[(950.0, 1_050.0)], Cut::Touched).expect("read");
    assert!(touched > 40.0, "{touched}");
    let broken = report(&[("slice", 0.0, 100.0, 0, "?".to_owned())]);
    assert!(p99_us(&broken, &[(0.0, 100.0)], Cut::Whole).expect_err("no distribution").contains("cannot be read"));
}
