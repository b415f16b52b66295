//! Two outcomes of one run become one.

use super::{
    Bottleneck, BrokerUsage, Connections, Ending, GeneratorUsage, Outcome, Second, StageOutcome, Timings, Traffic,
};

impl Outcome {
    /// Adds what another thread or part did. What describes the run as a whole stays as it is here.
    pub fn merge(&mut self, other: &Self) {
        outcome(self, other);
    }
}

fn outcome(into: &mut Outcome, from: &Outcome) {
    into.duration_s = into.duration_s.max(from.duration_s);
    into.measured_s = into.measured_s.max(from.measured_s);
    into.window = into.window.max(from.window);
    if into.ending == Ending::Finished {
        into.ending = from.ending.clone();
    }
    for (at, theirs) in from.stages.iter().enumerate() {
        match into.stages.get_mut(at) {
            Some(ours) => stage(ours, theirs),
            None => into.stages.push(theirs.clone()),
        }
    }
    connections(&mut into.connections, &from.connections);
    for (what, count) in &from.refused {
        *into.refused.entry(what.clone()).or_default() += count;
    }
    timings(&mut into.timings, &from.timings);
    into.untimed += from.untimed;
    into.verdict.add(&from.verdict);
    traffic(&mut into.measured, &from.measured);
    traffic(&mut into.traffic, &from.traffic);
    samples(&mut into.series, &from.series);
    // A part without them took longer, and so did the run.
    if into.tenths.is_empty() || from.tenths.is_empty() {
        into.tenths.clear();
    } else {
        samples(&mut into.tenths, &from.tenths);
    }
    generator(&mut into.generator, &from.generator);
    match (&mut into.broker, &from.broker) {
        (Some(ours), Some(theirs)) => broker(ours, theirs),
        (ours @ None, Some(theirs)) => *ours = Some(theirs.clone()),
        (_, None) => {}
    }
    into.kernel = into.kernel.take().or_else(|| from.kernel.clone());
    into.machine = into.machine.take().or_else(|| from.machine.clone());
    into.bottleneck = match (into.bottleneck, from.bottleneck) {
        (Bottleneck::Generator, _) | (_, Bottleneck::Generator) => Bottleneck::Generator,
        (Bottleneck::Broker, _) | (_, Bottleneck::Broker) => Bottleneck::Broker,
        _ => Bottleneck::None,
    };
    for warning in &from.warnings {
        if !into.warnings.contains(warning) {
            into.warnings.push(warning.clone());
        }
    }
    into.parts += from.parts;
}

fn samples(into: &mut Vec<Second>, from: &[Second]) {
    for (at, theirs) in from.iter().enumerate() {
        match into.get_mut(at) {
            Some(ours) => ours.merge(theirs),
            None => into.push(*theirs),
        }
    }
}

fn stage(into: &mut StageOutcome, from: &StageOutcome) {
    into.started_ms = into.started_ms.min(from.started_ms);
    into.action_ended_ms = into.action_ended_ms.max(from.action_ended_ms);
    into.ended_ms = into.ended_ms.max(from.ended_ms);
    // Complete when the last part is; a part that is not, is never.
    into.completed_in_ms = match (into.completed_in_ms, from.completed_in_ms) {
        (Some(ours), Some(theirs)) => Some(ours.max(theirs)),
        _ => None,
    };
    into.established += from.established;
    into.connected += from.connected;
    traffic(&mut into.traffic, &from.traffic);
    into.latency.merge(&from.latency);
    into.generator_cpu_s += from.generator_cpu_s;
}

fn connections(into: &mut Connections, from: &Connections) {
    into.attempted += from.attempted;
    into.retried += from.retried;
    into.established += from.established;
    into.subscribed += from.subscribed;
    into.dropped += from.dropped;
    into.peak += from.peak;
    into.at_end += from.at_end;
    into.subscriptions_refused += from.subscriptions_refused;
    into.sessions_present += from.sessions_present;
    into.sessions_lost += from.sessions_lost;
    for (reason, count) in &from.failed {
        *into.failed.entry(*reason).or_default() += count;
    }
    for (kind, count) in &from.tls {
        *into.tls.entry(kind.clone()).or_default() += count;
    }
    for (reason, count) in &from.lost {
        *into.lost.entry(*reason).or_default() += count;
    }
    into.first_failure = into.first_failure.take().or_else(|| from.first_failure.clone());
}

fn timings(into: &mut Timings, from: &Timings) {
    into.tcp_connect.merge(&from.tcp_connect);
    into.tls_handshake.merge(&from.tls_handshake);
    into.tls_resumption.merge(&from.tls_resumption);
    into.own_handshake.merge(&from.own_handshake);
    into.upgrade.merge(&from.upgrade);
    into.connack.merge(&from.connack);
    into.suback.merge(&from.suback);
    into.acknowledged.merge(&from.acknowledged);
    into.latency_intended.merge(&from.latency_intended);
    into.latency_sent.merge(&from.latency_sent);
    into.latency_slow.merge(&from.latency_slow);
    into.send_delay.merge(&from.send_delay);
    into.own_delay.merge(&from.own_delay);
    into.ping.merge(&from.ping);
    into.recovery.merge(&from.recovery);
}

fn traffic(into: &mut Traffic, from: &Traffic) {
    into.add(from);
}

impl Second {
    /// Adds another part's. Percentiles cannot be added: of a merged second the worst part's stand. The whole run's come from
    /// histograms.
    pub fn merge(&mut self, from: &Self) {
        second(self, from);
    }
}

fn second(into: &mut Second, from: &Second) {
    into.stage = into.stage.max(from.stage);
    into.connected += from.connected;
    into.established += from.established;
    into.failed += from.failed;
    into.lost += from.lost;
    traffic(&mut into.traffic, &from.traffic);
    into.owed += from.owed;
    into.p50_ns = into.p50_ns.max(from.p50_ns);
    into.p99_ns = into.p99_ns.max(from.p99_ns);
    into.max_ns = into.max_ns.max(from.max_ns);
    into.generator_cores += from.generator_cores;
    into.broker_cores = into.broker_cores.or(from.broker_cores);
    into.broker_rss_bytes = into.broker_rss_bytes.or(from.broker_rss_bytes);
    into.generator_rss_bytes = match (into.generator_rss_bytes, from.generator_rss_bytes) {
        (Some(ours), Some(theirs)) => Some(ours + theirs),
        (ours, theirs) => ours.or(theirs),
    };
    into.slab_bytes = into.slab_bytes.or(from.slab_bytes);
    into.tcp_buffer_bytes = into.tcp_buffer_bytes.or(from.tcp_buffer_bytes);
}

fn generator(into: &mut GeneratorUsage, from: &GeneratorUsage) {
    into.workers += from.workers;
    into.cores = into.cores.max(from.cores);
    into.cpu_user_s += from.cpu_user_s;
    into.cpu_system_s += from.cpu_system_s;
    into.cpu_measured_s += from.cpu_measured_s;
    into.rss_start_bytes += from.rss_start_bytes;
    into.rss_peak_bytes += from.rss_peak_bytes;
    into.busiest_worker_share = into.busiest_worker_share.max(from.busiest_worker_share);
    into.worker_share_measured = into.worker_share_measured.max(from.worker_share_measured);
}

/// Two parts that look at one broker saw the same; of its growing numbers the larger is the later look.
fn broker(into: &mut BrokerUsage, from: &BrokerUsage) {
    into.cpu_s = into.cpu_s.max(from.cpu_s);
    into.cpu_measured_s = into.cpu_measured_s.max(from.cpu_measured_s);
    into.rss_peak_bytes = into.rss_peak_bytes.max(from.rss_peak_bytes);
}

impl Traffic {
    /// Adds another's.
    pub const fn add(&mut self, other: &Self) {
        self.messages_sent += other.messages_sent;
        self.messages_received += other.messages_received;
        self.messages_acknowledged += other.messages_acknowledged;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
    }
}
