//! The thread that reads messages whose bodies have left memory: a few of one session at a time, by their ids.
//!
//! Always holds: an order is answered once, in the order in which they were given, unless the process stops; a message that is given out is whole and the
//! one that was asked for. What the disk fails to give is tried again until it does, since what is said to be lost is never sent: only a
//! body that is damaged or gone is said to be.
//! Leaves to others: finding a message (`store`), and what is asked for when (`shard`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::directory::Directory;
use super::medium::DirectoryMedium;
use crate::ids::SessionId;
use crate::limits::{DISK_PAGES_MAX, STORE_SPACE_RETRY_S};
use crate::runtime::clock;
use crate::session::Message;
use crate::shard::to_message;
use crate::store::MessageFinder;
use crate::store::format::{LogId, MessageId};
use crate::telemetry::log;

/// Messages of one session that are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOrder {
    /// Which log they are in.
    pub log: LogId,
    /// Whose queue they are of.
    pub session: SessionId,
    /// Which they are.
    pub messages: Vec<MessageId>,
}

/// A session, and messages of its queue; `None` for what is lost.
pub type QueuedBodies = (SessionId, Vec<(MessageId, Option<Message>)>);

/// The thread, which ends with this.
#[derive(Debug)]
pub struct BodyReader {
    orders: Option<Sender<ReadOrder>>,
    stops: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl BodyReader {
    /// Starts the thread for this many logs of a directory of `node`. Answers are handed to `tell`, on the reader's thread.
    pub fn start(
        directory: Arc<Directory>,
        node: [u8; 16],
        logs: usize,
        tell: impl Fn(LogId, QueuedBodies) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (orders, taken) = bounded(logs * DISK_PAGES_MAX);
        let stops = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stops);
        let work = move || run(&directory, node, &taken, (&stopped, &tell));
        let thread = std::thread::Builder::new().name("reader".into()).spawn(work)?;
        Ok(Self { orders: Some(orders), stops, thread: Some(thread) })
    }

    /// Has messages read.
    ///
    /// # Panics
    /// When a log asks for more at a time than a shard may.
    pub fn read(&self, order: ReadOrder) {
        if let Some(orders) = &self.orders {
            orders.try_send(order).expect("a shard has so many pages on their way at most");
        }
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Release);
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Files are open for so long: one that was deleted meanwhile takes room on the disk until it is closed.
const FILES_OPEN_MAX: Duration = Duration::from_secs(1);

fn run(
    directory: &Directory,
    node: [u8; 16],
    orders: &Receiver<ReadOrder>,
    (stops, tell): (&AtomicBool, &dyn Fn(LogId, QueuedBodies)),
) {
    let mut medium = DirectoryMedium::new(directory);
    let mut finders = HashMap::<LogId, MessageFinder>::new();
    let mut opened = Instant::now();
    loop {
        let next = match orders.recv_timeout(FILES_OPEN_MAX) {
            Err(RecvTimeoutError::Timeout) => {
                medium = DirectoryMedium::new(directory);
                orders.recv().map_err(RecvTimeoutError::from)
            }
            next => next,
        };
        let Ok(ReadOrder { log, session, messages }) = next else { return };
        if opened.elapsed() >= FILES_OPEN_MAX {
            (medium, opened) = (DirectoryMedium::new(directory), Instant::now());
        }
        let finder = finders.entry(log).or_insert_with(|| MessageFinder::new(node, log));
        let mut bodies = Vec::with_capacity(messages.len());
        for id in messages {
            let Ok(found) = find(finder, &mut medium, (log, id), stops) else { return };
            bodies.push((id, found));
        }
        tell(log, (session, bodies));
    }
}

/// The process stops.
struct Stopped;

/// `None` where the message is lost.
fn find(
    finder: &mut MessageFinder,
    medium: &mut DirectoryMedium<'_>,
    (log, id): (LogId, MessageId),
    stops: &AtomicBool,
) -> Result<Option<Message>, Stopped> {
    let mut is_told = false;
    while !stops.load(Ordering::Acquire) {
        match finder.find(medium, id) {
            Ok(Some(stored)) => return Ok(Some(to_message(&stored, clock::now()))),
            Ok(None) => {
                log::event::store_damaged(&format_args!("{log}: the bytes of message {} are lost", id.0));
                return Ok(None);
            }
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    log::event::store_warning(&format_args!(
                        "{log}: a queued message cannot be read, trying again: {error}"
                    ));
                }
                std::thread::sleep(Duration::from_secs(STORE_SPACE_RETRY_S.into()));
            }
        }
    }
    Err(Stopped)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::ids::{Qos, ShardId};
    use crate::limits::{STORE_BATCH_MAX_BYTES, STORE_SEGMENT_MIN_BYTES};
    use crate::runtime::disk::Access;
    use crate::store::format::{LogRecord, MessageRecord, StoreFile};
    use crate::store::{LogConfig, LogEnd, RecordGroup, RecordWriter, Urgency};
    use crate::time::Now;

    const LOG: LogId = LogId { generation: 1, shard: ShardId(0) };
    const NODE: [u8; 16] = [3; 16];
    const NOW: Now = Now { mono_ns: 0, unix_ms: 0 };

    /// A log of one message, in its first segment.
    fn write_log(directory: &Directory) {
        directory.make_log(LOG).unwrap();
        let (segment_bytes, batch_max_bytes) = (STORE_SEGMENT_MIN_BYTES, STORE_BATCH_MAX_BYTES);
        let config = LogConfig { node: NODE, log: LOG, epoch: 1, segment_bytes, batch_max_bytes };
        let mut writer = RecordWriter::new(config, LogEnd::default());
        let segment = writer.next_to_prepare().unwrap();
        writer.segment_prepared(segment);
        let mut records = Vec::new();
        let message = MessageRecord {
            id: MessageId(1),
            qos: Qos::AtLeastOnce,
            retain: false,
            expires: None,
            publisher: None,
            topic: "t",
            properties: b"",
            properties_bytes: 0,
            payload: b"body",
            later_bytes: 0,
        };
        LogRecord::Message(message).encode(1, &mut records);
        writer.append(NOW, RecordGroup { records: &records, count: 1, inbox: &[], urgency: Urgency::Awaited });
        let write = writer.next_write(NOW).unwrap();
        let mut file = vec![0; STORE_SEGMENT_MIN_BYTES as usize];
        file[write.offset as usize..][..write.range.len()].copy_from_slice(&write.bytes[write.range]);
        fs::write(directory.path_of(StoreFile::Segment(LOG, segment)), file).unwrap();
    }

    #[test]
    fn a_file_that_is_deleted_is_not_kept_open() {
        let path = std::env::temp_dir().join(format!("dunlin-body-reader-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let directory = Arc::new(Directory::open(&path, Access::Write).unwrap());
        write_log(&directory);
        let (tell, told) = bounded(1);
        let reader = BodyReader::start(Arc::clone(&directory), NODE, 1, move |log, bodies| {
            tell.send((log, bodies)).unwrap();
        });
        let reader = reader.unwrap();
        let session = SessionId(7);
        reader.read(ReadOrder { log: LOG, session, messages: vec![MessageId(1), MessageId(2)] });
        let (log, (of, bodies)) = told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!((log, of, bodies.len()), (LOG, session, 2));
        assert_eq!(bodies[0].1.as_ref().map(|message| message.borrow().payload.to_vec()), Some(b"body".to_vec()));
        assert!(bodies[1].1.is_none(), "there is no other message");
        fs::remove_dir_all(&path).unwrap();
        let is_open = || {
            let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
            let mut targets = links.filter_map(|link| fs::read_link(link.path()).ok());
            targets.any(|target| target.starts_with(&path) && target.to_string_lossy().contains("segment"))
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while is_open() {
            assert!(Instant::now() < deadline, "it is still open");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
