//! What a shard has written, what of it would be there after a crash in this moment, and what may be said of that.
//!
//! Owns: each shard's log, group by group, and what it comes to: all of it, and what is durable of it. A group is durable as a whole.
//! Always holds: nothing that a restart would take back is said to the client of a kept session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dunlin::codec::{AckKind, Packet, ReasonCode};
use dunlin::ids::{MessageId, PacketId, Qos, SessionId, ShardId};
use dunlin::store::format::{InboxCount, LogRecord, QueuedRecord, Records};
use dunlin::store::state::{LogState, StoredDelivery, StoredSession, StoredSubscription};
use dunlin::store::{LogOutput, Position, RecordGroup, RecoveredLog};

use crate::canary::Canary;
use crate::client::Client;
use crate::disks::OpenedLog;
use crate::oracle::{Check, Key, Tag};
use crate::world::World;

/// What one turn wrote.
#[derive(Debug)]
struct Group {
    first: u64,
    last: Position,
    records: Vec<u8>,
    inbox: Vec<InboxCount>,
}

/// Who began a session: where its log says so, in which slot, and which session of the model it is, by client and serial.
#[derive(Clone, Copy, Debug)]
struct Begun {
    at: u64,
    slot: SessionId,
    /// `None`: nobody's of the model.
    session: Option<(usize, u64)>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) appended: Position,
    pub(crate) durable: Position,
    /// Written and not durable.
    groups: VecDeque<Group>,
    /// What it comes to when all of it is durable.
    written: LogState,
    /// Records that made no sense when it was read back.
    unmatched: u64,
    /// What it comes to after a crash.
    survives: LogState,
    /// Clients by the slot of their session.
    names: BTreeMap<u32, Option<usize>>,
    /// Messages of the model that were written down.
    messages: BTreeMap<MessageId, Key>,
    /// Sessions of the model that were written down, in the order of positions.
    begun: Vec<Begun>,
    /// Messages that are owed to a client, by position.
    pub(crate) owed: VecDeque<(Position, usize, Key)>,
}

impl Store {
    /// Groups that are not durable.
    pub(crate) fn waiting(&self) -> usize {
        self.groups.len()
    }

    /// Where the group ends behind `number` others.
    pub(crate) fn end_of(&self, number: usize) -> Position {
        self.groups[number].last
    }

    /// Everything up to here is durable, unless a canary has it otherwise.
    pub(crate) fn make_durable(&mut self, position: Position, canary: Canary) {
        while self.groups.front().is_some_and(|group| group.last <= position) {
            let Group { first, records, inbox, .. } = self.groups.pop_front().expect("just seen");
            let inbox = if canary == Canary::SkipInboxCount { &[] } else { &inbox[..] };
            let records = if matches!(canary, Canary::SkipInboxCount | Canary::ForgetReleased) {
                broken(&records, first, canary)
            } else {
                records
            };
            self.survives.apply_change(Records::of_batch(&records, first), inbox);
        }
    }

    /// What a log comes to that was read back. `serials` has the sessions of the model, by client.
    pub(crate) fn restored(clients: &[Client], opened: &OpenedLog, serials: &BTreeMap<usize, u64>) -> Self {
        let (state, end) = (&opened.recovered.state, opened.recovered.scan.end.position);
        let mut store = Self {
            appended: Position(end),
            durable: Position(end),
            written: state.clone(),
            survives: state.clone(),
            unmatched: state.unmatched,
            ..Self::default()
        };
        for (slot, session) in state.sessions().filter(|(_, session)| !session.was_ending()) {
            let client = clients.iter().position(|client| *client.plan.name == *session.client_id);
            store.names.insert(slot.0, client);
            let of_model = client.and_then(|client| Some((client, *serials.get(&client)?)));
            store.begun.push(Begun { at: 0, slot, session: of_model });
        }
        for (id, message) in &opened.messages {
            if let Tag::Known(key) = Tag::of(message.borrow().payload) {
                store.messages.insert(*id, key);
            }
        }
        store
    }

    /// The log has ended here: what was written down up to here is, and nothing behind it.
    pub(crate) fn note_end(&mut self, end: u64, written: &mut BTreeSet<(usize, Key)>) {
        let known = self.owed.iter().take_while(|(at, ..)| at.0 <= end);
        written.extend(known.map(|&(_, client, key)| (client, key)));
        self.owed.clear();
    }

    /// The session of the model that a slot has as of a position, if any.
    pub(crate) fn serial_at(&self, slot: SessionId, position: u64) -> Option<(usize, u64)> {
        let mut begun = self.begun.iter().rev();
        begun.find(|begun| begun.slot == slot && begun.at <= position)?.session
    }

    /// Holds what was read back against what was written: it ends where a group does, has all that was called durable, and comes to the same.
    pub(crate) fn compare(&mut self, recovered: &RecoveredLog) -> Check {
        let end = recovered.scan.end.position;
        if end < self.durable.0 {
            return Err(format!("{} ends at {end}, and all up to {} was durable", recovered.log, self.durable.0));
        }
        self.make_durable(Position(end), Canary::None);
        if recovered.state.unmatched > self.unmatched {
            return Err(format!("{}: {} records make no sense", recovered.log, recovered.state.unmatched));
        }
        let found = comparable(&recovered.state);
        let wanted = comparable(&self.survives);
        for slot in found.keys().chain(wanted.keys()) {
            if found.get(slot) != wanted.get(slot) {
                let (found, wanted) = (found.get(slot), wanted.get(slot));
                return Err(format!("slot {slot} of {} is {found:?} and was {wanted:?}", recovered.log));
            }
        }
        if recovered.state.retained != self.survives.retained {
            let (found, wanted) = (&recovered.state.retained, &self.survives.retained);
            return Err(format!("{} retains {found:?} and did retain {wanted:?}", recovered.log));
        }
        let counts = |state: &LogState| state.mailbox.taken().collect::<Vec<_>>();
        if counts(&recovered.state) != counts(&self.survives) {
            return Err(format!("{} has taken over something else than before", recovered.log));
        }
        Ok(())
    }

    fn session<'a>(state: &'a LogState, name: &str) -> Option<&'a StoredSession> {
        // One that has begun to end may have a successor already.
        let mut known = state.sessions().filter(|(_, session)| *session.client_id == *name);
        known.find(|(_, session)| session.expiry_s > 0).map(|(_, session)| session)
    }
}

/// Sessions in words that do not depend on when a log was last tidied.
fn comparable(state: &LogState) -> BTreeMap<u32, String> {
    let known = state.sessions().map(|(slot, session)| {
        let words = session.subscriptions.words().map(|(filter, word)| (filter.to_owned(), word));
        let words: BTreeMap<String, Option<StoredSubscription>> = words.collect();
        let words = words.into_iter().filter(|(_, word)| word.is_some());
        let subscriptions: Vec<_> = words.collect();
        let StoredSession { client_id, expiry_s, begun, disconnected, will, deliveries, exchanges, .. } = session;
        let rest = (client_id, expiry_s, begun, disconnected, will, deliveries, exchanges);
        (slot.0, format!("{rest:?} {subscriptions:?}"))
    });
    known.collect()
}

/// The records as a canary has them: as many as there were, so that positions stay what they are.
pub(crate) fn broken(records: &[u8], first: u64, canary: Canary) -> Vec<u8> {
    let mut kept = Vec::new();
    for found in Records::of_batch(records, first).map_while(Result::ok) {
        let record = match found.record {
            LogRecord::Released { session, packet_id }
                if matches!(canary, Canary::ForgetReleased | Canary::ForgetReleasedOnDisk) =>
            {
                LogRecord::Completed { session, packet_id }
            }
            LogRecord::InboxTaken { from, .. }
                if matches!(canary, Canary::SkipInboxCount | Canary::SkipInboxOnDisk) =>
            {
                LogRecord::InboxTaken { from, number: 0 }
            }
            record => record,
        };
        record.encode(found.base, &mut kept);
    }
    kept
}

impl World {
    pub(crate) fn take_records(&mut self, shard: usize, log: &LogOutput) {
        if let Some(disks) = &mut self.disks {
            disks.append(shard, self.now, log);
        }
        if !log.is_empty() {
            self.note_records(shard, &log.group());
            assert_eq!(self.stores[shard].appended, log.last, "the shard lost count of its records");
        }
    }

    /// Takes records that are on their way to a log.
    pub(crate) fn note_records(&mut self, shard: usize, group: &RecordGroup<'_>) {
        let store = &mut self.stores[shard];
        let first = store.appended.0 + 1;
        for found in Records::of_batch(group.records, first) {
            store.appended.0 += 1;
            match found.expect("what a shard encodes is a record").record {
                LogRecord::SessionBegun { session, client_id, .. } => {
                    let client = self.clients.iter().position(|client| *client.plan.name == *client_id);
                    store.names.insert(session.0, client);
                    let of_model = client.and_then(|client| Some((client, self.oracle.sessions.get(&client)?.serial)));
                    store.begun.push(Begun { at: store.appended.0, slot: session, session: of_model });
                }
                LogRecord::Message(message) => {
                    self.bodies.note(shard, self.now, &message);
                    if let Tag::Known(key) = Tag::of(message.payload) {
                        store.messages.insert(message.id, key);
                    }
                }
                LogRecord::Queued(QueuedRecord { session, message, qos, packet_id, .. }) => {
                    if let Some(&key) = store.messages.get(&message)
                        && let Some(&Some(client)) = store.names.get(&session.0)
                    {
                        store.owed.push_back((store.appended, client, key));
                        if packet_id.is_some() && qos == Qos::ExactlyOnce {
                            self.oracle.begin_sending(client, key);
                        }
                    }
                }
                LogRecord::Sent { session, message, .. } => {
                    let waits = |delivery: &StoredDelivery| {
                        delivery.message == Some(message) && delivery.qos == Qos::ExactlyOnce
                    };
                    let known = store.written.session(session);
                    if known.is_some_and(|known| known.deliveries.iter().any(waits))
                        && let Some(&key) = store.messages.get(&message)
                        && let Some(&Some(client)) = store.names.get(&session.0)
                    {
                        self.oracle.begin_sending(client, key);
                    }
                }
                _ => {}
            }
        }
        store.written.apply_change(Records::of_batch(group.records, first), group.inbox);
        let is_changed = self.cage.canary.is_found_by_a_crash();
        assert!(is_changed || store.written.unmatched == store.unmatched, "a record makes no sense");
        let (records, inbox) = (group.records.to_vec(), group.inbox.to_vec());
        store.groups.push_back(Group { first, last: store.appended, records, inbox });
    }

    /// Whether a restart in this moment would know of what is said to a client.
    pub(crate) fn survives(&mut self, shard: usize, client: usize, packet: &Packet<'_>) -> Check {
        self.note_told(client, packet);
        if self.cage.canary.is_found_by_a_crash() {
            return Ok(());
        }
        let name = &self.clients[client].plan.name;
        let store = &self.stores[shard];
        let survives = Store::session(&store.survives, name);
        let Some(kept) = Store::session(&store.written, name) else {
            let says_it_is_gone = matches!(packet, Packet::ConnAck(connack) if !connack.reason.is_error());
            if says_it_is_gone && survives.is_some() {
                return Err(format!("client {client} is told {packet:?}, and its session would come back"));
            }
            return Ok(());
        };
        let known = |packet_id: PacketId| {
            let deliveries = survives.into_iter().flat_map(|session| &session.deliveries);
            deliveries.into_iter().find(|delivery| delivery.packet_id == Some(packet_id)).cloned()
        };
        let is_open = |packet_id| survives.is_some_and(|session| session.exchanges.contains(&packet_id));
        let survives_it = match packet {
            // A session whose first CONNACK never left is told to be there before it survives: nothing of it was acknowledged.
            // MQTT 3.1 has no flag for it.
            Packet::ConnAck(connack) => {
                let is_present = connack.session_present || self.oracle.is_present(client);
                connack.reason.is_error() || is_present || survives.is_some()
            }
            Packet::Publish(publish) if publish.qos == Qos::ExactlyOnce => {
                publish.packet_id.is_some_and(|id| known(id).is_some())
            }
            Packet::Ack(ack) if ack.reason != ReasonCode::Success => true,
            Packet::Ack(ack) => match ack.kind {
                AckKind::PubRel => known(ack.packet_id).is_some_and(|delivery| delivery.message.is_none()),
                AckKind::PubRec => is_open(ack.packet_id),
                AckKind::PubComp => !is_open(ack.packet_id) || kept.exchanges.contains(&ack.packet_id),
                AckKind::PubAck => true,
            },
            _ => true,
        };
        self.oracle.stats.durable += 1;
        if survives_it {
            Ok(())
        } else {
            Err(format!("client {client} is told {packet:?}, of which a restart would know nothing"))
        }
    }

    /// At rest nothing is on its way between logs.
    pub(crate) fn nothing_is_on_its_way(&self) -> Check {
        for (from, sender) in self.stores.iter().enumerate() {
            for (to, number) in sender.survives.mailbox.numbered() {
                let taken = self.stores[to.index()].survives.mailbox.taken_from(ShardId(from as u8));
                if taken != number {
                    return Err(format!("log {from} has sent {number} messages to log {}, which has {taken}", to.0));
                }
            }
        }
        Ok(())
    }

    /// No log has taken over what a restart would take back.
    pub(crate) fn nothing_is_ahead(&self) -> Check {
        if self.cage.canary.is_found_by_a_crash() {
            return Ok(());
        }
        for (to, receiver) in self.stores.iter().enumerate() {
            for (from, taken) in receiver.survives.mailbox.taken() {
                let mut numbered = self.stores[from.index()].survives.mailbox.numbered();
                let number = numbered.find(|(target, _)| target.index() == to).map_or(0, |(_, number)| number);
                if taken > number {
                    return Err(format!(
                        "log {to} has taken over {taken} messages of log {}, which knows of {number}",
                        from.0
                    ));
                }
            }
        }
        Ok(())
    }
}
