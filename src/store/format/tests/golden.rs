//! The bytes of version 2, written down when it was made: a change here is another version. Headers of version 1 differ in their version alone.

use std::fmt::Write;

use core::net::IpAddr;

use crate::ids::{ClientKey, NameKey, PacketId, Qos, SessionId, ShardId, SubscriptionId};
use crate::store::format::*;
use crate::time::Timestamp;

const GOLDEN: &str = include_str!("golden.txt");
const BASE: u64 = 1_000_300;
const IDS: &[SubscriptionId] = &[SubscriptionId::MIN, SubscriptionId::new(300).unwrap()];

#[test]
fn the_bytes_of_this_version_are_what_they_were() {
    let now = lines();
    if std::env::var_os("DUNLIN_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/format/tests/golden.txt");
        std::fs::write(path, now).expect("the repository is writable");
        return;
    }
    assert_eq!(now, GOLDEN, "bytes that are on disks already would be read differently: make it another version");
}

/// The broker of version 1 took no users with a disk, and wrote nothing about them.
#[test]
fn headers_of_version_1_are_read_and_those_of_no_version_are_not() {
    let with_version = |bytes: &[u8], header_bytes: usize, version: u16| {
        let mut bytes = bytes.to_vec();
        let mut head = bytes[..header_bytes - 4].to_vec();
        head[8..10].copy_from_slice(&version.to_le_bytes());
        super::super::sealed::seal(&mut bytes, &head, header_bytes);
        bytes
    };
    for (version, is_read) in [(0, false), (1, true), (2, true), (3, false)] {
        let manifest = with_version(&manifest(), crate::limits::STORE_BLOCK_BYTES, version);
        assert_eq!(Manifest::open(&manifest).is_ok(), is_read, "manifest of version {version}");
        let batch = with_version(&batch(), BatchHeader::BYTES, version);
        assert_eq!(BatchHeader::read(&batch).is_ok(), is_read, "batch of version {version}");
        let page = with_version(&page(), PageHeader::BYTES, version);
        assert_eq!(PageHeader::read(&page).is_ok(), is_read, "page of version {version}");
    }
}

#[test]
fn the_golden_bytes_have_every_kind_and_read_back() {
    let kinds: Vec<u8> = records().iter().map(|record| encoded(record)[0]).collect();
    for (number, name, _) in KINDS {
        assert!(kinds.contains(&number), "no golden bytes for {name}");
    }
}

fn encoded(record: &LogRecord<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(BASE, &mut bytes);
    bytes
}

fn lines() -> String {
    let mut text = String::from("# Bytes of version 2 in hexadecimal. Checked by golden.rs beside this file.\n");
    let mut line = |name: &str, bytes: &[u8]| {
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let _ = writeln!(text, "{name} {hex}");
    };
    for record in records() {
        let bytes = encoded(&record);
        let (_, name, _) = KINDS[usize::from(bytes[0]) - 1];
        line(name, &bytes);
    }
    line("batch", &batch());
    line("segment", &segment());
    line("page", &page());
    let manifest = manifest();
    let used = manifest.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    line("manifest-head", &manifest[..96]);
    line("manifest-sum", &manifest[used - 4..used]);
    text
}

fn records() -> Vec<LogRecord<'static>> {
    let session = SessionId(300);
    let packet_id = PacketId::new(0x0102).expect("not zero");
    let message = MessageId(1_000_000);
    let stamp = WriteStamp { time_ns: 0x0102_0304_0506_0708, shard: 9 };
    let at = Timestamp(1_800_000_000_000);
    let [plain, full] = messages(message, at);
    let queued = QueuedRecord {
        session,
        message,
        qos: Qos::AtLeastOnce,
        retain: false,
        packet_id: None,
        group: None,
        ids: ListOf::Values(&[]),
    };
    let queued_full = QueuedRecord {
        qos: Qos::ExactlyOnce,
        retain: true,
        packet_id: Some(packet_id),
        group: Some(7),
        ids: ListOf::Values(IDS),
        ..queued
    };
    let forward = ForwardTarget {
        to: ShardId(3),
        number: 500,
        message,
        plain: true,
        retained: Some(stamp),
        groups: ListOf::Values(&[7, 8]),
    };
    let [nobody, ann] = owners();
    vec![
        LogRecord::SessionBegun { session, client_id: "device-1", expiry_s: 86_400, at },
        LogRecord::SessionEnded { session },
        LogRecord::SessionExpiry { session, expiry_s: u32::MAX },
        LogRecord::Connected { session },
        LogRecord::Disconnected { session, at },
        LogRecord::WillSet { session, message, delay_s: 5, message_expiry_s: Some(0) },
        LogRecord::WillCleared { session },
        LogRecord::Subscribed { session, filter: "$share/g/a/#", options: 0x0a, identifier: SubscriptionId::new(300) },
        LogRecord::Unsubscribed { session, filter: "a/+" },
        LogRecord::Message(plain),
        LogRecord::Message(full),
        LogRecord::MessagePart { message, bytes: b"more" },
        LogRecord::Queued(queued),
        LogRecord::Queued(queued_full),
        LogRecord::Sent { session, message, packet_id },
        LogRecord::Released { session, packet_id },
        LogRecord::Completed { session, packet_id },
        LogRecord::Dropped { session, message, reason: 4 },
        LogRecord::ExchangeOpened { session, packet_id },
        LogRecord::ExchangeClosed { session, packet_id },
        LogRecord::Retained { topic: "a/b", stamp, message: Some(message) },
        LogRecord::Retained { topic: "a/b", stamp, message: None },
        LogRecord::Forward(forward),
        LogRecord::Started { at },
        LogRecord::OutboxCount { to: ShardId(3), number: 500 },
        LogRecord::InboxTaken { from: ShardId(4), number: 501 },
        LogRecord::SessionOwner { session, owner: nobody, keeps_filters: false },
        LogRecord::SessionOwner { session, owner: ann, keeps_filters: true },
        LogRecord::FilterDecided { session, filter: "a/#", is_allowed: true },
        LogRecord::WillDecided { session, decision: BackEndDecision::Ignore },
    ]
}

fn owners() -> [SessionOwner<'static>; 2] {
    let nobody = SessionOwner {
        user: None,
        listener: "default",
        peer: Some(IpAddr::from([192, 0, 2, 1])),
        is_superuser: false,
        asks_back_end: false,
        rules: None,
    };
    let ann = SessionOwner {
        user: Some("ann"),
        peer: Some("2001:db8::1".parse().expect("an address")),
        is_superuser: true,
        asks_back_end: true,
        rules: Some(b"rules"),
        ..nobody
    };
    [nobody, ann]
}

fn messages(id: MessageId, at: Timestamp) -> [MessageRecord<'static>; 2] {
    let plain = MessageRecord {
        id,
        qos: Qos::AtLeastOnce,
        retain: false,
        expires: None,
        publisher: None,
        topic: "a/b",
        properties: &[],
        properties_bytes: 0,
        payload: b"payload",
        later_bytes: 0,
    };
    let full = MessageRecord {
        qos: Qos::ExactlyOnce,
        retain: true,
        expires: Some(at),
        publisher: Some(ClientKey(0x1122_3344_5566_7788)),
        properties: &[1, 1],
        properties_bytes: 2,
        later_bytes: 300_000,
        ..plain
    };
    [plain, full]
}

fn batch() -> Vec<u8> {
    let mut bytes = vec![0; BatchHeader::BYTES];
    LogRecord::Connected { session: SessionId(1) }.encode(7, &mut bytes);
    InboxCount { from: ShardId(2), number: 3 }.put(&mut bytes);
    let place = BatchPlace { shard: ShardId(1), epoch: 2, segment: SegmentNumber(3), block: 4 };
    let (written, len) = (Timestamp(1_800_000_000_000), bytes.len() as u32);
    let header =
        BatchHeader { place, first: 7, count: 1, written, previous: 8, continues: true, follows: true, inbox: 1, len };
    header.seal(&mut bytes);
    bytes
}

fn segment() -> Vec<u8> {
    let header = SegmentHeader {
        node: *b"0123456789abcdef",
        generation: 1,
        shard: ShardId(2),
        number: SegmentNumber(3),
        epoch: 4,
        first: 5,
        previous: 6,
        begun: Timestamp(1_800_000_000_000),
        blocks: 0, // as it was before that was noted
    };
    let mut block = vec![0; 4096];
    header.seal(&mut block);
    block.truncate(SegmentHeader::BYTES);
    block
}

fn page() -> Vec<u8> {
    let mut bytes = vec![0; PageHeader::BYTES];
    LogRecord::Connected { session: SessionId(1) }.encode(7, &mut bytes);
    let header = PageHeader {
        kind: PageKind::Sessions,
        shard: ShardId(1),
        generation: 2,
        checkpoint: 3,
        number: 4,
        as_of: 7,
        first: 0,
        end: 1_000,
        previous: 5,
        len: bytes.len() as u32,
    };
    header.seal(&mut bytes);
    bytes
}

fn manifest() -> Vec<u8> {
    let manifest = Manifest {
        node: *b"0123456789abcdef",
        node_name: "node-1".into(),
        made: Timestamp(1_800_000_000_000),
        generation: 1,
        shards: 2,
        epoch: 3,
        names: NameKey { first: 4, second: 5 },
        last_stamp_ns: 6,
        segment_bytes: 64 << 20,
    };
    manifest.seal()
}
