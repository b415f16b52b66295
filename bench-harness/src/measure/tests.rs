//! What is made of a report: figures over the measured stage, and a fault for all that may not happen.

use super::*;
use crate::usage::Sample;

/// A report of a run that began at 1,000 ms: connect, then a measured second with 500 messages.
fn report(change: impl FnOnce(&mut serde_json::Value)) -> Report {
    let deliveries = |expected: u64| serde_json::json!({ "expected": expected, "excused": 0, "received": expected, "duplicated": 0, "reordered": 0 });
    let stage = |name: &str, from: f64, to: f64, received: u64, completed: Option<f64>| {
        serde_json::json!({
            "name": name, "started_ms": from, "action_ended_ms": to, "ended_ms": to, "completed_in_ms": completed,
            "established": 10, "traffic": { "messages_received": received }, "generator_cpu_s": 0.5,
        })
    };
    let mut value = serde_json::json!({
        "started_unix_ms": 1000,
        "stages": [stage("connect", 0.0, 500.0, 0, None), stage("measured", 500.0, 1500.0, 500, None)],
        "connections": {
            "attempted": 10, "established": 10, "subscribed": 10, "lost": {}, "first_failure": null,
        },
        "verdict": {
            "deliveries": [deliveries(600), deliveries(0), deliveries(0)], "retained": deliveries(0),
            "corrupted": 0, "misdirected": 0,
        },
        "timings": { "latency_intended": { "count": 500, "p50_ns": 1000, "p99_ns": 2000, "p99_9_ns": 3000 } },
        "generator": { "worker_share_measured": 0.5 },
        "series": [],
    });
    change(&mut value);
    serde_json::from_value(value).expect("a report")
}

/// One CPU second a second from 0 to 4,000 ms.
fn busy() -> Usage {
    let sample = |tick: u32| Sample {
        wakes: f64::from(tick),
        written_bytes: f64::from(tick) * 4096.0,
        unix_ms: f64::from(tick) * 100.0,
        cpu_s: f64::from(tick) / 10.0,
        rss_bytes: f64::from(tick) * 1e3,
    };
    Usage((0..=40).map(sample).collect())
}

const PAIRS: Load = Load::Pairs { pairs: 5, qos: 0, pace: crate::scenario::Pace::Window(1) };

#[test]
fn cpu_is_taken_over_the_measured_stage_alone() {
    let figures = figures(PAIRS, &report(|_| ()), &busy(), 1.0).expect("figures");
    let value = |name: &str| (figures.values[name] * 1e3).round() / 1e3;
    assert_eq!((value(metric::CPU_US), value(metric::PER_SECOND)), (2_000.0, 500.0), "1 s of CPU for 500 messages");
    assert_eq!((value(metric::BROKER_SHARE), value(metric::GENERATOR_SHARE)), (1.0, 0.5));
    assert_eq!(figures.bottleneck, Bottleneck::Broker);
    assert_eq!(figures.verdict, Verdict { expected: 600, faults: Vec::new() });
}

#[test]
fn wakes_are_shown_where_somebody_looked() {
    let of = |usage: &Usage| figures(PAIRS, &report(|_| ()), usage, 1.0).expect("figures").values;
    assert_eq!(of(&busy())[metric::WAKES_PER_MESSAGE], 0.02, "ten in the measured second");
    let mut nobody_looked = busy();
    nobody_looked.0.iter_mut().for_each(|sample| sample.wakes = 0.0);
    assert!(!of(&nobody_looked).contains_key(metric::WAKES_PER_MESSAGE));
}

#[test]
fn silence_is_told_in_wakes_and_cpu_and_owes_nobody_a_message() {
    let nothing = |value: &mut serde_json::Value| {
        value["verdict"]["deliveries"][0]["expected"] = 0.into();
        value["verdict"]["deliveries"][0]["received"] = 0.into();
    };
    let figures = figures(Load::Silence { clients: 5 }, &report(nothing), &busy(), 2.0).expect("figures");
    assert_eq!(figures.verdict, Verdict::default());
    assert_eq!(figures.values[metric::WAKES_PER_SECOND].round(), 10.0);
    assert_eq!(figures.values[metric::IDLE_CPU_MS].round(), 60_000.0, "a busy core");
    assert_eq!(figures.values.len(), 2);
}

#[test]
fn a_stage_that_waits_for_deliveries_ends_with_the_last() {
    let report = report(|value| value["stages"][1]["completed_in_ms"] = 250.0.into());
    let figures = figures(PAIRS, &report, &busy(), 2.0).expect("figures");
    assert!((figures.values[metric::CPU_US] - 500.0).abs() < 1e-6, "0.25 s for 500 messages");
    assert_eq!(figures.values[metric::COMPLETE_MS], 250.0);
    assert_eq!(figures.bottleneck, Bottleneck::Generator, "half of two cores, and more than one core for the load");
}

#[test]
fn a_broker_that_died_has_no_figures() {
    let until_half = Usage(busy().0.into_iter().filter(|sample| sample.unix_ms < 2_000.0).collect());
    assert!(figures(PAIRS, &report(|_| ()), &until_half, 1.0).expect_err("no").contains("gone"));
}

#[test]
fn what_is_kept_counts_when_it_is_acknowledged_and_with_what_went_to_the_disk() {
    let report = report(|value| {
        value["stages"][1]["traffic"] = serde_json::json!({ "messages_received": 3, "messages_acknowledged": 256 });
    });
    let of = |load| figures(load, &report, &busy(), 1.0).expect("figures").values;
    let kept = of(Load::Durable { in_flight: 64 });
    let value = |name: &str| (kept[name] * 1e3).round() / 1e3;
    assert_eq!((value(metric::PER_SECOND), value(metric::CPU_US)), (256.0, 3_906.25));
    assert_eq!((value(metric::WRITTEN_BYTES), value(metric::AMPLIFICATION)), (160.0, 1.6), "40,960 bytes in a second");
    assert!(!kept.contains_key(metric::P99_US), "when its session returns is no latency");
    let others = of(PAIRS);
    assert_eq!(others[metric::PER_SECOND].round(), 3.0);
    assert!(!others.contains_key(metric::WRITTEN_BYTES));
}

#[test]
fn attempts_say_how_many_messages_fill_the_measured_stage() {
    let lasts = |a_second: f64| {
        let mut tried = Vec::new();
        let scenario = durable::lasting(Load::Durable { in_flight: 64 }, 2.0, |scenario| {
            let text = scenario.to_toml();
            let line = text.lines().find_map(|line| line.strip_prefix("messages = ")).expect("a burst");
            let messages: f64 = line.parse().expect("a number");
            tried.push(messages);
            Ok(report(|value| value["stages"][1]["ended_ms"] = (500.0 + messages / a_second * 1e3).into()))
        });
        (tried, scenario.expect("a scenario").to_toml())
    };
    let (tried, text) = lasts(1_000.0);
    assert_eq!(tried, [100.0, 2_000.0]);
    assert!(text.contains("messages = 2000\n"), "{text}");
    let (tried, text) = lasts(100_000.0);
    assert_eq!(tried, [100.0, 3_000.0, 90_000.0]);
    assert!(text.contains("messages = 200000\n"), "{text}");
    let (tried, text) = lasts(1e9);
    assert_eq!(tried.len(), 4, "it ends");
    assert!(text.contains("messages = 1250000\n") && text.contains("receive_maximum = 4\n"), "{text}");
}

#[test]
fn others_beside_what_is_kept_are_told_by_the_median_of_whole_seconds() {
    // A run that began at 1,000 ms: quiet until 4,500 ms, measured until 8,000 ms.
    let report = report(|value| {
        let stages = value["stages"].as_array_mut().expect("stages");
        let mut rest = stages[0].clone();
        for (name, text) in [("name", serde_json::json!("rest")), ("started_ms", 0.into()), ("ended_ms", 3_500.into())]
        {
            rest[name] = text;
        }
        stages.insert(1, rest);
        (stages[2]["started_ms"], stages[2]["ended_ms"]) = (3_500.into(), 7_000.into());
    });
    let mut watched = report.clone();
    let second = |at_s: f64, p99_us: f64| crate::generator::Second { at_s, p99_ns: p99_us * 1e3, messages_received: 9 };
    // The first is not whole, nor is the one in which the load begins.
    let p99_us = [1.0, 100.0, 300.0, 200.0, 9_000.0, 250.0, 900.0, 240.0];
    watched.series = p99_us.iter().zip(0..).map(|(p99_us, at)| second(f64::from(at), *p99_us)).collect();
    let mut figures = Figures::default();
    durable::add_beside(&mut figures, &report, &watched);
    let value = |name: &str| (figures.values[name] * 1e3).round() / 1e3;
    assert_eq!((value(metric::OTHERS_QUIET_P99_US), value(metric::OTHERS_BESIDE_P99_US)), (200.0, 250.0));
    assert_eq!(value(metric::OTHERS_BESIDE_TIMES), 1.25);
    watched.verdict.deliveries[0].expected += 2;
    let mut lossy = Figures::default();
    durable::add_beside(&mut lossy, &report, &watched);
    assert_eq!(lossy.verdict.faults, ["others lost 2"]);
}

#[test]
fn every_broken_promise_is_a_fault() {
    type Spoil = fn(&mut serde_json::Value);
    let table: [(&str, Spoil); 8] = [
        ("3 lost", |value| value["verdict"]["deliveries"][0]["received"] = 597.into()),
        ("2 duplicated", |value| value["verdict"]["deliveries"][1]["duplicated"] = 2.into()),
        ("1 reordered", |value| value["verdict"]["deliveries"][2]["reordered"] = 1.into()),
        ("1 lost", |value| value["verdict"]["retained"]["expected"] = 1.into()),
        ("4 corrupted", |value| value["verdict"]["corrupted"] = 4.into()),
        ("5 misdirected", |value| value["verdict"]["misdirected"] = 5.into()),
        ("6 connections lost", |value| value["connections"]["lost"]["reset"] = 6.into()),
        ("1 of 10 clients not served: full", |value| {
            value["connections"]["subscribed"] = 9.into();
            value["connections"]["first_failure"] = "full".into();
        }),
    ];
    for (fault, spoil) in table {
        assert_eq!(verdict(PAIRS, &report(spoil)).faults, [fault]);
    }
    let nothing = report(|value| {
        value["verdict"]["deliveries"][0]["expected"] = 0.into();
        value["verdict"]["deliveries"][0]["received"] = 0.into();
    });
    assert_eq!(verdict(PAIRS, &nothing).faults, ["nothing was owed to anybody"]);
    assert!(verdict(Load::Idle { clients: 1 }, &nothing).faults.is_empty());
}

#[test]
fn idle_memory_is_the_growth_while_they_are_silent() {
    let stages = |value: &mut serde_json::Value| {
        let stage = |name: &str, from: f64, to: f64| {
            let mut stage = value["stages"][0].clone();
            stage["name"] = name.into();
            stage["started_ms"] = from.into();
            stage["ended_ms"] = to.into();
            stage
        };
        let stages = [
            stage(scenario::BEFORE_IDLE, 0.0, 500.0),
            stage(scenario::IDLE_COME, 500.0, 1_000.0),
            stage(scenario::IDLE, 1_000.0, 2_000.0),
            stage(scenario::ACCEPT, 2_000.0, 2_500.0),
        ];
        value["stages"] = stages.into_iter().collect();
    };
    let figures = figures(Load::Idle { clients: 10 }, &report(stages), &busy(), 1.0).expect("figures");
    let value = |name: &str| figures.values[name].round();
    // The samples grow by 10 bytes a millisecond: 1,500 ms, ten clients.
    assert_eq!(value(metric::IDLE_BYTES), 1_500.0);
    assert_eq!(value(metric::ACCEPT_US), 50_000.0, "half a second for ten");
    assert_eq!(value(metric::CONNECTS_PER_SECOND), 20.0);
}

#[test]
fn others_are_compared_between_the_rest_and_the_sweep() {
    let report = report(|value| {
        value["stages"][0]["name"] = scenario::REST.into();
        value["stages"][0]["ended_ms"] = 2_500.0.into();
        value["stages"][1]["started_ms"] = 2_500.0.into();
        value["stages"][1]["completed_in_ms"] = 100.0.into();
        let mut last = value["stages"][1].clone();
        last["name"] = scenario::LAST_SWEEP.into();
        last["started_ms"] = 2_700.0.into();
        last["completed_in_ms"] = 400.0.into();
        value["stages"].as_array_mut().expect("stages").push(last);
    });
    let watched = self::report(|value| {
        let second =
            |at_s: f64, p99_ns: u64| serde_json::json!({ "at_s": at_s, "p99_ns": p99_ns, "messages_received": 9 });
        value["series"] =
            [second(1.0, 7_000), second(2.0, 5_000), second(3.0, 80_000), second(4.0, 90_000), second(5.0, 99_000)]
                .into_iter()
                .collect();
    });
    let mut figures = Figures::default();
    add_observed(&mut figures, &report, &watched);
    assert_eq!(figures.values[metric::OTHERS_QUIET_P99_US], 7.0);
    assert_eq!(figures.values[metric::OTHERS_SWEEP_P99_US], 90.0);
}
