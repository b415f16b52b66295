//! Retained messages of a cluster: what this node's shards write, to the engine; what the engine's tail shows, to the shards.
//!
//! Owns: one append for each topic at a time, and what waits behind it; what was seen within the last minute; when the shards are told of a write.
//! Always holds: the write with the latest stamp counts, whatever order the engine has got them in: where an earlier one stands last, every node that has the later
//! one writes it over that, and the engine lets one win. A write is confirmed when it is stored, or a later one on its topic is. What cannot be read is
//! told and passed over, and written anew by a node that has it.
//! Leaves to others: the engine's protocol and time-outs (the edge), the store that subscribers are shown, and its stamps (`shard`).
//!
//! Drive it as [`ClusterNode`](super::ClusterNode): hand in what has come, then take [`RetainedTail::next_news`] and [`RetainedTail::next_ask`] until both are
//! empty, and do so at [`RetainedTail::next_deadline`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::range::NodeSet;
use super::retained_entry::{RetainedEntry, RetainedEntryError, RetainedSubject};
use super::retained_topic::{RetainedTopic, TopicQuestion, WriteOrigin, WriteStep};
use crate::limits::{
    RETAINED_APPENDS_IN_FLIGHT_MAX, RETAINED_KEPT_MAX_BYTES, RETAINED_KEPT_MS, RETAINED_LATE_WRITES_MAX,
    RETAINED_LINKED_MS, RETAINED_WAITING_MAX,
};
use crate::time::{Deadline, Now};

/// What the engine is asked about retained messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetainedAsk {
    /// Show what there is from this sequence on, in order, and then what comes. Of what was watched before nothing is told any more.
    Watch {
        /// The first.
        from: u64,
    },
    /// What a topic has last, asked of whoever leads.
    Look {
        /// For the answer.
        id: u64,
        /// Of the topic.
        subject: RetainedSubject,
    },
    /// Store a write.
    Append(RetainedAppend),
}

/// A write for the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedAppend {
    /// For the answer.
    pub id: u64,
    /// Of the topic.
    pub subject: RetainedSubject,
    /// `Nats-Expected-Last-Subject-Sequence`, where it is said.
    pub expected: Option<u64>,
    /// `Nats-Msg-Id`: what the engine knows a repetition by.
    pub message_id: String,
    /// `Nats-TTL`.
    pub ttl_s: Option<u64>,
    /// A [`RetainedEntry`].
    pub bytes: Bytes,
}

/// What the engine says to a look or an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetainedAnswer<'a> {
    /// The write is stored, now or before.
    Stored {
        /// Where.
        sequence: u64,
    },
    /// It is not: something else stands there.
    Refused,
    /// Nothing is known: it may be stored, or not, or later.
    Failed,
    /// What a topic has.
    Last {
        /// Where; 0 for nothing.
        sequence: u64,
        /// What stands there.
        bytes: &'a [u8],
    },
}

/// What shards and the edge are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetainedNews<C> {
    /// All that the engine had at first was told.
    Ready,
    /// A write for all shards: a whole [`RetainedEntry`]. One that they know changes nothing.
    Write(Bytes),
    /// What waited for a write may go on.
    Confirmed(C),
    /// Whether publishers of retained messages are held, because too many topics wait for the engine.
    Held(bool),
    /// What the engine has at this sequence cannot be read.
    Damaged {
        /// Where.
        sequence: u64,
        /// Of which topic.
        subject: RetainedSubject,
        /// What is wrong with it.
        error: RetainedEntryError,
        /// Whether this node writes it anew.
        is_mended: bool,
    },
}

/// See the module's text. `C` names what waits for a write.
#[derive(Debug)]
pub struct RetainedTail<C> {
    hash_seeds: [u64; 4],
    topics: BTreeMap<RetainedSubject, RetainedTopic<C>>,
    /// Topics of which something is to be asked, and when.
    due: BTreeSet<(Deadline, RetainedSubject)>,
    /// What was asked and has no answer.
    open: BTreeMap<u64, RetainedSubject>,
    numbers: u64,
    /// In the order in which they may be forgotten; a topic may be there more than once.
    kept: VecDeque<(Deadline, RetainedSubject)>,
    kept_bytes: usize,
    /// Writes of linked nodes, to be told then.
    late: VecDeque<(Deadline, Bytes)>,
    linked: NodeSet,
    wants_watch: bool,
    seen: u64,
    is_ready: bool,
    is_held: bool,
    news: VecDeque<RetainedNews<C>>,
}

impl<C> RetainedTail<C> {
    /// Of a process that knows nothing yet, in a cluster with these seeds.
    pub const fn new(hash_seeds: [u64; 4]) -> Self {
        Self {
            hash_seeds,
            topics: BTreeMap::new(),
            due: BTreeSet::new(),
            open: BTreeMap::new(),
            numbers: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            late: VecDeque::new(),
            linked: NodeSet::EMPTY,
            wants_watch: true,
            seen: 0,
            is_ready: false,
            is_held: false,
            news: VecDeque::new(),
        }
    }

    /// A shard of this node has written this [`RetainedEntry`]; `confirm` waits until it is safe. Without one it may be the latest of a second that is stored.
    pub fn write(&mut self, entry: Vec<u8>, confirm: Option<C>, now: Now) {
        let (subject, stamp) = {
            let read = RetainedEntry::read(&entry).expect("shards encode whole entries");
            (RetainedSubject::of(&self.hash_seeds, read.topic), read.stamp)
        };
        let confirmed = self.change(subject, |topic| topic.write((stamp, entry.into()), confirm, now));
        self.news.extend(confirmed.map(RetainedNews::Confirmed));
        self.judge_held();
    }

    /// A write of another node, of this [`RetainedEntry`], has come to the shards by a link. If the engine does not show it, this node stores it.
    pub fn write_of_peer(&mut self, entry: Vec<u8>, now: Now) {
        let (subject, stamp) = {
            let read = RetainedEntry::read(&entry).expect("shards encode whole entries");
            (RetainedSubject::of(&self.hash_seeds, read.topic), read.stamp)
        };
        self.change(subject, |topic| topic.write_of_peer((stamp, entry.into()), now));
        self.keep(subject, now);
        self.judge_held();
    }

    /// Members that links say are reached: their writes come that way as well, with their delivery, and are told a second later.
    pub const fn tell_linked(&mut self, linked: NodeSet) {
        self.linked = linked;
    }

    /// What is to be told next.
    pub fn next_news(&mut self, now: Now) -> Option<RetainedNews<C>> {
        if self.late.front().is_some_and(|(at, _)| at.is_due(now)) {
            return self.late.pop_front().map(|(_, bytes)| RetainedNews::Write(bytes));
        }
        self.news.pop_front()
    }

    /// What to ask next; each is said once.
    pub fn next_ask(&mut self, now: Now) -> Option<RetainedAsk> {
        self.forget(now);
        if std::mem::take(&mut self.wants_watch) {
            return Some(RetainedAsk::Watch { from: self.seen + 1 });
        }
        while self.open.len() < RETAINED_APPENDS_IN_FLIGHT_MAX
            && let Some((at, subject)) = self.due.first().copied()
            && at.is_due(now)
        {
            self.numbers += 1;
            let id = self.numbers;
            match self.change(subject, |topic| topic.begin(id, now)) {
                Ok(question) => {
                    self.open.insert(id, subject);
                    return Some(question_of(id, subject, question, now));
                }
                Err(confirms) => {
                    self.keep(subject, now);
                    self.news.extend(confirms.into_iter().map(RetainedNews::Confirmed));
                }
            }
        }
        None
    }

    /// When there will be something to ask or tell without anything that comes.
    pub fn next_deadline(&self) -> Option<Deadline> {
        let due = self.due.first().filter(|_| self.open.len() < RETAINED_APPENDS_IN_FLIGHT_MAX);
        due.map(|(at, _)| *at).into_iter().chain(self.late.front().map(|(at, _)| *at)).min()
    }

    /// All that the engine had when the watch began was told.
    pub fn handle_caught_up(&mut self) {
        if !std::mem::replace(&mut self.is_ready, true) {
            self.news.push_back(RetainedNews::Ready);
        }
    }

    /// The watch has ended: another one goes on behind what was seen.
    pub const fn handle_watch_ended(&mut self) {
        self.wants_watch = true;
    }

    /// The engine shows what stands at a sequence.
    pub fn handle_message(&mut self, subject: RetainedSubject, sequence: u64, bytes: &[u8], now: Now) {
        if sequence <= self.seen {
            return;
        }
        self.seen = sequence;
        match self.read(subject, bytes) {
            Ok(entry) => {
                let bytes = Bytes::copy_from_slice(bytes);
                if self.see(subject, sequence, (&entry, &bytes), now) {
                    self.tell(&entry, bytes, now);
                }
            }
            Err(error) => {
                let is_known = self.topics.contains_key(&subject);
                let is_mended = is_known && self.change(subject, |topic| topic.see_damage(sequence, now));
                self.news.push_back(RetainedNews::Damaged { sequence, subject, error, is_mended });
            }
        }
    }

    /// The engine has answered. What answers nothing that is open is late, and nothing follows from it.
    pub fn handle_answer(&mut self, id: u64, answer: RetainedAnswer<'_>, now: Now) {
        let Some(subject) = self.open.remove(&id) else { return };
        let confirms = match answer {
            RetainedAnswer::Stored { sequence } => self.change(subject, |topic| topic.handle_stored(sequence, now)),
            RetainedAnswer::Last { sequence, bytes } => self.handle_last(subject, sequence, bytes, now),
            RetainedAnswer::Refused | RetainedAnswer::Failed => {
                let is_refused = answer == RetainedAnswer::Refused;
                self.change(subject, |topic| topic.handle_failed(is_refused, now));
                Vec::new()
            }
        };
        self.keep(subject, now);
        self.news.extend(confirms.into_iter().map(RetainedNews::Confirmed));
        self.judge_held();
    }

    /// A look has an answer. What it shows that the watch has not shown yet is told at once, because that shows nothing twice.
    fn handle_last(&mut self, subject: RetainedSubject, sequence: u64, bytes: &[u8], now: Now) -> Vec<C> {
        let entry = self.read(subject, bytes).ok().filter(|_| sequence > 0);
        let copy = entry.map(|_| Bytes::copy_from_slice(bytes)).unwrap_or_default();
        let last = entry.as_ref().map(|entry| (entry, &copy));
        let (confirms, is_new) = self.change(subject, |topic| topic.handle_last(sequence, last, now));
        if let Some(entry) = entry.filter(|_| is_new) {
            self.tell(&entry, copy, now);
        }
        confirms
    }

    fn read<'a>(&self, subject: RetainedSubject, bytes: &'a [u8]) -> Result<RetainedEntry<'a>, RetainedEntryError> {
        let entry = RetainedEntry::read(bytes)?;
        let is_its_own = RetainedSubject::of(&self.hash_seeds, entry.topic) == subject;
        if is_its_own { Ok(entry) } else { Err(RetainedEntryError::Subject) }
    }

    /// Notes a write that the engine shows; whether shards have to be told.
    fn see(&mut self, subject: RetainedSubject, sequence: u64, entry: (&RetainedEntry<'_>, &Bytes), now: Now) -> bool {
        let (entry, bytes) = entry;
        // Of what was there long before nobody writes an earlier one any more.
        let is_old = entry.stamp.time_ns / 1_000_000 + RETAINED_KEPT_MS < now.unix_ms;
        if !self.is_ready && is_old && !self.topics.contains_key(&subject) {
            return true;
        }
        let is_to_be_told = self.change(subject, |topic| {
            let is_own = topic.is_written_here(entry.stamp);
            topic.see(sequence, (entry.stamp, bytes), now) && !is_own
        });
        self.keep(subject, now);
        is_to_be_told
    }

    fn tell(&mut self, entry: &RetainedEntry<'_>, bytes: Bytes, now: Now) {
        if !self.is_ready || !self.linked.contains(entry.writer()) {
            self.news.push_back(RetainedNews::Write(bytes));
            return;
        }
        if self.late.len() >= RETAINED_LATE_WRITES_MAX
            && let Some((_, oldest)) = self.late.pop_front()
        {
            self.news.push_back(RetainedNews::Write(oldest));
        }
        self.late.push_back((now.after_ms(RETAINED_LINKED_MS), bytes));
    }

    /// Does something with a topic, and keeps in mind when it is due next.
    fn change<R>(&mut self, subject: RetainedSubject, change: impl FnOnce(&mut RetainedTopic<C>) -> R) -> R {
        let topic = self.topics.entry(subject).or_insert_with(RetainedTopic::new);
        let (due, len) = (topic.due_at(), topic.kept_bytes());
        let result = change(topic);
        if let Some(at) = due {
            self.due.remove(&(at, subject));
        }
        if let Some(at) = topic.due_at() {
            self.due.insert((at, subject));
        }
        self.kept_bytes = self.kept_bytes + topic.kept_bytes() - len;
        result
    }

    fn keep(&mut self, subject: RetainedSubject, now: Now) {
        self.kept.push_back((now.after_ms(RETAINED_KEPT_MS), subject));
    }

    /// Forgets what was seen long ago, or more than may be kept, unless something waits for it.
    fn forget(&mut self, now: Now) {
        while let Some((at, subject)) = self.kept.front().copied()
            && (at.is_due(now) || self.kept_bytes > RETAINED_KEPT_MAX_BYTES)
        {
            self.kept.pop_front();
            let is_over = self.kept_bytes > RETAINED_KEPT_MAX_BYTES;
            let Some(topic) = self.topics.get(&subject) else { continue };
            // What is asked about it comes to an end, which keeps it anew.
            if topic.is_idle() && (is_over || topic.kept_until.is_due(now)) {
                self.kept_bytes -= topic.kept_bytes();
                self.topics.remove(&subject);
            }
        }
    }

    /// Publishers are held while too many topics wait, until half of them do.
    fn judge_held(&mut self) {
        let waiting = self.due.len() + self.open.len();
        let least = if self.is_held { RETAINED_WAITING_MAX / 2 } else { RETAINED_WAITING_MAX };
        let is_held = waiting >= least;
        if std::mem::replace(&mut self.is_held, is_held) != is_held {
            self.news.push_back(RetainedNews::Held(is_held));
        }
    }
}

/// A write has one name, however often it is said and by whomever, so that a copy that arrives late is a repetition. Where an earlier one has taken its place
/// it is to be stored once more, under the name of that place.
fn question_of(id: u64, subject: RetainedSubject, question: TopicQuestion, now: Now) -> RetainedAsk {
    let TopicQuestion { step, from, stamp, bytes } = question;
    let WriteStep::Append(expected) = step else { return RetainedAsk::Look { id, subject } };
    let place = expected.filter(|_| from == WriteOrigin::Mend).map(|expected| format!("-{expected}"));
    let message_id = format!("{}-{}{}", stamp.time_ns, stamp.shard, place.unwrap_or_default());
    let ttl_s = RetainedEntry::read(&bytes).ok().and_then(|entry| entry.ttl_s(now));
    RetainedAsk::Append(RetainedAppend { id, subject, expected, message_id, ttl_s, bytes })
}
