//! Counts and times of a run as they grow, cut into seconds and stages.

use crate::outcome::{FailureReason, LossReason, Outcome, Second, StageOutcome, Timing, Traffic};
use dunlin::codec::ReasonCode;
use dunlin::conn::tls::AgreedTls;

/// Everything that is counted. Latencies are kept until the second or the stage ends, then added to the stage's and, in
/// measured stages, the run's; a second's row holds all of the second, whatever stages began in it.
pub(super) struct Tally {
    pub(super) outcome: Outcome,
    pub(super) connected: u64,
    /// Deliveries that are expected so far, by QoS, are in the verdict; this is what of all is still owed.
    pub(super) latency_intended: Timing,
    pub(super) latency_sent: Timing,
    /// Of messages that were sent when they were meant to be: of both, recorded once.
    latency_on_time: Timing,
    pub(super) latency_slow: Timing,
    pub(super) acknowledged: Timing,
    pub(super) send_delay: Timing,
    pub(super) own_delay: Timing,
    /// From the intended time, what came in this second in stages that have ended.
    latency_filed: Timing,
    /// The same since the last tenth.
    latency_tenth: Timing,
    pub(super) last_delivery_ns: u64,
    pub(super) written_off: u64,
    pub(super) measured: bool,
    /// Refusals by packet and reason code: a short list, because there are few of both.
    refused: Vec<(&'static str, ReasonCode, u64)>,
    /// What handshakes of TLS came to, in the same way.
    agreed: Vec<(AgreedTls, u64)>,
    before: Before,
    before_tenth: Before,
}

/// Counts at the end of the last second, or of the last tenth of one.
#[derive(Clone, Copy, Default)]
struct Before {
    traffic: Traffic,
    established: u64,
    failed: u64,
    lost: u64,
}

impl Tally {
    pub(super) fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            connected: 0,
            latency_intended: Timing::default(),
            latency_sent: Timing::default(),
            latency_on_time: Timing::default(),
            latency_slow: Timing::default(),
            acknowledged: Timing::default(),
            send_delay: Timing::default(),
            own_delay: Timing::default(),
            refused: Vec::new(),
            agreed: Vec::new(),
            latency_filed: Timing::default(),
            latency_tenth: Timing::default(),
            last_delivery_ns: 0,
            written_off: 0,
            measured: false,
            before: Before::default(),
            before_tenth: Before::default(),
        }
    }

    /// A message has come to who reads all the time.
    #[inline]
    pub(super) fn record_latency(&mut self, now_ns: u64, intended_ns: u64, sent_ns: u64) {
        if intended_ns == sent_ns {
            self.latency_on_time.record(now_ns.saturating_sub(sent_ns));
        } else {
            self.latency_intended.record(now_ns.saturating_sub(intended_ns));
            self.latency_sent.record(now_ns.saturating_sub(sent_ns));
        }
    }

    /// Puts what was recorded once where it belongs.
    fn spread_latencies(&mut self) {
        if !self.latency_on_time.is_empty() {
            self.latency_intended.merge(&self.latency_on_time);
            self.latency_sent.merge(&self.latency_on_time);
            self.latency_on_time.clear();
        }
    }

    pub(super) fn failed(&mut self, reason: FailureReason, words: impl FnOnce() -> String) {
        *self.outcome.connections.failed.entry(reason).or_default() += 1;
        self.outcome.connections.first_failure.get_or_insert_with(words);
    }

    /// The broker refused something with a reason code.
    pub(super) fn refused(&mut self, packet: &'static str, reason: ReasonCode) {
        match self.refused.iter_mut().find(|one| (one.0, one.1) == (packet, reason)) {
            Some(one) => one.2 += 1,
            None => self.refused.push((packet, reason, 1)),
        }
    }

    /// The same below MQTT, in words.
    pub(super) fn refused_below(&mut self, words: &str) {
        *self.outcome.refused.entry(words.to_owned()).or_default() += 1;
    }

    /// A handshake of TLS is done.
    pub(super) fn agreed(&mut self, agreed: AgreedTls) {
        match self.agreed.iter_mut().find(|one| one.0 == agreed) {
            Some(one) => one.1 += 1,
            None => self.agreed.push((agreed, 1)),
        }
    }

    /// Puts into the outcome in words what was counted by its kind.
    pub(super) fn name_kinds(&mut self) {
        for (agreed, count) in std::mem::take(&mut self.agreed) {
            let version = format!("{:?}", agreed.version).replace("TLSv", "TLS ").replace('_', ".");
            let group = agreed.group.map(|group| format!(" {group:?}")).unwrap_or_default();
            let resumed = if agreed.is_resumed { ", resumed" } else { "" };
            let name = format!("{version} {:?}{group}{resumed}", agreed.suite);
            *self.outcome.connections.tls.entry(name).or_default() += count;
        }
        for (packet, reason, count) in std::mem::take(&mut self.refused) {
            *self.outcome.refused.entry(format!("{packet} {}", reason.text())).or_default() += count;
        }
    }

    pub(super) fn lost(&mut self, reason: LossReason) {
        *self.outcome.connections.lost.entry(reason).or_default() += 1;
    }

    /// What is owed by this part's messages less what came to its subscribers: the sum over all parts is what is owed.
    pub(super) fn balance(&self) -> i64 {
        let deliveries = self.outcome.verdict.all_deliveries();
        deliveries.expected.cast_signed() - deliveries.excused.cast_signed() - deliveries.received.cast_signed()
    }

    /// Deliveries that are owed and have not come, of all QoS.
    pub(super) fn owed(&self) -> u64 {
        let deliveries = self.outcome.verdict.all_deliveries();
        deliveries.expected.saturating_sub(deliveries.excused).saturating_sub(deliveries.received)
    }

    /// Ends a second (or what there is of one): its row, and its latencies into the stage's and the run's.
    pub(super) fn end_second(&mut self, at_s: f64, stage: usize, generator_cores: f64) {
        self.file_latencies();
        let (row, now) = self.row(at_s, stage, &self.latency_filed, &self.before);
        self.latency_filed.clear();
        self.outcome.series.push(Second { generator_cores, ..row });
        self.before = now;
    }

    /// The same for a tenth of a second, which has a list of its own.
    pub(super) fn end_tenth(&mut self, at_s: f64, stage: usize, generator_cores: f64) {
        self.file_latencies();
        let (row, now) = self.row(at_s, stage, &self.latency_tenth, &self.before_tenth);
        self.latency_tenth.clear();
        self.outcome.tenths.push(Second { generator_cores, ..row });
        self.before_tenth = now;
    }

    fn row(&self, at_s: f64, stage: usize, latency: &Timing, before: &Before) -> (Second, Before) {
        let connections = &self.outcome.connections;
        let now = Before {
            traffic: self.outcome.traffic,
            established: connections.established,
            failed: connections.failed_total(),
            lost: connections.lost_total(),
        };
        let row = Second {
            at_s,
            stage: stage as u32,
            connected: self.connected,
            established: now.established - before.established,
            failed: now.failed - before.failed,
            lost: now.lost - before.lost,
            traffic: difference(&now.traffic, &before.traffic),
            owed: self.owed(),
            p50_ns: latency.percentile_ns(50.0),
            p99_ns: latency.percentile_ns(99.0),
            max_ns: latency.max_ns(),
            ..Second::default()
        };
        (row, now)
    }

    /// Moves the latencies since the last call where they belong.
    fn file_latencies(&mut self) {
        self.spread_latencies();
        self.latency_filed.merge(&self.latency_intended);
        self.latency_tenth.merge(&self.latency_intended);
        if let Some(stage) = self.outcome.stages.last_mut() {
            stage.latency.merge(&self.latency_intended);
        }
        if self.measured {
            self.outcome.timings.latency_intended.merge(&self.latency_intended);
            self.outcome.timings.latency_sent.merge(&self.latency_sent);
            self.outcome.timings.latency_slow.merge(&self.latency_slow);
            self.outcome.timings.acknowledged.merge(&self.acknowledged);
            self.outcome.timings.send_delay.merge(&self.send_delay);
            self.outcome.timings.own_delay.merge(&self.own_delay);
        }
        let all = [
            &mut self.latency_intended,
            &mut self.latency_sent,
            &mut self.latency_slow,
            &mut self.acknowledged,
            &mut self.send_delay,
            &mut self.own_delay,
        ];
        for timing in all {
            if !timing.is_empty() {
                timing.clear();
            }
        }
    }

    pub(super) fn begin_stage(&mut self, stage: StageOutcome) {
        self.file_latencies();
        self.measured = stage.measured;
        self.outcome.stages.push(stage);
    }

    /// Ends a stage that began with `before`.
    pub(super) fn end_stage(&mut self, before: &Traffic, established_before: u64) {
        self.file_latencies();
        let traffic = difference(&self.outcome.traffic, before);
        let established = self.outcome.connections.established - established_before;
        let Some(stage) = self.outcome.stages.last_mut() else { return };
        stage.traffic = traffic;
        stage.established = established;
        stage.connected = self.connected;
        if stage.measured {
            self.outcome.measured.add(&traffic);
            self.outcome.measured_s += (stage.ended_ms - stage.started_ms) / 1e3;
            self.outcome.generator.cpu_measured_s += stage.generator_cpu_s;
        }
        self.measured = false;
    }
}

fn difference(now: &Traffic, before: &Traffic) -> Traffic {
    Traffic {
        messages_sent: now.messages_sent - before.messages_sent,
        messages_received: now.messages_received - before.messages_received,
        messages_acknowledged: now.messages_acknowledged - before.messages_acknowledged,
        bytes_sent: now.bytes_sent - before.bytes_sent,
        bytes_received: now.bytes_received - before.bytes_received,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_the_latencies_of_all_its_stages() {
        let mut tally = Tally::new(Outcome::default());
        tally.begin_stage(StageOutcome { measured: true, ..StageOutcome::default() });
        tally.record_latency(5_000, 0, 0);
        tally.end_stage(&Traffic::default(), 0);
        tally.begin_stage(StageOutcome::default());
        tally.end_second(1.0, 1, 0.0);
        tally.record_latency(9_000, 0, 1_000);
        tally.end_second(2.0, 1, 0.0);
        let [first, second] = tally.outcome.series[..] else { panic!("two seconds") };
        assert_eq!((first.p50_ns / 10, first.p99_ns / 10, first.max_ns / 10), (500, 500, 500));
        assert_eq!(second.max_ns / 10, 900, "and not those of the second before");
        tally.end_tenth(2.0, 1, 0.0);
        tally.record_latency(7_000, 0, 1_000);
        tally.end_tenth(2.1, 1, 0.0);
        let tenths: Vec<u64> = tally.outcome.tenths.iter().map(|tenth| tenth.max_ns / 10).collect();
        assert_eq!(tenths, [900, 700], "tenths have books of their own");
        let counts: Vec<u64> = tally.outcome.stages.iter().map(|stage| stage.latency.count()).collect();
        assert_eq!(counts, [1, 2]);
        assert_eq!(tally.outcome.timings.latency_intended.count(), 1, "of the measured stage");
    }
}
