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
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

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

fn run(
    directory: &Directory,
    node: [u8; 16],
    orders: &Receiver<ReadOrder>,
    (stops, tell): (&AtomicBool, &dyn Fn(LogId, QueuedBodies)),
) {
    let mut medium = DirectoryMedium::new(directory);
    let mut finders = HashMap::<LogId, MessageFinder>::new();
    for ReadOrder { log, session, messages } in orders {
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
