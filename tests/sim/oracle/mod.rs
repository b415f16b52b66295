//! The model broker: what the specification allows a broker to do with the same inputs.
//!
//! It is told what a shard is about to handle (`handle_*`, `begin_*`), what leaves for a client (`sent_*`) and what the
//! client has read (`received`), and answers with what is wrong. It knows neither queues nor shards; it knows which
//! messages exist, who subscribed to what and when the SUBACK left, and what therefore must, may and must not come.
//!
//! What must come is an [`Owed`]: made when a message is published, for every session whose matching subscription has
//! been acknowledged. It is taken back when the session ends, or when the session changes its mind about the filter.

mod finish;
mod messages;
mod restart;
mod retained;
mod sent;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};

use dunlin::time::Now;
use dunlin::topic::{TopicFilter, TopicName};

pub(crate) use messages::{Key, Message, Tag, WILL, is_will, payload, will_payload};
pub(crate) use restart::{Survived, SurvivedDelivery, SurvivedForward, SurvivedSession};
pub(crate) use sessions::{ConnectAs, Session};

/// What a check found, in words.
pub(crate) type Check = Result<(), String>;

/// A message that must reach a session.
#[derive(Debug)]
pub(crate) struct Owed {
    /// The least QoS with which it can come.
    pub(crate) qos: u8,
    /// The session was kept when the message was published, so the acknowledgement waits for the store.
    pub(crate) kept: bool,
    /// The publisher was told so, or what it said is durable anyway: a crash must not lose it.
    pub(crate) told: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) step: u64,
    pub(crate) now_ms: u64,
    /// By client.
    pub(crate) sessions: BTreeMap<usize, Session>,
    pub(crate) messages: BTreeMap<Key, Message>,
    pub(crate) owed: BTreeMap<(usize, Key), Owed>,
    /// What one member of a shared subscription must get.
    pub(crate) owed_to_group: BTreeSet<(String, Key)>,
    /// How often a group got a message.
    pub(crate) group_firsts: BTreeMap<(String, Key), u32>,
    /// How often more, because of a crash in the middle of it.
    group_again: BTreeMap<(String, Key), u32>,
    /// Only what comes back after a crash says whether something was stored.
    pub(crate) sees_no_store: bool,
    /// A message is written down for some of its subscribers at a time: a crash in between has it come twice to some.
    has_small_turns: bool,
    /// The step in which the session of a member last ended: what it had not acknowledged goes to others of the group.
    pub(crate) member_ended: BTreeMap<String, u64>,
    /// The step in which a group last had no member: it ended, and what it had been given before belongs to no group any more.
    pub(crate) group_ended: BTreeMap<String, u64>,
    /// The last write to each retained topic.
    pub(crate) retained: BTreeMap<String, Option<Key>>,
    /// Which writes a crash may bring back.
    writes: retained::Writes,
    /// Sessions that have ended since the last start, by serial: their ends may not be durable.
    ended: BTreeMap<u64, Session>,
    serials: u64,
    /// Connections whose CONNECT is to be refused: their client id was taken over too often.
    pub(crate) refused: BTreeSet<usize>,
    /// Clients whose sessions have ended since somebody last looked.
    pub(crate) lately_ended: BTreeSet<usize>,
    subscribes: u64,
    wills: u32,
    inflight_max: u16,
    /// Queues are so short that messages may be dropped.
    may_drop: bool,
    /// Deliveries that the model has seen, by kind: that a run did something.
    pub(crate) stats: Stats,
    /// What stores were given: the clients for which a message was written down as owed.
    pub(crate) written: BTreeSet<(usize, Key)>,
}

/// That a run did something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) again: u64,
    pub(crate) replayed: u64,
    pub(crate) shared: u64,
    pub(crate) wills: u64,
    pub(crate) resumed: u64,
    pub(crate) taken_over: u64,
    pub(crate) refused: u64,
    /// Steps, of those that were looked at, in which the subscriptions of an ended session were still being taken out.
    pub(crate) taking_down: u64,
    pub(crate) held: u64,
    /// Sockets that went to another shard, and that could not.
    pub(crate) handed_over: u64,
    pub(crate) handovers_failed: u64,
    /// Connections that were closed by FIN, and by RST because their peers did not close.
    pub(crate) lingered: u64,
    pub(crate) aborted: u64,
    /// Buffers that were over a budget, and receives that were stopped because too many were.
    pub(crate) deferred: u64,
    pub(crate) stopped: u64,
    /// Clients that somebody else let in; questions that were never answered, or too late.
    pub(crate) verdicts: u64,
    pub(crate) verdicts_forgotten: u64,
    pub(crate) verdicts_late: u64,
    /// What an operator has asked for.
    pub(crate) commands: u64,
    /// Packets whose clients a restart would have to know of.
    pub(crate) durable: u64,
    /// Crashes; those that were followed by another number of shards; what survived them.
    pub(crate) crashes: u64,
    pub(crate) resharded: u64,
    pub(crate) survivors: u64,
    pub(crate) survived: u64,
    /// Checkpoints, faults of disks, those that a start told of, and writes that failed.
    pub(crate) checkpoints: u64,
    pub(crate) faults: u64,
    pub(crate) told_damage: u64,
    pub(crate) refused_writes: u64,
    /// Messages that memory had no room for and that were read from the disk.
    pub(crate) read: u64,
    /// Peers that were cut off because they had not sent CONNECT, and half-closed ones that were let go of.
    pub(crate) timed_out: u64,
    pub(crate) half_closed: u64,
    /// CONNECTs that waited until there was a place, or until they had waited long enough.
    pub(crate) waited_for_place: u64,
    /// CONNECTs of clients that an operator had banned; messages that rules keep from somebody; clients that were asked to go; lists.
    pub(crate) banned: u64,
    pub(crate) kept_from: u64,
    pub(crate) asked_to_go: u64,
    pub(crate) lists: u64,
    /// Connections of hostile clients that had all that their rates allow, so that one message more would have been too many.
    pub(crate) paced: u64,
}

impl Stats {
    pub(crate) const fn add(&mut self, other: Self) {
        self.published += other.published;
        self.delivered += other.delivered;
        self.again += other.again;
        self.replayed += other.replayed;
        self.shared += other.shared;
        self.wills += other.wills;
        self.resumed += other.resumed;
        self.taken_over += other.taken_over;
        self.refused += other.refused;
        self.taking_down += other.taking_down;
        self.held += other.held;
        self.handed_over += other.handed_over;
        self.handovers_failed += other.handovers_failed;
        self.lingered += other.lingered;
        self.aborted += other.aborted;
        self.deferred += other.deferred;
        self.stopped += other.stopped;
        self.verdicts += other.verdicts;
        self.verdicts_forgotten += other.verdicts_forgotten;
        self.verdicts_late += other.verdicts_late;
        self.commands += other.commands;
        self.durable += other.durable;
        self.crashes += other.crashes;
        self.resharded += other.resharded;
        self.survivors += other.survivors;
        self.survived += other.survived;
        self.checkpoints += other.checkpoints;
        self.faults += other.faults;
        self.told_damage += other.told_damage;
        self.refused_writes += other.refused_writes;
        self.read += other.read;
        self.timed_out += other.timed_out;
        self.half_closed += other.half_closed;
        self.waited_for_place += other.waited_for_place;
        self.banned += other.banned;
        self.kept_from += other.kept_from;
        self.asked_to_go += other.asked_to_go;
        self.lists += other.lists;
        self.paced += other.paced;
    }
}

impl Oracle {
    pub(crate) fn new(inflight_max: u16, may_drop: bool, has_small_turns: bool) -> Self {
        Self { has_small_turns, inflight_max, may_drop, ..Self::default() }
    }

    /// Time passes: sessions end, wills come due.
    pub(crate) fn pass(&mut self, step: u64, now: Now) {
        self.step = step;
        self.now_ms = now.ms();
        let due: Vec<usize> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.is_over(self.now_ms) || session.owes_will(self.now_ms))
            .map(|(&client, _)| client)
            .collect();
        for client in due {
            if self.sessions[&client].is_over(self.now_ms) {
                self.end_session(client);
            } else {
                self.publish_will(client);
            }
        }
    }
}

/// Whether `filter`, without its share name, matches `topic`.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let (Ok(filter), Ok(topic)) = (TopicFilter::parse(inner(filter), u16::MAX), TopicName::parse(topic, u16::MAX))
    else {
        return false;
    };
    dunlin::topic::matches(filter, topic)
}

/// The filter inside of a shared subscription.
fn inner(filter: &str) -> &str {
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((_, inner)) => inner,
        None => filter,
    }
}
