//! The lanes between a node's thread and the rest of its process.
//!
//! Owns: what is said by them, and how much may wait there.
//! Always holds: who talks to the thread never waits for it: what finds no room comes back, to be said again in the next turn. The thread does wait for whoever
//! takes its news, and does nothing else meanwhile: a node that does not do as it is told must not look alive. Each lane keeps its order.
//! Leaves to others: who says what (`runtime`), what follows (`driver`).

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::engine_fault::EngineFault;
use crate::cluster::{ClusterDocument, MapChange, NodeNews, PeerWord, RangeId, RangeSet};
use crate::ids::ShardId;
use crate::limits::{CLUSTER_APPENDS_MAX, CLUSTER_NEWS_MAX, CLUSTER_WORDS_MAX};

/// What the thread is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterWord {
    /// What links say of the process that has a slot.
    Peer(ShardId, PeerWord),
    /// The shards have closed all clients of the ranges of a [`NodeNews::CloseRanges`].
    Closed(RangeSet),
    /// The shards have forgotten the process that had the slot of a [`NodeNews::ForgetSlot`].
    Forgotten(ShardId),
    /// Has the map changed. It shows in a view, or does not where too many changes wait: then it is said again.
    Request(MapChange),
}

/// Records for the log of a range that this node serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterAppend {
    /// Which.
    pub range: RangeId,
    /// Chosen by whoever appends, for the answer.
    pub tag: u64,
    /// How many records.
    pub count: u32,
    /// At most [`RangeBatchHeader::RECORDS_MAX_BYTES`](crate::cluster::RangeBatchHeader::RECORDS_MAX_BYTES).
    pub records: Vec<u8>,
}

/// What the thread tells, in the order in which it is to be done. The lane ends with the thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterNews {
    /// The engine cannot be used yet, and is tried again: told of each fault that is another than the one before.
    Waits(EngineFault),
    /// What was decided when the cluster was founded, and how many replicas its streams have: once, before any view.
    Founded {
        /// It does not change any more.
        document: ClusterDocument,
        /// Three, or one where the engine is a single server.
        replicas: usize,
    },
    /// What the node tells.
    Node(NodeNews),
    /// What became of a [`ClusterAppend`], before anything of it is durable.
    Appended {
        /// Whose log.
        range: RangeId,
        /// As it was said.
        tag: u64,
        /// Its number in the run, which a [`NodeNews::Durable`] will name. `None` where the range is not served or has too much on its way: it was not appended.
        n: Option<u64>,
    },
    /// The engine stores no documents any more, why, and that it does again: in turns.
    Silent(String),
    /// See [`Self::Silent`].
    Answers,
    /// The engine is one that somebody has to mend. Nothing follows.
    Failed(EngineFault),
}

/// How the thread is talked to, from any thread. It ends when all of these are gone, or its news have no taker.
#[derive(Clone, Debug)]
pub struct ClusterDoor {
    words: Sender<ClusterWord>,
    appends: Sender<ClusterAppend>,
}

/// The thread's ends of the lanes.
#[derive(Debug)]
pub(super) struct DriverLanes {
    pub(super) words: Receiver<ClusterWord>,
    pub(super) appends: Receiver<ClusterAppend>,
    pub(super) news: Sender<ClusterNews>,
}

/// All lanes of a thread.
pub(super) fn lanes() -> (ClusterDoor, Receiver<ClusterNews>, DriverLanes) {
    let (said, words) = channel(CLUSTER_WORDS_MAX);
    let (appended, appends) = channel(CLUSTER_APPENDS_MAX);
    let (news, taken) = channel(CLUSTER_NEWS_MAX);
    (ClusterDoor { words: said, appends: appended }, taken, DriverLanes { words, appends, news })
}

impl ClusterDoor {
    /// Tells the thread. A word that finds no room comes back. One to a thread that has ended is gone: its lane of news has ended as well.
    pub fn say(&self, word: ClusterWord) -> Result<(), ClusterWord> {
        offer(&self.words, word)
    }

    /// Has records appended; as [`Self::say`]. The answer is a [`ClusterNews::Appended`].
    pub fn append(&self, append: ClusterAppend) -> Result<(), ClusterAppend> {
        offer(&self.appends, append)
    }
}

fn offer<T>(lane: &Sender<T>, word: T) -> Result<(), T> {
    match lane.try_send(word) {
        Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
        Err(TrySendError::Full(word)) => Err(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_finds_no_room_comes_back() {
        let (door, _news, mut lanes) = lanes();
        let word = |slot: usize| ClusterWord::Forgotten(ShardId((slot % 64) as u8));
        for slot in 0..CLUSTER_WORDS_MAX {
            assert_eq!(door.say(word(slot)), Ok(()));
        }
        assert_eq!(door.say(word(5)), Err(word(5)));
        assert_eq!(lanes.words.try_recv(), Ok(word(0)));
        assert_eq!((door.say(word(5)), door.say(word(6))), (Ok(()), Err(word(6))));
        let append = |tag| ClusterAppend { range: RangeId(0), tag, count: 1, records: vec![1] };
        for tag in 0..CLUSTER_APPENDS_MAX as u64 {
            assert_eq!(door.append(append(tag)), Ok(()));
        }
        assert_eq!(door.append(append(99)), Err(append(99)));
        drop(lanes);
        assert_eq!((door.say(word(6)), door.append(append(99))), (Ok(()), Ok(())), "there is nobody any more");
    }
}
