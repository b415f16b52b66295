//! Thresholds: what is read, held and told.

use super::*;
use crate::outcome::{BrokerUsage, Traffic};

fn outcome() -> Outcome {
    let mut outcome = Outcome { measured_s: 10.0, ..Outcome::default() };
    (1..=1000).for_each(|i| outcome.timings.latency_intended.record(i * 10_000));
    outcome.timings.connack.record(2_000_000);
    outcome.verdict.deliveries[1] =
        Deliveries { expected: 1000, received: 990, duplicated: 3, ..Deliveries::default() };
    outcome.verdict.slow[0] = Deliveries { expected: 20, received: 15, ..Deliveries::default() };
    outcome.timings.latency_slow.record(2_000_000_000);
    outcome.measured = Traffic { messages_received: 990, messages_sent: 1000, ..Traffic::default() };
    outcome
}

#[test]
fn a_threshold_is_broken_or_held() {
    let mut outcome = outcome();
    outcome.broker = Some(BrokerUsage { cpu_measured_s: 5.0, rss_peak_bytes: 2 << 20, ..BrokerUsage::default() });
    for (text, broken) in [
        ("p99>5ms", true),
        ("p99 > 10ms", false),
        ("p50>=5ms", true),
        ("p99.9<1s", true),
        ("max>10.5ms", false),
        ("mean>5ms", true),
        ("connack_p99>1ms", true),
        ("loss>0", true),
        ("loss>10", false),
        ("loss>=1%", true),
        ("loss>1.5%", false),
        ("slow_loss>4", true),
        ("slow_p99>1s", true),
        ("slow_p50<2s", false),
        ("duplicates>0", true),
        ("reordered>0", false),
        ("rate<99.5", true),
        ("rate<99/s", false),
        ("sent_rate<=100", true),
        ("broker_cpu>0.6", false),
        ("broker_rss>1MiB", true),
        ("generator_busy>90%", false),
    ] {
        let held = Threshold::parse(text).unwrap().hold(&outcome);
        assert_eq!(held.broken, broken, "{held}");
    }
}

#[test]
fn what_became_of_a_threshold_reads_as_it_is_meant() {
    for (text, told) in [
        ("p99 > 50ms", "ok: p99 9.90 ms (fails above 50 ms)"),
        ("p99>5ms", "p99 9.90 ms (fails above 5 ms)"),
        ("loss>=1%", "loss 1.000 % (fails at 1 % or above)"),
        ("rate<50/s", "ok: rate 99 /s (fails below 50 /s)"),
        ("sent_rate<=100", "sent_rate 100 /s (fails at 100 /s or below)"),
        ("refused>0", "ok: refused 0 (fails above 0)"),
    ] {
        assert_eq!(Threshold::parse(text).unwrap().hold(&outcome()).to_string(), told);
    }
}

#[test]
fn what_was_not_measured_is_broken() {
    let outcome = outcome();
    for (text, limit) in [("suback_p99>1s", "1 s"), ("ping_max>1m", "1 min 0 s"), ("connect_max>1s", "1 s")] {
        let held = Threshold::parse(text).unwrap().hold(&outcome);
        assert!(held.broken, "{held}");
        assert_eq!(held.to_string(), format!("{} was not measured (fails above {limit})", &text[..text.len() - 3]));
    }
    assert!(Threshold::parse("rate<1").unwrap().hold(&Outcome::default()).broken);
}

#[test]
fn what_is_wrong_is_told_with_what_is_known() {
    for (text, part) in [
        ("p99", "is not a threshold"),
        ("lost>0", "did you mean loss?"),
        ("duplicate>0", "did you mean duplicates?"),
        ("conack_p99>1ms", "did you mean connack_p99?"),
        ("weather>0", "Known are p50"),
        ("p101>1ms", "is not a metric"),
        ("p99>5", "is not a span of time"),
        ("p99>5%", "only loss"),
        ("loss>some", "is not a count"),
        ("broker_rss>1M", "is not a size"),
    ] {
        let error = Threshold::parse(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}
