//! A small log on the disk that is there, for tests: what it has in which segment is theirs to say, and which checkpoints it has.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::bounded;

use super::checkpoint_file::CheckpointFile;
use super::directory::{Access, Directory};
use super::medium::DirectoryMedium;
use super::pace::CheckpointPace;
use super::prepare::replace_file;
use crate::ids::{Qos, ShardId, WriteStamp};
use crate::store::format::{LogId, LogRecord, MessageId, MessageRecord, NewestSegment, SegmentNumber, StoreFile};
use crate::store::{
    LogConfig, LogEnd, Medium, RecordGroup, RecordWriter, RecoveredLog, SegmentWrite, Urgency, recover_log,
};
use crate::time::Now;

/// Of the directory.
pub(super) const NODE: [u8; 16] = *b"a node of a test";
/// The one that there is.
pub(super) const LOG: LogId = LogId { generation: 1, shard: ShardId(0) };
/// Of a segment's file.
pub(super) const SEGMENT_BYTES: u64 = 64 * 1024;
/// Most that one write takes.
pub(super) const BATCH_BYTES: usize = 16 * 1024;

/// See the module's text. Its folder goes with it.
pub(super) struct SampleLog {
    pub(super) directory: Arc<Directory>,
    path: PathBuf,
}

impl SampleLog {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dunlin-sample-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let directory = Arc::new(Directory::open(&path, Access::Write).unwrap());
        directory.make_log(LOG).unwrap();
        Self { directory, path }
    }

    pub(super) fn path_of(&self, file: StoreFile) -> PathBuf {
        self.directory.path_of(file)
    }

    pub(super) fn checkpoint(&self, number: u32) -> PathBuf {
        self.path_of(StoreFile::Checkpoint(LOG, number))
    }

    /// A start writes to the next segment: a message that is retained under `topic`, in so many bytes; with 0 that there is none any more.
    pub(super) fn write_segment(&self, topic: &str, bytes: usize) -> SegmentNumber {
        let end = self.recover().scan.end;
        let mut writer = RecordWriter::new(config(end), end);
        let now = Now { mono_ns: 0, unix_ms: 0 };
        let (records, count) = retained(end.position + 1, topic, bytes);
        writer.append(now, RecordGroup { records: &records, count, inbox: &[], urgency: Urgency::Awaited });
        let number = end.segment.next();
        writer.segment_prepared(number);
        let path = self.path_of(StoreFile::Segment(LOG, number));
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
        file.set_len(SEGMENT_BYTES).unwrap();
        while let Some(SegmentWrite { offset, bytes, range, .. }) = writer.next_write(now) {
            file.write_all_at(&bytes[range.clone()], offset).unwrap();
            writer.written(bytes, Ok(range.len())).unwrap();
        }
        assert_eq!(writer.durable(), writer.appended());
        replace_file(&self.path_of(StoreFile::Newest(LOG)), &NewestSegment(number).seal()).unwrap();
        number
    }

    pub(super) fn recover(&self) -> RecoveredLog {
        recover_log(&mut DirectoryMedium::new(&self.directory), NODE, LOG).unwrap()
    }

    /// Writes a checkpoint of all that there is.
    pub(super) fn make_checkpoint(&self, number: u32) {
        let (_open, stopped) = bounded(0);
        let recovered = self.recover();
        let newest_whole = recovered.checkpoint;
        let (directory, pace) = (&*self.directory, CheckpointPace::unbounded());
        let file = CheckpointFile { directory, log: LOG, number, newest_whole, pace, stopped: &stopped };
        assert!(file.write(&recovered.state, recovered.scan.end.position).unwrap());
    }

    /// A checkpoint that counts for nothing from now on.
    pub(super) fn damage_checkpoint(&self, number: u32) {
        let mut bytes = fs::read(self.checkpoint(number)).unwrap();
        bytes[20] ^= 1;
        fs::write(self.checkpoint(number), bytes).unwrap();
    }

    /// A file of this name finds no room for a byte, unless it was there under another one.
    pub(super) fn fill_disk_for(&self, number: u32) {
        symlink("/dev/full", self.checkpoint(number).with_extension("new")).unwrap();
    }

    /// Checkpoints and segments that are there, in order.
    pub(super) fn files(&self) -> Vec<String> {
        let files = DirectoryMedium::new(&self.directory).files(LOG).unwrap();
        let mut files: Vec<String> = files.iter().map(ToString::to_string).collect();
        files.retain(|file| !file.ends_with("newest"));
        files.sort();
        files.iter().map(|file| file.rsplit('/').next().unwrap().to_owned()).collect()
    }
}

impl Drop for SampleLog {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn config(end: LogEnd) -> LogConfig {
    // Each segment is another start's.
    LogConfig {
        node: NODE,
        log: LOG,
        epoch: end.segment.0 + 1,
        segment_bytes: SEGMENT_BYTES,
        batch_max_bytes: BATCH_BYTES,
    }
}

/// A message in parts, and that it is retained, or that none is: bytes and number of the records.
fn retained(first: u64, topic: &str, bytes: usize) -> (Vec<u8>, u32) {
    let id = MessageId(first);
    let parts: Vec<usize> = (0..bytes.div_ceil(PART_BYTES)).map(|at| PART_BYTES.min(bytes - at * PART_BYTES)).collect();
    let message = MessageRecord {
        id,
        qos: Qos::AtLeastOnce,
        retain: true,
        expires: None,
        publisher: None,
        topic,
        properties: &[],
        properties_bytes: 0,
        payload: &[],
        later_bytes: bytes as u32,
    };
    let stamp = WriteStamp { time_ns: first, shard: 0 };
    let mut records = Vec::new();
    if bytes == 0 {
        LogRecord::Retained { topic, stamp, message: None }.encode(first, &mut records);
        return (records, 1);
    }
    LogRecord::Message(message).encode(first, &mut records);
    let mut position = first;
    for part in parts {
        position += 1;
        LogRecord::MessagePart { message: id, bytes: &vec![7; part] }.encode(position, &mut records);
    }
    LogRecord::Retained { topic, stamp, message: Some(id) }.encode(position + 1, &mut records);
    (records, (position + 2 - first) as u32)
}

const PART_BYTES: usize = 8 * 1024;
