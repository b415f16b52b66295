//! Instructions per packet of the codec's hot paths, and the proof that decoding does not allocate.
//!
//! `cargo bench --bench codec` runs this binary under `valgrind --tool=callgrind` once with `ROUNDS` and once with
//! twice `ROUNDS` repetitions of each case; the difference is the cost of the packets alone, the same on every run of
//! one build, whatever else the machine does. Loop and `black_box` are in it, about five instructions. Without `--bench`
//! (`cargo test --benches`) only the allocations are counted.

use std::hint::black_box;
use std::process::{Command, ExitCode};

use dunlin::codec::{
    AckKind, Connect, ConnectWill, Packet, Property, PublishOut, ReasonCode, Side, Version, decode, encode_ack, frame,
};
use dunlin::ids::{PacketId, Qos, TopicAlias};

/// Repetitions in the shorter of the two runs.
const ROUNDS: u64 = 1_000;
const TOPIC: &str = "fleet/berlin/truck-0042/telemetry";
const PAYLOAD: [u8; 64] = [b'x'; 64];

/// One way to use the codec.
struct Case {
    name: &'static str,
    work: Work,
}

enum Work {
    /// Cut the packet out of a buffer and decode it.
    Decode { packet: Vec<u8>, version: Version },
    /// Write a PUBLISH, payload included, into a buffer that is large enough.
    Encode { version: Version, qos: Qos, properties: Vec<u8> },
    /// Write an acknowledgement.
    EncodeAck { version: Version },
    /// Copy an encoded PUBLISH and put another packet identifier into it: the second to last subscriber of a layout.
    Patch { version: Version },
}

fn message(version: Version, qos: Qos, properties: &[u8]) -> PublishOut<'_> {
    PublishOut {
        version,
        topic: TOPIC,
        topic_alias: None,
        qos,
        dup: false,
        retain: false,
        packet_id: (qos != Qos::AtMostOnce).then_some(PacketId::MAX),
        message_expiry_s: None,
        subscription_ids: &[],
        forwarded: dunlin::codec::Forwarded::from_clean_block(properties),
        payload: &PAYLOAD,
    }
}

fn encoded(message: &PublishOut<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

fn properties() -> Vec<u8> {
    let mut out = Vec::new();
    Property::ContentType("application/cbor").write_to(&mut out);
    Property::UserProperty("trace", "4bf92f3577b34da6a3ce929d0e0e4736").write_to(&mut out);
    out
}

fn connect() -> Vec<u8> {
    let will = ConnectWill {
        topic: "fleet/berlin/truck-0042/lost",
        payload: b"1",
        qos: Qos::AtLeastOnce,
        retain: true,
        delay_s: 30,
        message_expiry_s: None,
        properties: dunlin::codec::Forwarded::EMPTY,
    };
    let connect = Connect {
        username: Some("truck-0042"),
        password: Some(b"secret"),
        will: Some(will),
        keep_alive_s: 300,
        session_expiry_s: 3600,
        receive_maximum: 20,
        ..Connect::new(Version::V5, "truck-0042", false)
    };
    let mut out = Vec::new();
    connect.encode(&mut out);
    out
}

fn cases() -> Vec<Case> {
    let (v3, v5) = (Version::V311, Version::V5);
    let (qos0, qos1) = (Qos::AtMostOnce, Qos::AtLeastOnce);
    let with_properties = properties();
    let hops = PublishOut {
        topic_alias: Some(TopicAlias::MIN),
        message_expiry_s: Some(60),
        ..message(v5, qos1, &with_properties)
    };
    let decode = |version, packet| Work::Decode { packet, version };
    let encode = |version, qos, properties: &[u8]| Work::Encode { version, qos, properties: properties.to_vec() };
    let puback = vec![0x40, 2, 0, 1];
    let work = [
        ("decode PUBLISH 3.1.1 QoS 0", decode(v3, encoded(&message(v3, qos0, &[])))),
        ("decode PUBLISH 3.1.1 QoS 1", decode(v3, encoded(&message(v3, qos1, &[])))),
        ("decode PUBLISH 5.0 QoS 0", decode(v5, encoded(&message(v5, qos0, &[])))),
        ("decode PUBLISH 5.0 QoS 1", decode(v5, encoded(&message(v5, qos1, &[])))),
        ("decode PUBLISH 5.0 QoS 1, 4 properties", decode(v5, encoded(&hops))),
        ("decode PUBACK 3.1.1", decode(v3, puback.clone())),
        ("decode PUBACK 5.0", decode(v5, puback)),
        ("decode CONNECT 5.0 with will", decode(v5, connect())),
        ("encode PUBLISH 3.1.1 QoS 0", encode(v3, qos0, &[])),
        ("encode PUBLISH 3.1.1 QoS 1", encode(v3, qos1, &[])),
        ("encode PUBLISH 5.0 QoS 0", encode(v5, qos0, &[])),
        ("encode PUBLISH 5.0 QoS 1", encode(v5, qos1, &[])),
        ("encode PUBLISH 5.0 QoS 1, 2 properties", encode(v5, qos1, &with_properties)),
        ("copy and patch PUBLISH 5.0 QoS 1", Work::Patch { version: v5 }),
        ("encode PUBACK 3.1.1", Work::EncodeAck { version: v3 }),
        ("encode PUBACK 5.0", Work::EncodeAck { version: v5 }),
    ];
    work.into_iter().map(|(name, work)| Case { name, work }).collect()
}

/// Does the work `rounds` times.
fn run(work: &Work, rounds: u64) {
    let mut out = Vec::with_capacity(4096);
    match work {
        Work::Decode { packet, version } => {
            for _ in 0..rounds {
                decode_and_look(black_box(packet), *version);
            }
        }
        Work::Encode { version, qos, properties } => {
            let message = message(*version, *qos, properties);
            for _ in 0..rounds {
                out.clear();
                black_box(black_box(&message).encode(&mut out));
                black_box(&out);
            }
        }
        Work::EncodeAck { version } => {
            for _ in 0..rounds {
                out.clear();
                let (packet_id, reason) = (black_box(PacketId::MIN), black_box(ReasonCode::Success));
                encode_ack(black_box(*version), AckKind::PubAck, packet_id, reason, &mut out);
                black_box(&out);
            }
        }
        Work::Patch { version } => {
            let mut first = Vec::new();
            let at = message(*version, Qos::AtLeastOnce, &[]).encode(&mut first).packet_id_at.expect("QoS 1 has one");
            for _ in 0..rounds {
                out.clear();
                out.extend_from_slice(black_box(&first));
                out[at..at + 2].copy_from_slice(&black_box(PacketId::MIN).get().to_be_bytes());
                black_box(&out);
            }
        }
    }
}

/// Decodes as a connection does: cut, decode, match, go on with what a handler needs.
fn decode_and_look(bytes: &[u8], version: Version) {
    let Ok(Some((frame, _))) = frame::next(bytes, 1 << 20) else { panic!("no packet") };
    match decode(frame, version, Side::Server) {
        Ok(Packet::Publish(publish)) => {
            black_box((publish.topic, publish.payload, publish.packet_id, publish.qos, publish.properties));
        }
        Ok(Packet::Ack(ack)) => {
            black_box((ack.kind, ack.packet_id, ack.reason));
        }
        Ok(packet) => {
            black_box(&packet);
        }
        Err(error) => panic!("{error}"),
    }
}

/// Counts allocations over all work that should make none. Encoding makes none because its buffer is large enough.
fn assert_no_allocations(cases: &[Case]) {
    for case in cases {
        let once = allocation_counter::measure(|| run(&case.work, 1)).count_total;
        let often = allocation_counter::measure(|| run(&case.work, 1_000)).count_total;
        assert_eq!(once, often, "{} allocates", case.name);
        if let Work::Decode { packet, version } = &case.work {
            let counted = allocation_counter::measure(|| decode_and_look(packet, *version));
            assert_eq!(counted.count_total, 0, "{} allocates", case.name);
        }
    }
    // Refusing allocates no more than accepting.
    let bad = [0x30, 4, 0, 9, b't', b'p'];
    let counted = allocation_counter::measure(|| {
        let refused =
            frame::next(&bad, 1 << 20).map(|cut| cut.map(|(frame, _)| decode(frame, Version::V5, Side::Server)));
        assert!(matches!(refused, Ok(Some(Err(_)))));
    });
    assert_eq!(counted.count_total, 0, "a refusal allocates");
}

/// Instructions that callgrind counts for the whole process.
fn instructions(case: usize, rounds: u64) -> Result<u64, String> {
    let binary = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(binary)
        .args(["--case", &case.to_string(), &rounds.to_string()])
        .output()
        .map_err(|error| format!("valgrind does not start ({error}); install it: apt-get install valgrind"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split("Collected : ").nth(1)?.trim().parse().ok());
    match (output.status.success(), collected) {
        (true, Some(count)) => Ok(count),
        _ => Err(format!("valgrind failed on case {case}:\n{text}")),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let cases = cases();
    if let [flag, case, rounds] = &arguments[..]
        && flag == "--case"
    {
        let case: usize = case.parse().expect("the number of a case");
        run(&cases[case].work, rounds.parse().expect("a number of rounds"));
        return ExitCode::SUCCESS;
    }
    assert_no_allocations(&cases);
    println!("{} cases, no allocation in any", cases.len());
    if !arguments.iter().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    println!("{:<42} {:>12}", "64-byte payload, 33-byte topic", "instructions");
    for (at, case) in cases.iter().enumerate() {
        match (instructions(at, ROUNDS), instructions(at, 2 * ROUNDS)) {
            (Ok(once), Ok(twice)) => println!("{:<42} {:>12}", case.name, (twice - once) / ROUNDS),
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
