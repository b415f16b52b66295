//! What clients publish, and who is to have it: behind a SUBACK a message arrives while both processes live; nobody gets one twice, nor those of one
//! publisher in another order.
//!
//! A publisher has its acknowledgements in the order of its messages. What one says whose process ends, or to one, may be lost.

use std::collections::{BTreeMap, BTreeSet};

use dunlin::codec::{Ack, AckKind, EncodedSubscriptionIds, Forwarded, Publish, ReasonCode, Version, encode_ack};
use dunlin::ids::{ConnectionId, PacketId, Qos};

use super::clients::{Client, is_shared, topic};
use super::node::{At, Process};
use super::world::{NodeEvent, World};
use crate::oracle::Check;

/// Messages of one client that it has no last word about, at most.
const UNSETTLED_MAX: usize = 4;
/// Most bytes of a message, or now and then that many.
const SMALL_BYTES: usize = 40;
const LARGE_BYTES: usize = 20_000;
/// Bytes of a message's number, with which it begins.
const NUMBER_BYTES: usize = 8;

/// A connection of a client: of which process, which of its clients, and the how many-th of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientVisit {
    pub(crate) boot: u64,
    pub(crate) index: usize,
    pub(crate) connection: u32,
}

/// A message that its client has no last word about.
#[derive(Debug)]
pub(crate) struct Unsettled {
    packet_id: u16,
    qos: Qos,
    /// PUBREC has come.
    is_released: bool,
    pub(crate) quiet_ms: u64,
}

#[derive(Debug)]
struct Published {
    by: ClientVisit,
    filter: usize,
    qos: Qos,
    /// Who had a SUBACK for it, and has not got it.
    owed: BTreeSet<ClientVisit>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    last: u64,
    published: BTreeMap<u64, Published>,
    read: BTreeSet<(ClientVisit, u64)>,
    /// The latest that somebody has read, of one publisher, filter and QoS.
    latest: BTreeMap<(ClientVisit, ClientVisit, usize, u8), u64>,
}

impl Messages {
    fn publish(&mut self, message: Published) -> u64 {
        self.last += 1;
        self.published.insert(self.last, message);
        self.last
    }

    /// Somebody reads a message. Returns the filter that it is for.
    fn read(&mut self, who: ClientVisit, number: u64) -> Result<usize, String> {
        let message = self.published.get_mut(&number).ok_or_else(|| format!("message {number} was never published"))?;
        let Published { by, filter, qos, ref mut owed } = *message;
        if !self.read.insert((who, number)) {
            return Err(format!("{who:?} gets message {number} of {by:?} twice"));
        }
        let latest = self.latest.entry((who, by, filter, qos as u8)).or_default();
        if *latest > number {
            return Err(format!("{who:?} gets message {number} of {by:?} behind {latest}"));
        }
        *latest = number;
        owed.remove(&who);
        Ok(filter)
    }

    /// Nobody is owed any more what this takes out.
    fn release(&mut self, is_over: impl Fn(&Published, ClientVisit) -> bool) {
        for message in self.published.values_mut().filter(|message| !message.owed.is_empty()) {
            let mut owed = std::mem::take(&mut message.owed);
            owed.retain(|who| !is_over(message, *who));
            message.owed = owed;
        }
    }

    /// A client does not count on a filter any more.
    pub(crate) fn unsubscribe(&mut self, who: ClientVisit, filters: &[usize]) {
        self.release(|message, owed| owed == who && filters.contains(&message.filter));
    }

    /// A client has gone.
    pub(crate) fn end_client(&mut self, who: ClientVisit) {
        self.release(|_, owed| owed == who);
    }

    /// A process has ended, with what it was told and what it had to tell.
    pub(crate) fn end_process(&mut self, boot: u64) {
        self.release(|message, owed| message.by.boot == boot || owed.boot == boot);
    }

    /// A message that somebody was to have, and has not.
    pub(crate) fn missing(&self) -> Option<String> {
        let (number, message) = self.published.iter().find(|(_, message)| !message.owed.is_empty())?;
        Some(format!("message {number} has not come to all that were to have it: {message:?}"))
    }
}

impl World {
    pub(crate) fn who(&mut self, node: usize, index: usize) -> ClientVisit {
        let process = self.process(node).expect("the caller has it");
        ClientVisit { boot: process.boot, index, connection: process.clients[index].connection.generation() }
    }

    /// A client publishes.
    pub(crate) fn publish(&mut self, node: usize, index: usize) -> Check {
        let filter = self.rng.below(self.plan.filters);
        let client = self.client(node, index);
        let (shard, version) = (client.shard, client.version);
        if is_shared(filter) || client.unsettled.len() >= UNSETTLED_MAX {
            return Ok(());
        }
        let qos = *self.rng.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
        // SUBACKs wait for what shard 0 says.
        let is_large = shard > 0 && self.plan.pipe_bytes > 1_000 && self.rng.percent(3);
        let bytes = if is_large { LARGE_BYTES } else { self.rng.below(SMALL_BYTES) };
        let (by, owed) = (self.who(node, index), self.owed(node, filter));
        self.stats.published += 1;
        self.stats.owed += owed.len() as u64;
        let number = self.messages.publish(Published { by, filter, qos, owed });
        let mut payload = number.to_le_bytes().to_vec();
        payload.resize(NUMBER_BYTES + bytes, b'x');
        let quiet_ms = self.quiet_ms;
        let client = self.client(node, index);
        let packet_id = (qos != Qos::AtMostOnce).then(|| client.packet_id());
        if let Some(packet_id) = packet_id {
            client.unsettled.push_back(Unsettled { packet_id: packet_id.get(), qos, is_released: false, quiet_ms });
        }
        let topic = topic(filter);
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic: &topic,
            packet_id,
            payload: &payload,
            topic_alias: None,
            message_expiry_s: None,
            properties: Forwarded::EMPTY,
            subscription_ids: EncodedSubscriptionIds::EMPTY,
        };
        let mut packet = Vec::new();
        publish.encode(version, &mut packet);
        self.client_says(node, index, &packet)
    }

    /// Who has a SUBACK for a filter, on members, as far as this node is one.
    fn owed(&self, node: usize, filter: usize) -> BTreeSet<ClientVisit> {
        let Self { nodes, members, .. } = self;
        let member = |node: usize| nodes[node].process.as_ref().filter(|process| members.has(node, process.boot));
        if member(node).is_none() {
            return BTreeSet::new();
        }
        let processes = (0..nodes.len()).filter_map(member);
        let of_process = |process: &Process| {
            let clients = process.clients.iter().enumerate();
            let counting = clients.filter(|(_, client)| client.given().any(|given| given == filter));
            let who = |(index, client): (usize, &Client)| ClientVisit {
                boot: process.boot,
                index,
                connection: client.connection.generation(),
            };
            counting.map(who).collect::<Vec<_>>()
        };
        processes.flat_map(of_process).collect()
    }

    /// A client reads a message.
    pub(crate) fn reads_message(
        &mut self,
        at: At,
        (index, connection): (usize, ConnectionId),
        publish: &Publish<'_>,
    ) -> Check {
        let who = ClientVisit { connection: connection.generation(), ..self.who(at.node, index) };
        let number = publish.payload.first_chunk::<NUMBER_BYTES>().map(|bytes| u64::from_le_bytes(*bytes));
        let number = number.ok_or_else(|| format!("{who:?} reads {publish:?}, which nobody has published"))?;
        let filter = self.messages.read(who, number)?;
        self.stats.read += 1;
        let client = self.client(at.node, index);
        if publish.topic != topic(filter) || !client.asked_for.contains(&filter) {
            return Err(format!("{who:?} reads message {number} on {}, and did not ask for it", publish.topic));
        }
        let kind = match publish.qos {
            Qos::AtMostOnce => return Ok(()),
            Qos::AtLeastOnce => AckKind::PubAck,
            Qos::ExactlyOnce => AckKind::PubRec,
        };
        let packet_id = publish.packet_id.ok_or("a message of QoS 1 or 2 without an identifier")?;
        self.will_answer(at.node, index, (kind, packet_id));
        Ok(())
    }

    /// A client reads an acknowledgement.
    pub(crate) fn reads_ack(&mut self, at: At, index: usize, ack: &Ack<'_>) -> Check {
        let client = self.client(at.node, index);
        if ack.reason.is_error() {
            return Err(format!("client {index} of {at:?} is told {ack:?}"));
        }
        let (id, wrong) = (ack.packet_id.get(), || format!("client {index} of {at:?} is told {ack:?} out of its turn"));
        match ack.kind {
            AckKind::PubRel => {
                self.will_answer(at.node, index, (AckKind::PubComp, ack.packet_id));
            }
            AckKind::PubComp => {
                let is_it = |one: &Unsettled| one.packet_id == id && one.is_released;
                let place = client.unsettled.iter().position(is_it).ok_or_else(wrong)?;
                client.unsettled.remove(place);
                self.stats.settled += 1;
            }
            AckKind::PubAck | AckKind::PubRec => {
                let qos = if ack.kind == AckKind::PubAck { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
                let place = client.unsettled.iter().position(|one| !one.is_released).ok_or_else(wrong)?;
                let first = &mut client.unsettled[place];
                if (first.packet_id, first.qos) != (id, qos) {
                    return Err(wrong());
                }
                if ack.kind == AckKind::PubAck {
                    client.unsettled.remove(place);
                    self.stats.settled += 1;
                } else {
                    first.is_released = true;
                    self.will_answer(at.node, index, (AckKind::PubRel, ack.packet_id));
                }
            }
        }
        Ok(())
    }

    /// A client answers what it has read, soon.
    fn will_answer(&mut self, node: usize, index: usize, (kind, packet_id): (AckKind, PacketId)) {
        let later = self.up_to(3);
        let client = self.client(node, index);
        let mut packet = Vec::new();
        encode_ack(Version::V311, kind, packet_id, ReasonCode::Success, &mut packet);
        client.answers.push_back(packet);
        self.after_of(later, node, NodeEvent::Answer(index));
    }

    /// A client says what it has to answer.
    pub(crate) fn answer(&mut self, node: usize, index: usize) -> Check {
        if self.process(node).is_none() {
            return Ok(());
        }
        let client = self.client(node, index);
        match client.answers.pop_front() {
            Some(packet) => self.client_says(node, index, &packet),
            None => Ok(()),
        }
    }
}
