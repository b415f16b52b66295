//! The end of a run for a person: what was done, how long things took, the verdict, and what it took.

use std::fmt::Write as _;

use super::{killing_words, loop_words, per_second, pipeline_words, timings, tls_words};
use crate::{
    exit::{self, Exit, Judgement},
    outcome::{BrokerUsage, Deliveries, Ending, KernelMemory, Outcome},
    units::{grouped, measured, show_size, show_span},
};

/// Percentiles that the table shows.
const PERCENTILES: [(&str, f64); 5] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99)];

/// The text, with a line feed at its end.
pub fn text(outcome: &Outcome, judgement: &Judgement) -> String {
    let mut out = String::new();
    let ended = match outcome.ending {
        Ending::Finished => "",
        Ending::Interrupted => ", interrupted",
        Ending::BrokerLost { .. } => ", the broker was lost",
    };
    line(&mut out, &format!("{} against {}{ended}", outcome.name, outcome.target));
    line(&mut out, &outcome.description);
    line(&mut out, "");
    connections(&mut out, outcome);
    messages(&mut out, outcome);
    line(&mut out, "");
    table(&mut out, outcome);
    verdict(&mut out, outcome);
    if let Some(words) = killing_words(outcome) {
        row(&mut out, "kills", &words);
    }
    usage(&mut out, outcome);
    for warning in exit::bounds(outcome).chain(outcome.warnings.iter().cloned()) {
        row(&mut out, "note", &warning);
    }
    line(&mut out, "");
    result(&mut out, outcome, judgement);
    out
}

fn line(out: &mut String, text: &str) {
    if !text.is_empty() || !out.is_empty() {
        out.push_str(text.trim_end());
        out.push('\n');
    }
}

fn row(out: &mut String, name: &str, text: &str) {
    let _ = writeln!(out, "  {name:<12}  {text}");
}

fn connections(out: &mut String, outcome: &Outcome) {
    let connections = &outcome.connections;
    let mut text = format!(
        "{} established ({} at once), {} failed, {} lost",
        grouped(connections.established),
        grouped(connections.peak),
        grouped(connections.failed_total()),
        grouped(connections.lost_total())
    );
    if connections.retried > 0 {
        let _ = write!(text, ", {} tries again", grouped(connections.retried));
    }
    for stage in outcome.stages.iter().filter(|stage| matches!(stage.action.as_str(), "ramp" | "resume")) {
        let seconds = (stage.action_ended_ms - stage.started_ms) / 1e3;
        if stage.established > 0 && seconds > 0.0 {
            let rate = measured(stage.established as f64 / seconds);
            let _ = write!(text, "; {}: {} in {seconds:.2} s ({rate} /s)", stage.name, grouped(stage.established));
        }
    }
    row(out, "connections", &text);
    if let Some(words) = pipeline_words(outcome) {
        row(out, "subscribing", words);
    }
    if let Some(words) = tls_words(outcome) {
        row(out, "TLS", &words);
    }
    let refusals = outcome.refusals();
    if refusals.total() > 0 {
        let reasons = outcome.refusal_reasons();
        let reasons = if reasons.is_empty() { reasons } else { format!("; {reasons}") };
        row(out, "refused", &format!("{}{reasons}", refusals.words()));
    }
}

fn messages(out: &mut String, outcome: &Outcome) {
    let traffic = &outcome.traffic;
    if traffic.messages_sent + traffic.messages_received == 0 {
        return;
    }
    row(
        out,
        "messages",
        &format!("{} sent, {} received", grouped(traffic.messages_sent), grouped(traffic.messages_received)),
    );
    if outcome.measured_s > 0.0 && outcome.measured.messages_sent + outcome.measured.messages_received > 0 {
        let text = format!(
            "{} /s sent, {} /s received over {:.1} s measured",
            measured(per_second(outcome, outcome.measured.messages_sent)),
            measured(per_second(outcome, outcome.measured.messages_received)),
            outcome.measured_s
        );
        row(out, "rate", &text);
    }
    row(out, "loop", &loop_words(outcome));
    for stage in &outcome.stages {
        if let Some(ms) = stage.completed_in_ms {
            row(out, "", &format!("{}: all that was owed had arrived after {:.3} s", stage.name, ms / 1e3));
        }
    }
}

fn table(out: &mut String, outcome: &Outcome) {
    let timings = timings(outcome);
    if timings.is_empty() {
        return;
    }
    let names = PERCENTILES.iter().map(|(name, _)| *name).chain(["max"]);
    let _ = write!(out, "  {:<19} {:>12}", "", "count");
    names.for_each(|name| {
        let _ = write!(out, " {name:>9}");
    });
    out.push('\n');
    for (name, timing) in timings {
        let _ = write!(out, "  {name:<19} {:>12}", grouped(timing.count()));
        for (_, percent) in PERCENTILES {
            let _ = write!(out, " {:>9}", show_span(timing.percentile_ns(percent)));
        }
        let _ = writeln!(out, " {:>9}", show_span(timing.max_ns()));
    }
    out.push('\n');
}

fn verdict(out: &mut String, outcome: &Outcome) {
    let verdict = &outcome.verdict;
    let mut name = "verdict";
    for (qos, deliveries) in verdict.deliveries.iter().enumerate() {
        let messages = verdict.messages[qos];
        if deliveries.expected + messages.sent == 0 {
            continue;
        }
        row(out, std::mem::take(&mut name), &format!("QoS {qos}: {}", words(deliveries)));
        if qos > 0 && messages.sent > 0 {
            let mut text =
                format!("       {} of {} acknowledged", grouped(messages.acknowledged), grouped(messages.sent));
            for (count, what) in [
                (messages.refused, "refused"),
                (messages.resent, "sent again"),
                (messages.unsent, "of the schedule not sent"),
            ] {
                if count > 0 {
                    let _ = write!(text, ", {} {what}", grouped(count));
                }
            }
            row(out, "", &text);
        }
    }
    for (qos, deliveries) in verdict.slow.iter().enumerate().filter(|(_, deliveries)| deliveries.expected > 0) {
        row(out, std::mem::take(&mut name), &format!("QoS {qos}, slow readers: {}", words(deliveries)));
    }
    if verdict.retained.expected > 0 {
        row(out, std::mem::take(&mut name), &format!("retained: {}", words(&verdict.retained)));
    }
    for (count, what) in
        [(verdict.corrupted, "corrupted"), (verdict.misdirected, "misdirected"), (verdict.foreign, "of others")]
    {
        if count > 0 {
            row(out, std::mem::take(&mut name), &format!("{} {what}", grouped(count)));
        }
    }
}

fn words(deliveries: &Deliveries) -> String {
    let mut text = format!("{} owed", grouped(deliveries.owed()));
    if deliveries.unsubscribed > 0 && deliveries.owed() == 0 {
        text.push_str(" (nobody had subscribed when they were sent)");
    }
    if deliveries.excused_of_owed() > 0 {
        let _ = write!(text, " ({} excused)", grouped(deliveries.excused_of_owed()));
    }
    let _ = write!(
        text,
        ", {} received, {} lost, {} duplicated, {} reordered",
        grouped(deliveries.received),
        grouped(deliveries.lost()),
        grouped(deliveries.duplicated),
        grouped(deliveries.reordered)
    );
    if deliveries.copies > 0 {
        let _ = write!(text, ", {} copies for overlapping subscriptions", grouped(deliveries.copies));
    }
    text
}

fn usage(out: &mut String, outcome: &Outcome) {
    let generator = &outcome.generator;
    row(
        out,
        "loadtest",
        &format!(
            "{:.2} cores, busiest worker of {} busy {:.0} %, {} resident{}",
            (generator.cpu_user_s + generator.cpu_system_s) / outcome.duration_s.max(0.001),
            generator.workers,
            generator.busiest_worker_share * 100.0,
            show_size(generator.rss_peak_bytes),
            each(outcome, generator.rss_peak_bytes.saturating_sub(generator.rss_start_bytes))
        ),
    );
    if let Some(broker) = &outcome.broker {
        row(out, "broker", &broker_words(broker, outcome));
    }
    if let Some(kernel) = &outcome.kernel {
        row(out, "kernel", &kernel_words(kernel, outcome));
    }
    if let Some(machine) = &outcome.machine {
        let kernel: Vec<&str> = machine.kernel.split(' ').take(2).collect();
        row(
            out,
            "machine",
            &format!("{} x {}, {}, {}", machine.cores, machine.cpu, show_size(machine.memory_bytes), kernel.join(" ")),
        );
    }
}

/// Bytes that were added for each connection, where there are enough of them for that to mean something.
fn each(outcome: &Outcome, bytes: u64) -> String {
    let connections = outcome.connections.peak;
    if connections < 1_000 { String::new() } else { format!(" ({} B a connection)", grouped(bytes / connections)) }
}

fn broker_words(broker: &BrokerUsage, outcome: &Outcome) -> String {
    let (cpu_s, seconds) = if broker.cpu_measured_s > 0.0 {
        (broker.cpu_measured_s, outcome.measured_s)
    } else {
        (broker.cpu_s, outcome.duration_s)
    };
    let grown = broker.rss_peak_bytes.saturating_sub(broker.rss_start_bytes);
    let mut text = format!(
        "{:.2} cores, {} resident{}",
        cpu_s / seconds.max(0.001),
        show_size(broker.rss_peak_bytes),
        each(outcome, grown)
    );
    let messages = outcome.measured.messages_sent + outcome.measured.messages_received;
    if messages > 0 && broker.cpu_measured_s > 0.0 {
        let _ = write!(text, ", {:.1} us CPU a message in or out", broker.cpu_measured_s * 1e6 / messages as f64);
    }
    text
}

fn kernel_words(kernel: &KernelMemory, outcome: &Outcome) -> String {
    let slab = kernel.slab_peak_bytes.saturating_sub(kernel.slab_start_bytes);
    let tcp = kernel.tcp_peak_bytes.saturating_sub(kernel.tcp_start_bytes);
    format!("slab +{}{}, TCP buffers +{}", show_size(slab), each(outcome, slab), show_size(tcp))
}

fn result(out: &mut String, outcome: &Outcome, judgement: &Judgement) {
    for held in judgement.thresholds.iter().filter(|held| !held.broken) {
        line(out, &format!("  {held}"));
    }
    if judgement.exit == Exit::Ok {
        let until = if outcome.ending == Ending::Interrupted { " until it was interrupted" } else { "" };
        let kept = if outcome.verdict.all_deliveries().expected > 0 { ": every promise was kept" } else { "" };
        line(out, &format!("OK{kept}{until}"));
    } else {
        judgement.complaints.iter().for_each(|complaint| line(out, &format!("FAILED: {complaint}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{preset, report::sample, threshold::Threshold};

    #[test]
    fn the_summary_says_what_happened() {
        let mut outcome = sample::outcome();
        outcome.connections.tls.insert("TLS 1.3 TLS13_AES_256_GCM_SHA384 X25519".to_owned(), 4);
        outcome.timings.tls_handshake.record(2_000_000);
        let plan = preset::build("quick", &preset::Tuning::default()).unwrap();
        let thresholds = [Threshold::parse("p99>1ms").unwrap(), Threshold::parse("max>1s").unwrap()];
        let judgement = exit::judge(&plan, &outcome, &thresholds, &[]);
        let text = text(&outcome, &judgement);
        for part in [
            "quick against 127.0.0.1:1883\n",
            "  connections   4 established (4 at once), 0 failed, 0 lost\n",
            "  TLS           4 TLS 1.3 TLS13_AES_256_GCM_SHA384 X25519\n",
            "  TLS handshake                  1   2.00 ms",
            "  rate          100 /s sent, 99.50 /s received over 2.0 s measured\n",
            "open loop: latency counts from the time each message was meant to be sent\n",
            "  delivery                     199   1.00 ms",
            "QoS 1: 220 owed, 219 received, 1 lost, 0 duplicated, 0 reordered\n",
            "220 of 220 acknowledged\n",
            "  ok: max 1.99 ms (fails above 1 s)\n",
            "FAILED: 1 lost at QoS 1\nFAILED: p99 1.98 ms (fails above 1 ms)\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
    }

    #[test]
    fn what_was_sent_before_anybody_subscribed_is_not_owed() {
        let before = Deliveries { expected: 200, excused: 200, unsubscribed: 200, ..Deliveries::default() };
        assert!(words(&before).starts_with("0 owed (nobody had subscribed when they were sent), 0 received, 0 lost"));
        let late = Deliveries { expected: 200, excused: 150, unsubscribed: 140, received: 50, ..Deliveries::default() };
        assert!(words(&late).starts_with("60 owed (10 excused), 50 received, 0 lost"), "{}", words(&late));
    }
}
