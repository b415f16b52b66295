//! What a log comes to: sessions, retained messages and what is on its way to other logs, as plain values.
//!
//! Owns: the meaning of every record ([`LogState::apply`]), and of a checkpoint's pages in front of a log.
//! Always holds: applying is the same whether a session comes from a page or from the log; what a page already has is
//! passed over; a message is kept as long as somebody wants it, by the place of its bytes and without them. A record that makes no
//! sense, because one before it was lost, changes as little as it can and is counted.
//! Leaves to others: reading (`scan`, `recovery`), bodies, and shards: nothing here knows how many there are.

mod encode;
mod mailbox;
mod messages;
mod session;

use std::collections::BTreeMap;
use std::ops::Range;

use hashbrown::HashTable;

use super::format::{InboxCount, LogRecord, MessageId, MessageRecord, RecordAt, Records, SegmentNumber, WriteStamp};
use crate::ids::{SessionId, ShardId};

pub use mailbox::{Mailbox, StoredForward};
pub use messages::{MessageTable, RecordPlace};
pub use session::{DeliveryExtra, StoredDelivery, StoredSession, StoredSubscription, StoredSubscriptions, StoredWill};

/// A retained message, or the memory of one that was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRetained {
    /// Of the latest write.
    pub stamp: WriteStamp,
    /// `None`: deleted.
    pub message: Option<MessageId>,
}

#[derive(Clone, Debug)]
struct SlotOfSession {
    slot: SessionId,
    session: Box<StoredSession>,
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct LogState {
    sessions: HashTable<SlotOfSession>,
    /// By topic.
    pub retained: BTreeMap<Box<str>, StoredRetained>,
    /// What is wanted, and where it is.
    pub messages: MessageTable,
    /// What goes to other logs, and what came from them.
    pub mailbox: Mailbox,
    /// Records up to here are in the checkpoint, all of them.
    covered: u64,
    /// Slots up to the first number are in it as of the second.
    covered_slots: Vec<(u32, u64)>,
    covered_max: u64,
    /// Records that made no sense.
    pub unmatched: u64,
}

const fn hash(slot: SessionId) -> u64 {
    let mixed = (slot.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

impl LogState {
    /// Sessions with their slots, in no order.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &StoredSession)> {
        self.sessions.iter().map(|found| (found.slot, &*found.session))
    }

    /// How many sessions there are.
    pub fn sessions_len(&self) -> usize {
        self.sessions.len()
    }

    /// Who has a slot; `None` for a vacant one.
    pub fn session(&self, slot: SessionId) -> Option<&StoredSession> {
        self.sessions.find(hash(slot), |found| found.slot == slot).map(|found| &*found.session)
    }

    /// A checkpoint begins: whatever the log has up to here is in its pages.
    pub(super) fn begin_checkpoint(&mut self, position: u64) {
        self.covered = position;
        self.covered_max = position;
    }

    /// A page of sessions begins: these slots are in it as of `position`, or vacant. Pages come in the order of slots.
    pub(super) fn cover(&mut self, slots: Range<u32>, position: u64) {
        self.covered_slots.push((slots.end, position));
        self.covered_max = self.covered_max.max(position);
    }

    /// What stands in a page has had its effect already, whatever position the page is as of.
    pub(super) fn apply_page(&mut self, found: &RecordAt<'_>) {
        self.change(&found.record);
    }

    /// Another log has taken over what this one sent to it, up to `number`.
    pub(super) fn confirm_forwards(&mut self, to: ShardId, number: u64) {
        for message in self.mailbox.confirm(to, number) {
            self.messages.release(message);
        }
    }

    /// How far another log's forwards were taken over.
    pub(super) fn note_inbox(&mut self, count: InboxCount) {
        self.mailbox.note_taken(count.from, count.number);
    }

    /// A record of the log; `place` is where it is.
    #[inline]
    pub(super) fn apply(&mut self, found: &RecordAt<'_>, place: RecordPlace) {
        let position = found.base;
        match found.record {
            LogRecord::Message(MessageRecord { id, .. }) if position > self.covered => self.messages.seen(id, place),
            LogRecord::Message(MessageRecord { id, .. }) => self.messages.seen_if_wanted(id, place),
            LogRecord::MessagePart { message, .. } => self.messages.seen_part(message, place),
            _ if position <= self.covered => {}
            record => {
                let is_in_a_page = position <= self.covered_max
                    && session_of(&record).is_some_and(|slot| position <= self.as_of(slot));
                if !is_in_a_page {
                    self.apply_to(position, &record);
                }
            }
        }
    }

    fn apply_to(&mut self, position: u64, record: &LogRecord<'_>) {
        let &LogRecord::Started { at } = record else { return self.change(record) };
        let old_slots = if position <= self.covered_max { self.covered_slots.clone() } else { Vec::new() };
        for found in &mut self.sessions {
            if position > as_of(&old_slots, self.covered, found.slot) {
                found.session.disconnected.get_or_insert(at);
            }
        }
    }

    fn as_of(&self, slot: SessionId) -> u64 {
        as_of(&self.covered_slots, self.covered, slot)
    }

    /// One whole change, of which nobody will ask where its bytes are: what a shard writes, before it is on a disk.
    pub fn apply_change(&mut self, records: Records<'_>, inbox: &[InboxCount]) {
        for found in records.map_while(Result::ok) {
            let place = RecordPlace { segment: SegmentNumber(1), offset: 0, len: found.bytes.len() as u32 };
            self.apply(&found, place);
        }
        for count in inbox {
            self.note_inbox(*count);
        }
        self.end_change();
    }

    /// A batch has been applied, and all that it is one change with. A message that nobody wants now is not wanted again.
    #[inline]
    pub(super) fn end_change(&mut self) {
        self.messages.end_change();
    }

    /// Nothing more comes.
    pub fn finish(&mut self) {
        for found in &mut self.sessions {
            found.session.subscriptions.tidy();
        }
        self.messages.finish();
    }

    fn change(&mut self, record: &LogRecord<'_>) {
        match *record {
            LogRecord::SessionBegun { session, client_id, expiry_s, at } => {
                self.end_session(session);
                let new =
                    SlotOfSession { slot: session, session: Box::new(StoredSession::new(client_id, expiry_s, at)) };
                self.sessions.insert_unique(hash(session), new, |found| hash(found.slot));
            }
            LogRecord::SessionEnded { session } => {
                let is_known = self.end_session(session);
                self.unmatched += u64::from(!is_known);
            }
            LogRecord::Retained { topic, stamp, message } => self.retain(topic, StoredRetained { stamp, message }),
            LogRecord::Forward(target) => {
                if self.mailbox.push(&target) {
                    self.messages.want(target.message);
                }
            }
            LogRecord::OutboxCount { to, number } => self.mailbox.note_numbered(to, number),
            LogRecord::InboxTaken { from, number } => self.mailbox.note_taken(from, number),
            LogRecord::Message(_) | LogRecord::MessagePart { .. } | LogRecord::Started { .. } => {}
            _ => {
                let Self { sessions, messages, unmatched, .. } = self;
                let found =
                    session_of(record).and_then(|slot| sessions.find_mut(hash(slot), |found| found.slot == slot));
                let is_known = found.is_some_and(|found| change_session(&mut found.session, record, messages));
                *unmatched += u64::from(!is_known);
            }
        }
    }

    fn end_session(&mut self, slot: SessionId) -> bool {
        let Ok(found) = self.sessions.find_entry(hash(slot), |found| found.slot == slot) else { return false };
        let (mut ended, _) = found.remove();
        ended.session.release_all(&mut self.messages);
        true
    }

    fn retain(&mut self, topic: &str, new: StoredRetained) {
        let known = self.retained.get_mut(topic);
        if known.as_ref().is_some_and(|known| known.stamp >= new.stamp) {
            return;
        }
        if let Some(message) = new.message {
            self.messages.want(message);
        }
        let old = match known {
            Some(known) => Some(std::mem::replace(known, new)),
            None => self.retained.insert(topic.into(), new),
        };
        if let Some(StoredRetained { message: Some(message), .. }) = old {
            self.messages.release(message);
        }
    }
}

/// The position that a slot's page is as of.
fn as_of(covered_slots: &[(u32, u64)], covered: u64, slot: SessionId) -> u64 {
    let page = covered_slots.partition_point(|(end, _)| *end <= slot.0);
    covered_slots.get(page).map_or(covered, |(_, position)| *position)
}

/// A record about one session that is there. `false`: it makes no sense.
fn change_session(session: &mut StoredSession, record: &LogRecord<'_>, messages: &mut MessageTable) -> bool {
    match *record {
        LogRecord::Queued(queued) => session.queue(&queued, messages),
        LogRecord::Sent { message, packet_id, .. } => return session.send(message, packet_id),
        LogRecord::Released { packet_id, .. } => session.release(packet_id, messages),
        LogRecord::Completed { packet_id, .. } => return session.complete(packet_id, messages),
        LogRecord::Dropped { message, .. } => return session.drop_delivery(message, messages),
        LogRecord::ExchangeOpened { packet_id, .. } => session.open_exchange(packet_id),
        LogRecord::ExchangeClosed { packet_id, .. } => return session.close_exchange(packet_id),
        LogRecord::SessionExpiry { expiry_s, .. } => session.expiry_s = expiry_s,
        LogRecord::Connected { .. } => session.disconnected = None,
        LogRecord::Disconnected { at, .. } => session.disconnected = Some(at),
        LogRecord::WillSet { message, delay_s, message_expiry_s, .. } => {
            session.set_will(Some(StoredWill { message, delay_s, message_expiry_s, decision: None }), messages);
        }
        LogRecord::WillCleared { .. } => session.set_will(None, messages),
        LogRecord::WillDecided { decision, .. } => return session.decide_will(decision),
        LogRecord::SessionOwner { ref owner, keeps_filters, .. } => session.set_owner(owner, keeps_filters),
        LogRecord::FilterDecided { filter, is_allowed, .. } => session.decide_filter(filter, is_allowed),
        LogRecord::Subscribed { filter, options, identifier, .. } => {
            session.subscriptions.push(filter, Some(StoredSubscription { options, identifier }));
        }
        LogRecord::Unsubscribed { filter, .. } => session.subscriptions.push(filter, None),
        _ => return false,
    }
    true
}

/// Whose session a record is about.
fn session_of(record: &LogRecord<'_>) -> Option<SessionId> {
    match *record {
        LogRecord::Queued(queued) => Some(queued.session),
        LogRecord::SessionBegun { session, .. }
        | LogRecord::SessionEnded { session }
        | LogRecord::SessionExpiry { session, .. }
        | LogRecord::Connected { session }
        | LogRecord::Disconnected { session, .. }
        | LogRecord::WillSet { session, .. }
        | LogRecord::WillCleared { session }
        | LogRecord::Subscribed { session, .. }
        | LogRecord::Unsubscribed { session, .. }
        | LogRecord::Sent { session, .. }
        | LogRecord::Released { session, .. }
        | LogRecord::Completed { session, .. }
        | LogRecord::Dropped { session, .. }
        | LogRecord::ExchangeOpened { session, .. }
        | LogRecord::ExchangeClosed { session, .. }
        | LogRecord::SessionOwner { session, .. }
        | LogRecord::FilterDecided { session, .. }
        | LogRecord::WillDecided { session, .. } => Some(session),
        LogRecord::Message(_)
        | LogRecord::MessagePart { .. }
        | LogRecord::Retained { .. }
        | LogRecord::Forward(_)
        | LogRecord::Started { .. }
        | LogRecord::OutboxCount { .. }
        | LogRecord::InboxTaken { .. } => None,
    }
}
