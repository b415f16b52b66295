//! What was read back from a log, and the steps in which a shard is given it.
//!
//! Always holds: a message whose bytes are lost is not among those in memory, and neither is one that only queues want which is too long.
//! Leaves to others: reading the log (`store`, `runtime`), and what a shard makes of it (`restore`).

use std::sync::Arc;

use super::wanted_bodies::WantedBodies;
use crate::codec::Forwarded;
use crate::ids::{MessageId, WriteStamp};
use crate::session::{Message, MessageRef};
use crate::settings::ListenerSettings;
use crate::store::state::LogState;
use crate::store::{Medium, MediumError, RecoveredLog, StoredMessage, read_message};
use crate::time::{Deadline, Now};

/// One shard's log, read back.
#[derive(Debug)]
pub struct RestoredLog {
    /// What it comes to.
    pub state: LogState,
    /// The messages that are wanted in memory, by ascending id. Those whose bytes are lost are not among them, nor those that only queues
    /// want which is too long.
    pub messages: Vec<(MessageId, Message)>,
    /// Those whose bytes are known to be lost, by ascending id.
    pub lost: Vec<MessageId>,
}

/// A retained message of any log, or the memory of a deletion.
#[derive(Clone, Debug)]
pub struct RestoredRetained {
    /// Under which it is retained.
    pub topic: Box<str>,
    /// Of its latest write.
    pub stamp: WriteStamp,
    /// `None`: deleted.
    pub message: Option<Message>,
    /// It is in the log of the shard that it was published at, and on its way to the one whose log is to have it.
    pub is_on_its_way: bool,
}

/// Reads the messages that are wanted in memory, whose queues may take so many bytes of it, by ascending id; and the ids of those whose bytes are
/// lost.
#[allow(clippy::type_complexity, reason = "two lists that are told apart by what is in them")]
pub fn read_messages<M: Medium>(
    medium: &mut M,
    recovered: &RecoveredLog,
    queued_bytes: u64,
    now: Now,
) -> Result<(Vec<(MessageId, Message)>, Vec<MessageId>), MediumError> {
    let RecoveredLog { log, state, .. } = recovered;
    let WantedBodies { in_memory, mut lost } = WantedBodies::of(state, queued_bytes);
    let mut messages = Vec::with_capacity(in_memory.len());
    for id in in_memory {
        match read_message(medium, *log, state, id)? {
            Some(stored) => messages.push((id, to_message(&stored, now))),
            None => lost.push(id),
        }
    }
    lost.sort_unstable();
    Ok((messages, lost))
}

/// The message as sessions keep it.
pub fn to_message(stored: &StoredMessage, now: Now) -> Message {
    Message::new(&MessageRef {
        topic: &stored.topic,
        qos: stored.qos,
        retain: stored.retain,
        // What ended before the machine was started is over, and not for whoever can take it at once.
        expires: stored.expires.map(|at| now.deadline_of(at).max(Deadline(1))),
        publisher: stored.publisher,
        properties: Forwarded::from_clean_block(stored.properties()),
        payload: stored.payload(),
    })
}

impl RestoredLog {
    pub(super) fn message(&self, id: MessageId) -> Option<&Message> {
        let at = self.messages.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(&self.messages[at].1)
    }

    /// How long a message is that is on the disk, near enough; `None` where it is lost.
    pub(super) fn len_on_disk(&self, id: MessageId) -> Option<u64> {
        if self.lost.binary_search(&id).is_ok() {
            return None;
        }
        let first = self.state.messages.place(id)?;
        Some(self.state.messages.parts(id).iter().chain([&first]).map(|place| u64::from(place.len)).sum())
    }

    /// The retained messages of this log, for all shards, and those that it has on their way to others.
    pub fn retained(&self) -> impl Iterator<Item = RestoredRetained> {
        let stored = self.state.retained.iter().filter_map(|(topic, stored)| {
            let message = match stored.message {
                // One whose bytes are lost is as good as never written: an older one must not come back either.
                Some(id) => Some(self.message(id)?.clone()),
                None => None,
            };
            Some(RestoredRetained { topic: topic.clone(), stamp: stored.stamp, message, is_on_its_way: false })
        });
        let mailbox = &self.state.mailbox;
        let forwards = mailbox.numbered().flat_map(|(to, _)| mailbox.forwards(to)).filter_map(|forward| {
            let (stamp, message) = (forward.retained?, self.message(forward.message)?);
            let (topic, deletes) = (message.borrow().topic.into(), message.borrow().payload.is_empty());
            let message = (!deletes).then(|| message.clone());
            Some(RestoredRetained { topic, stamp, message, is_on_its_way: true })
        });
        stored.chain(forwards)
    }
}

/// What was read back comes to a shard step by step, in this order, before anybody is served. Between the steps come [`Input::Mesh`](super::Input::Mesh)
/// and [`Input::Room`](super::Input::Room), and nothing else. A step may take as long as it takes: there is nobody who waits for another.
#[derive(Clone, Copy, Debug)]
pub enum RestoreStep<'a> {
    /// Once, to a shard that has no session.
    Sessions(&'a RestoredSessions<'a>),
    /// As often as it takes until the other shards know what this one's sessions are subscribed to: `Shard::is_restored` says so.
    Announce,
    /// What was on its way to sessions and to other shards. Once, when that is so of every shard; each hears of what follows from it when all have
    /// theirs.
    Deliveries(&'a RestoredLog),
}

/// What a shard begins with.
#[derive(Clone, Copy, Debug)]
pub struct RestoredSessions<'a> {
    /// Its own log.
    pub log: &'a RestoredLog,
    /// Of the logs of all shards.
    pub retained: &'a [RestoredRetained],
    /// Which sessions came by.
    pub listeners: &'a [Arc<ListenerSettings>],
    /// Deliveries, wills and retained messages that were kept and could not be read back.
    pub lost: u32,
}
