//! Outcomes: that merging loses nothing, and that they survive the way from an agent.

use super::*;

fn part(lost: u64, times: &[u64]) -> Outcome {
    let mut part = Outcome { name: "p2p".to_owned(), parts: 1, ..Outcome::default() };
    part.connections.failed.insert(FailureReason::Refused, 2);
    part.connections.lost.insert(LossReason::Reset, 1);
    part.verdict.deliveries[1] = Deliveries { expected: 10, received: 10 - lost, ..Deliveries::default() };
    part.stages.push(StageOutcome { completed_in_ms: Some(5.0), ..StageOutcome::default() });
    part.series.push(Second { connected: 3, p99_ns: times[0], ..Second::default() });
    for ns in times {
        part.timings.latency_sent.record(*ns);
    }
    part
}

#[test]
fn an_outcome_survives_json_with_its_histograms() {
    let outcome = part(1, &[1, 999, 1_234_567, 59_000_000_000]);
    let text = serde_json::to_string(&outcome).expect("an outcome is plain data");
    let read: Outcome = serde_json::from_str(&text).expect("what was written is read");
    assert_eq!(read, outcome, "{text}");
    assert!(text.contains(r#""refused":2"#) && text.contains(r#""p99_99_ns":"#), "{text}");
}

#[test]
fn merged_parts_are_as_if_all_had_happened_in_one() {
    let mut merged = part(0, &[100, 200, 300]);
    merged.merge(&part(2, &[1_000_000]));
    let mut together = Timing::default();
    for ns in [100, 200, 300, 1_000_000] {
        together.record(ns);
    }
    assert_eq!(merged.timings.latency_sent, together);
    assert_eq!((merged.connections.failed_total(), merged.connections.lost_total()), (4, 2));
    assert_eq!((merged.verdict.lost(), merged.verdict.all_deliveries().expected, merged.parts), (2, 20, 2));
    assert_eq!((merged.series[0].connected, merged.series[0].p99_ns), (6, 1_000_000));
    assert_eq!(merged.verdict.breaches(), ["2 lost at QoS 1"]);
}

#[test]
fn a_stage_is_complete_when_every_part_is() {
    let mut merged = part(0, &[1]);
    let mut other = part(0, &[1]);
    other.stages[0].completed_in_ms = Some(8.0);
    merged.merge(&other);
    assert_eq!(merged.stages[0].completed_in_ms, Some(8.0));
    other.stages[0].completed_in_ms = None;
    merged.merge(&other);
    assert_eq!(merged.stages[0].completed_in_ms, None);
}

#[test]
fn what_a_qos_allows_is_no_breach() {
    let mut verdict = Verdict::default();
    verdict.deliveries[0] = Deliveries { expected: 9, received: 5, ..Deliveries::default() };
    verdict.deliveries[1] = Deliveries { expected: 9, received: 9, duplicated: 3, ..Deliveries::default() };
    assert_eq!((verdict.breaches().len(), verdict.lost()), (0, 4));
    verdict.deliveries[2] = Deliveries { expected: 9, excused: 1, received: 8, duplicated: 1, ..Deliveries::default() };
    verdict.corrupted = 1;
    assert_eq!(verdict.breaches(), ["1 duplicated at QoS 2", "1 corrupted"]);
}

#[test]
fn a_timing_takes_any_time() {
    let mut timing = Timing::default();
    assert_eq!((timing.min_ns(), timing.max_ns(), timing.percentile_ns(99.0)), (0, 0, 0));
    timing.record(0);
    timing.record(u64::MAX);
    assert_eq!((timing.count(), timing.min_ns()), (2, 1));
    assert!(timing.max_ns() >= 3_600_000_000_000);
}
