//! A closed loop of records on a real disk: so many wait for their write, and each write takes all that wait.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin::ids::{SessionId, ShardId};
use dunlin::ring::{Durability, Plane, PlaneConfig, SocketEvent, WriteAt};
use dunlin::runtime::disk::make_segment;
use dunlin::store::format::{LogId, LogRecord, MessageId, MessageRecord};
use dunlin::store::{LogConfig, LogEnd, RecordGroup, RecordWriter, SegmentWrite, Urgency};
use dunlin::time::Now;

const SEGMENT_BYTES: u64 = 64 << 20;
const ROUND: Duration = Duration::from_millis(700);

/// How the bytes get to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The shard's ring.
    Ring(Durability),
    /// The thread itself: a write, and a sync behind it.
    WriteAndSync,
}

/// What a round came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) records_s: f64,
    pub(crate) writes_s: f64,
    pub(crate) cpu_us: f64,
}

/// Runs one round with `in_flight` records that wait, in `folder`.
pub(crate) fn round(folder: &Path, way: Way, in_flight: u32) -> Figures {
    let path = folder.join("bench-segment");
    make_segment(&path, None, SEGMENT_BYTES).expect("the folder can be written to");
    let open = OpenOptions::new().write(true).custom_flags(libc_o_direct()).open(&path).expect("it was made");
    let file: Arc<OwnedFd> = Arc::new(open.try_clone().expect("a second descriptor").into());
    let mut plane = Plane::new(PlaneConfig::default()).expect("a ring");
    let mut writer = writer();
    let (begun, cpu_begun) = (Instant::now(), cpu_ns());
    let (mut writes, mut group) = (0_u32, Vec::new());
    while begun.elapsed() < ROUND {
        let now = Now { mono_ns: begun.elapsed().as_nanos() as u64, unix_ms: 1_800_000_000_000 };
        while writer.appended() < writer.durable() + u64::from(in_flight) {
            append(&mut writer, now, &mut group);
        }
        // One file again and again: a log would go on in the next.
        while let Some(segment) = writer.next_to_prepare() {
            writer.segment_prepared(segment);
        }
        let Some(SegmentWrite { offset, bytes, range, .. }) = writer.next_write(now) else { continue };
        let (bytes, written) = match way {
            Way::Ring(durability) => {
                plane.write_durable(Arc::clone(&file), WriteAt { offset, durability }, bytes, range);
                wait(&mut plane)
            }
            Way::WriteAndSync => {
                open.write_all_at(&bytes[range.clone()], offset)
                    .and_then(|()| open.sync_data())
                    .expect("it is written");
                (bytes, range.len())
            }
        };
        writer.written(bytes, Ok(written)).expect("all of it was");
        writes += 1;
    }
    let (seconds, records) = (begun.elapsed().as_secs_f64(), writer.durable() as f64);
    let cpu_us = (cpu_ns() - cpu_begun) as f64 / 1e3 / records;
    std::fs::remove_file(path).expect("it is ours");
    Figures { records_s: records / seconds, writes_s: f64::from(writes) / seconds, cpu_us }
}

fn wait(plane: &mut Plane) -> (Vec<u8>, usize) {
    loop {
        let short = plane.flush_and_wait(|| true, |_| {}).expect("the ring works");
        assert!(short.is_empty());
        while let Some(event) = plane.next_event() {
            if let SocketEvent::Written { bytes, result } = event {
                return (bytes, result.expect("the disk takes it"));
            }
        }
    }
}

fn writer() -> RecordWriter {
    let log = LogId { generation: 1, shard: ShardId(0) };
    let batch_max_bytes = 1024 * 1024;
    RecordWriter::new(
        LogConfig { node: [1; 16], log, epoch: 1, segment_bytes: SEGMENT_BYTES, batch_max_bytes },
        LogEnd::default(),
    )
}

fn append(writer: &mut RecordWriter, now: Now, group: &mut Vec<u8>) {
    let id = MessageId(writer.appended() + 1);
    group.clear();
    let message = MessageRecord {
        id,
        qos: dunlin::ids::Qos::AtLeastOnce,
        retain: false,
        expires: None,
        publisher: None,
        topic: "bench/topic",
        properties: &[],
        properties_bytes: 0,
        payload: &[7; 100],
        later_bytes: 0,
    };
    LogRecord::Message(message).encode(id.0, group);
    LogRecord::Connected { session: SessionId(1) }.encode(id.0 + 1, group);
    writer.append(now, RecordGroup { records: group, count: 2, inbox: &[], urgency: Urgency::Awaited });
}

/// Of this thread.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("nanoseconds on a processor")
}

/// `O_DIRECT`, which std has no name for.
const fn libc_o_direct() -> i32 {
    if cfg!(target_arch = "aarch64") { 0o20_0000 } else { 0o4_0000 }
}
