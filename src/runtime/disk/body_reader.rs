//! The thread that reads messages whose bodies have left memory: a few of one session at a time, by their ids.
//!
//! Always holds: an order is answered once, unless the process stops; a message that is given out is whole and the
//! one that was asked for. What the disk does not give back is looked for again some times, and is lost then; where it is for another reason that nothing
//! can be read, until that has gone. Meanwhile others have their turn.
//! Leaves to others: finding a message (`store`), and what is asked for when (`shard`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::directory::Directory;
use super::medium::DirectoryMedium;
use crate::ids::SessionId;
use crate::limits::{DISK_PAGES_MAX, STORE_READ_ATTEMPTS, STORE_SPACE_RETRY_S};
use crate::runtime::clock;
use crate::session::Message;
use crate::shard::to_message;
use crate::store::format::{LogId, MessageId};
use crate::store::{Medium, MediumError, MessageFinder};
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
        let work = move || {
            let open = || DirectoryMedium::new(&directory);
            let mut work = ReadWork { open, node, finders: HashMap::new(), again: VecDeque::new() };
            work.run(&taken, (&stopped, &tell));
        };
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
/// After so long what could not be read is tried again.
const RETRY: Duration = Duration::from_secs(STORE_SPACE_RETRY_S as u64);

/// What is known of logs and of what was asked for, and could not be read yet. Files are those of `open`.
struct ReadWork<F> {
    open: F,
    node: [u8; 16],
    finders: HashMap<LogId, MessageFinder>,
    /// In the order in which they are tried again.
    again: VecDeque<StartedOrder>,
}

/// An order that has been tried.
struct StartedOrder {
    log: LogId,
    session: SessionId,
    messages: Vec<(MessageId, SoughtBody)>,
    /// How often it was.
    attempts: u32,
    at: Instant,
}

/// What is known of a message.
enum SoughtBody {
    Sought,
    Found(Box<Message>),
    Lost,
}

impl<M: Medium, F: Fn() -> M> ReadWork<F> {
    fn run(&mut self, orders: &Receiver<ReadOrder>, (stops, tell): (&AtomicBool, &dyn Fn(LogId, QueuedBodies))) {
        let mut medium = (self.open)();
        let mut opened = Instant::now();
        loop {
            let is_due = self.again.front().is_some_and(|next| next.at <= Instant::now());
            let order = match is_due.then(|| self.again.pop_front()).flatten() {
                Some(order) => order,
                None => match self.next_order(orders, &mut medium) {
                    Ok(ReadOrder { log, session, messages }) => {
                        let messages = messages.into_iter().map(|id| (id, SoughtBody::Sought)).collect();
                        StartedOrder { log, session, messages, attempts: 0, at: Instant::now() }
                    }
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return,
                },
            };
            if stops.load(Ordering::Acquire) {
                return;
            }
            if opened.elapsed() >= FILES_OPEN_MAX {
                (medium, opened) = ((self.open)(), Instant::now());
            }
            if let Some((log, bodies)) = self.attempt(&mut medium, order) {
                tell(log, bodies);
            }
        }
    }

    /// The next order, if one comes before something is to be tried again. Who waits for long has no files open.
    fn next_order(&self, orders: &Receiver<ReadOrder>, medium: &mut M) -> Result<ReadOrder, RecvTimeoutError> {
        if let Some(next) = self.again.front() {
            return orders.recv_deadline(next.at);
        }
        match orders.recv_timeout(FILES_OPEN_MAX) {
            Err(RecvTimeoutError::Timeout) => {
                *medium = (self.open)();
                orders.recv().map_err(RecvTimeoutError::from)
            }
            next => next,
        }
    }

    /// Looks for what an order has not got yet. `None`: it is to be tried again.
    fn attempt(&mut self, medium: &mut M, mut order: StartedOrder) -> Option<(LogId, QueuedBodies)> {
        let log = order.log;
        let finder = self.finders.entry(log).or_insert_with(|| MessageFinder::new(self.node, log));
        order.attempts += 1;
        let mut failed = None;
        let sought = order.messages.iter_mut().filter(|(_, body)| matches!(body, SoughtBody::Sought));
        for (id, body) in sought {
            *body = match finder.find(medium, *id) {
                Ok(Some(stored)) => SoughtBody::Found(Box::new(to_message(&stored, clock::now()))),
                Ok(None) => lost(log, *id, None),
                Err(error @ MediumError::Unreadable { .. }) if order.attempts >= STORE_READ_ATTEMPTS => {
                    lost(log, *id, Some(error))
                }
                Err(error) => {
                    failed = Some(error);
                    SoughtBody::Sought
                }
            };
        }
        if let Some(error) = failed {
            if order.attempts == 1 {
                let text = format_args!("{log}: a queued message cannot be read, trying again: {error}");
                log::event::store_warning(&text);
            }
            order.at = Instant::now() + RETRY;
            self.again.push_back(order);
            return None;
        }
        let found = |(id, body)| match body {
            SoughtBody::Found(message) => (id, Some(*message)),
            SoughtBody::Sought | SoughtBody::Lost => (id, None),
        };
        Some((log, (order.session, order.messages.into_iter().map(found).collect())))
    }
}

/// Says so.
fn lost(log: LogId, id: MessageId, error: Option<MediumError>) -> SoughtBody {
    let why = error.map(|error| format!(": {error}")).unwrap_or_default();
    log::event::store_damaged(&format_args!("{log}: the bytes of message {} are lost{why}", id.0));
    SoughtBody::Lost
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::AtomicU32;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::ids::{Qos, ShardId};
    use crate::limits::{STORE_BATCH_MAX_BYTES, STORE_BLOCK_BYTES, STORE_SEGMENT_MIN_BYTES};
    use crate::runtime::disk::Access;
    use crate::store::format::{LogRecord, MessageRecord, StoreFile};
    use crate::store::{LogConfig, LogEnd, RecordGroup, RecordWriter, Urgency};
    use crate::time::Now;

    const LOG: LogId = LogId { generation: 1, shard: ShardId(0) };
    const NODE: [u8; 16] = [3; 16];
    const NOW: Now = Now { mono_ns: 0, unix_ms: 0 };

    /// A log of two messages, in two blocks of its first segment. Gives their ids.
    fn write_log(directory: &Directory) -> [MessageId; 2] {
        directory.make_log(LOG).unwrap();
        let (segment_bytes, batch_max_bytes) = (STORE_SEGMENT_MIN_BYTES, STORE_BATCH_MAX_BYTES);
        let config = LogConfig { node: NODE, log: LOG, epoch: 1, segment_bytes, batch_max_bytes };
        let mut writer = RecordWriter::new(config, LogEnd::default());
        let segment = writer.next_to_prepare().unwrap();
        writer.segment_prepared(segment);
        let mut file = vec![0; STORE_SEGMENT_MIN_BYTES as usize];
        let ids = [1, 2].map(MessageId);
        for id in ids {
            let mut records = Vec::new();
            let message = MessageRecord {
                id,
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
            LogRecord::Message(message).encode(id.0, &mut records);
            writer.append(NOW, RecordGroup { records: &records, count: 1, inbox: &[], urgency: Urgency::Awaited });
            let write = writer.next_write(NOW).unwrap();
            let len = write.range.len();
            file[write.offset as usize..][..len].copy_from_slice(&write.bytes[write.range]);
            writer.written(Vec::new(), Ok(len)).unwrap();
        }
        fs::write(directory.path_of(StoreFile::Segment(LOG, segment)), file).unwrap();
        ids
    }

    /// A disk that refuses to read one block so many times more.
    struct Refusing<'a> {
        disk: DirectoryMedium<'a>,
        block: u64,
        left: &'a AtomicU32,
    }

    impl Medium for Refusing<'_> {
        fn files(&mut self, log: LogId) -> Result<Vec<StoreFile>, MediumError> {
            self.disk.files(log)
        }

        fn len(&mut self, file: StoreFile) -> Result<u64, MediumError> {
            self.disk.len(file)
        }

        fn read(&mut self, file: StoreFile, offset: u64, into: &mut [u8]) -> Result<usize, MediumError> {
            let (from, end) = (self.block * STORE_BLOCK_BYTES as u64, (self.block + 1) * STORE_BLOCK_BYTES as u64);
            let is_hit = offset < end && offset + into.len() as u64 > from;
            let take_one = |left: u32| left.checked_sub(1);
            if is_hit && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one).is_ok() {
                return Err(MediumError::Unreadable { file, offset });
            }
            self.disk.read(file, offset, into)
        }
    }

    /// What two sessions get, in the order in which it comes, of which the first wants what is in a block that cannot be read so many times.
    fn read_past(name: &str, refusals: u32) -> Vec<(SessionId, bool)> {
        let path = std::env::temp_dir().join(format!("dunlin-body-reader-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let directory = Directory::open(&path, Access::Write).unwrap();
        let ids = write_log(&directory);
        let (left, stops) = (AtomicU32::new(refusals), AtomicBool::new(false));
        let ((orders, taken), (tell, told)) = (bounded(4), bounded(4));
        for (session, id) in [3, 4].map(SessionId).into_iter().zip(ids) {
            orders.send(ReadOrder { log: LOG, session, messages: vec![id] }).unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        let got = std::thread::scope(|scope| {
            scope.spawn(|| {
                let open = || Refusing { disk: DirectoryMedium::new(&directory), block: 1, left: &left };
                let mut work = ReadWork { open, node: NODE, finders: HashMap::new(), again: VecDeque::new() };
                work.run(&taken, (&stops, &|log, bodies| tell.send((log, bodies)).unwrap()));
            });
            let got: Vec<_> = (0..2).map(|_| told.recv_deadline(deadline).unwrap().1).collect();
            drop(orders);
            got
        });
        fs::remove_dir_all(&path).unwrap();
        let is_there = |message: &Message| message.borrow().payload == b"body";
        got.into_iter().map(|(session, bodies)| (session, bodies[0].1.as_ref().is_some_and(is_there))).collect()
    }

    #[test]
    fn a_block_that_cannot_be_read_costs_what_is_in_it_and_nobody_else_waits() {
        let [first, second] = [3, 4].map(SessionId);
        assert_eq!(read_past("lost", u32::MAX), [(second, true), (first, false)]);
    }

    #[test]
    fn what_can_be_read_again_a_little_later_is_not_lost() {
        let got = read_past("late", 3);
        assert!(got.iter().all(|(_, is_there)| *is_there), "{got:?}");
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
        reader.read(ReadOrder { log: LOG, session, messages: vec![MessageId(1), MessageId(9)] });
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
