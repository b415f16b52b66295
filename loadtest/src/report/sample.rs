//! An outcome that the tests of all formats show.

use crate::{
    machine::describe,
    outcome::{
        BrokerUsage, Connections, Deliveries, GeneratorUsage, KernelMemory, Messages, Outcome, Second, StageOutcome,
        Traffic,
    },
    plan::LoopKind,
};

/// Three seconds of a small open-loop run with one lost message.
pub(crate) fn outcome() -> Outcome {
    let mut outcome = Outcome {
        name: "quick".to_owned(),
        description: "2 publishers with one subscriber each".to_owned(),
        target: "127.0.0.1:1883".to_owned(),
        started_unix_ms: 1_735_689_599_000,
        duration_s: 3.0,
        measured_s: 2.0,
        loop_kind: LoopKind::Open,
        connections: Connections { attempted: 4, established: 4, subscribed: 4, peak: 4, ..Connections::default() },
        generator: GeneratorUsage {
            workers: 1,
            cores: 2,
            cpu_user_s: 0.1,
            cpu_system_s: 0.2,
            ..GeneratorUsage::default()
        },
        broker: Some(BrokerUsage { pid: Some(7), cpu_s: 1.0, cpu_measured_s: 0.5, ..BrokerUsage::default() }),
        kernel: Some(KernelMemory::default()),
        machine: Some(describe::machine()),
        command_line: vec!["loadtest".to_owned(), "--fail-if".to_owned(), "p99>5ms".to_owned()],
        measured: Traffic { messages_sent: 200, messages_received: 199, ..Traffic::default() },
        traffic: Traffic { messages_sent: 220, messages_received: 219, ..Traffic::default() },
        parts: 1,
        ..Outcome::default()
    };
    for ns in 1..=199 {
        outcome.timings.latency_intended.record(ns * 10_000);
        outcome.timings.latency_sent.record(ns * 9_000);
    }
    outcome.timings.connack.record(1_500_000);
    outcome.timings.tcp_connect.record(50_000);
    outcome.verdict.messages[1] = Messages { sent: 220, acknowledged: 220, ..Messages::default() };
    outcome.verdict.deliveries[1] = Deliveries { expected: 220, received: 219, ..Deliveries::default() };
    outcome.stages = vec![
        StageOutcome {
            name: "connect".to_owned(),
            action: "ramp".to_owned(),
            ended_ms: 1_000.0,
            ..StageOutcome::default()
        },
        StageOutcome {
            name: "measure".to_owned(),
            action: "hold".to_owned(),
            measured: true,
            started_ms: 1_000.0,
            ended_ms: 3_000.0,
            ..StageOutcome::default()
        },
    ];
    for at in 1..=3_u32 {
        outcome.series.push(Second {
            at_s: f64::from(at),
            stage: u32::from(at > 1),
            connected: 4,
            traffic: Traffic { messages_sent: 100, messages_received: 99, ..Traffic::default() },
            p50_ns: 1_000_000,
            p99_ns: 1_900_000,
            max_ns: 1_990_000,
            broker_cores: (at > 1).then_some(0.25),
            broker_rss_bytes: Some(5 << 20),
            ..Second::default()
        });
    }
    outcome
}
