//! What a shard has written, what of it would be there after a crash in this moment, and what may be said of that.
//!
//! Owns: each shard's log, group by group, and what it comes to: all of it, and what is durable of it. A group is durable as a whole.
//! Always holds: nothing that a restart would take back is said to the client of a kept session.

use std::collections::{BTreeMap, VecDeque};

use dunlin::codec::{AckKind, Packet, ReasonCode};
use dunlin::ids::{MessageId, PacketId, Qos, ShardId};
use dunlin::store::format::{InboxCount, LogRecord, QueuedRecord, Records};
use dunlin::store::state::{LogState, StoredSession};
use dunlin::store::{LogOutput, Position};

use crate::canary::Canary;
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

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) appended: Position,
    pub(crate) durable: Position,
    /// Written and not durable.
    groups: VecDeque<Group>,
    /// What it comes to when all of it is durable.
    written: LogState,
    /// What it comes to after a crash.
    survives: LogState,
    /// Clients by the slot of their session.
    names: BTreeMap<u32, Option<usize>>,
    /// Messages of the model that were written down.
    messages: BTreeMap<MessageId, Key>,
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

    fn session<'a>(state: &'a LogState, name: &str) -> Option<&'a StoredSession> {
        // One that has begun to end may have a successor already.
        let mut known = state.sessions().filter(|(_, session)| *session.client_id == *name);
        known.find(|(_, session)| session.expiry_s > 0).map(|(_, session)| session)
    }
}

/// The records as a canary has them: as many as there were, so that positions stay what they are.
fn broken(records: &[u8], first: u64, canary: Canary) -> Vec<u8> {
    let mut kept = Vec::new();
    for found in Records::of_batch(records, first).map_while(Result::ok) {
        let record = match found.record {
            LogRecord::Released { session, packet_id } if canary == Canary::ForgetReleased => {
                LogRecord::Completed { session, packet_id }
            }
            LogRecord::InboxTaken { from, .. } if canary == Canary::SkipInboxCount => {
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
        if log.is_empty() {
            return;
        }
        let store = &mut self.stores[shard];
        let first = store.appended.0 + 1;
        for found in Records::of_batch(&log.bytes, first) {
            store.appended.0 += 1;
            match found.expect("what a shard encodes is a record").record {
                LogRecord::SessionBegun { session, client_id, .. } => {
                    let client = self.clients.iter().position(|client| *client.plan.name == *client_id);
                    store.names.insert(session.0, client);
                }
                LogRecord::Message(message) => {
                    if let Tag::Known(key) = Tag::of(message.payload) {
                        store.messages.insert(message.id, key);
                    }
                }
                LogRecord::Queued(QueuedRecord { session, message, .. }) => {
                    if let Some(&key) = store.messages.get(&message)
                        && let Some(&Some(client)) = store.names.get(&session.0)
                    {
                        store.owed.push_back((store.appended, client, key));
                    }
                }
                _ => {}
            }
        }
        assert_eq!(store.appended, log.last, "the shard lost count of its records");
        store.written.apply_change(Records::of_batch(&log.bytes, first), &log.inbox);
        assert_eq!(store.written.unmatched, 0, "a record makes no sense");
        let (records, inbox) = (log.bytes.clone(), log.inbox.clone());
        store.groups.push_back(Group { first, last: log.last, records, inbox });
    }

    /// Whether a restart in this moment would know of what is said to a client.
    pub(crate) fn survives(&mut self, shard: usize, client: usize, packet: &Packet<'_>) -> Check {
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
            Packet::ConnAck(connack) => connack.reason.is_error() || connack.session_present || survives.is_some(),
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
