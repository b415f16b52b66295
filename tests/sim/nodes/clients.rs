//! Clients at the inputs of shards: they come, subscribe, unsubscribe and go; what they publish is in `messages`. A filter is a number; each has a topic of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use dunlin::auth::Policy;
use dunlin::codec::{
    Connect, Disconnect, Packet, RetainHandling, Side, SubscribeFilter, SubscriptionOptions, Version, decode,
    encode_subscribe, encode_unsubscribe, frame,
};
use dunlin::ids::{ConnectionId, PacketId, Qos, ShardId};
use dunlin::settings::ListenerSettings;
use dunlin::shard::{ConnectInfo, Input, UserNameBasis};

use super::messages::Unsettled;
use super::node::At;
use super::plan::Plan;
use super::world::{Event, World};
use crate::oracle::Check;

/// Requests of one client that are under way, at most.
const ASKED_MAX: usize = 2;

/// The number of the first client's connection: those of links are lower.
const FIRST: u32 = 10_000;
/// Between two things that clients do at the end of a run.
const CALM_MS: u64 = 50;

/// What a client may count on about a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// By this SUBSCRIBE.
    Asked(u16),
    /// SUBACK has come: whoever publishes now reaches it.
    Given,
}

/// A SUBSCRIBE that is not answered.
#[derive(Debug)]
pub(crate) struct Asked {
    packet_id: u16,
    filters: Vec<usize>,
    step: u64,
    pub(crate) quiet_ms: u64,
}

#[derive(Debug)]
pub(crate) struct Client {
    name: String,
    pub(crate) shard: usize,
    pub(crate) version: Version,
    pub(crate) connection: ConnectionId,
    is_connected: bool,
    pub(crate) wishes: BTreeMap<usize, Wish>,
    pub(crate) asked: VecDeque<Asked>,
    /// All that it has subscribed to since it came.
    pub(crate) asked_for: BTreeSet<usize>,
    pub(crate) unsettled: VecDeque<Unsettled>,
    /// Packets that it is about to send.
    pub(crate) answers: VecDeque<Vec<u8>>,
    packet_ids: u16,
}

/// Whether a filter is that of a shared subscription.
pub(crate) const fn is_shared(filter: usize) -> bool {
    filter % 11 == 3
}

fn text(filter: usize) -> String {
    match filter {
        filter if is_shared(filter) => format!("$share/g/s{filter}/+"),
        filter if filter.is_multiple_of(7) => format!("f{filter}/#"),
        filter if filter.is_multiple_of(5) => format!("f{filter}/+/y"),
        filter => format!("f{filter}/t"),
    }
}

/// What is granted for a filter is the same for all, whenever they subscribe.
fn options(filter: usize) -> SubscriptionOptions {
    let qos = [Qos::ExactlyOnce, Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::AtMostOnce][filter % 4];
    let retain_handling = RetainHandling::SendAlways;
    SubscriptionOptions { qos, no_local: false, retain_as_published: false, retain_handling }
}

/// A topic that this filter matches, and no other.
pub(crate) fn topic(filter: usize) -> String {
    match filter {
        filter if filter.is_multiple_of(7) => format!("f{filter}/x"),
        filter if filter.is_multiple_of(5) => format!("f{filter}/x/y"),
        filter => format!("f{filter}/t"),
    }
}

impl Client {
    pub(crate) fn of_node(node: usize, boot: u64, plan: &Plan) -> Vec<Self> {
        let client = |index: usize| {
            let shard = index % plan.shards;
            let owned = |name: &String| ShardId::owner_of(name, plan.shards).index() == shard;
            let name = (0..1_000_u32)
                .map(|n| format!("n{node}-{index}-{n}"))
                .find(owned)
                .expect("the hash reaches every shard");
            Self {
                name,
                shard,
                version: if (boot >> index) & 1 == 0 { Version::V5 } else { Version::V311 },
                connection: ConnectionId::new(FIRST + index as u32, 0),
                is_connected: false,
                wishes: BTreeMap::new(),
                asked: VecDeque::new(),
                asked_for: BTreeSet::new(),
                unsettled: VecDeque::new(),
                answers: VecDeque::new(),
                packet_ids: 0,
            }
        };
        (0..plan.clients).map(client).collect()
    }

    /// Nothing that was before holds.
    fn forget(&mut self) {
        self.is_connected = false;
        self.wishes.clear();
        self.asked.clear();
        self.asked_for.clear();
        self.unsettled.clear();
        self.answers.clear();
    }

    pub(crate) fn packet_id(&mut self) -> PacketId {
        self.packet_ids = self.packet_ids % 60_000 + 1;
        PacketId::new(self.packet_ids).expect("not 0")
    }

    /// Filters that it has asked for, and those that it counts on.
    pub(crate) fn given(&self) -> impl Iterator<Item = usize> {
        self.wishes.iter().filter(|(_, wish)| **wish == Wish::Given).map(|(filter, _)| *filter)
    }
}

/// A CONNECT of somebody who is let in.
pub(crate) fn connect_at(world: &mut World, at: At, connection: ConnectionId, connect: &Connect<'_>) -> Check {
    let listener = Arc::new(ListenerSettings { policy: Policy::Admit, ..ListenerSettings::default() });
    let info = ConnectInfo {
        assigned_client_id: false,
        listener_index: 0,
        peer: None,
        listener: &listener,
        identity: None,
        user_name: UserNameBasis::Claim,
    };
    world.turn(at, Input::Connect { connection, connect, info })
}

impl World {
    /// Somebody does something.
    pub(crate) fn work(&mut self) -> Check {
        let later = self.up_to(2 * self.plan.work_ms);
        self.after(if self.is_calm { later + CALM_MS } else { later }, Event::Work);
        let node = self.rng.below(self.plan.nodes);
        if self.is_resting {
            return Ok(());
        }
        if self.is_paused(node) || !self.process(node).is_some_and(|process| process.is_open) {
            return Ok(());
        }
        if self.rng.percent(20) {
            return self.audit(node);
        }
        let index = self.rng.below(self.plan.clients);
        let (dice, publishes) = (self.rng.below(100), self.rng.percent(40));
        let client = &self.process(node).expect("just seen").clients[index];
        match dice {
            _ if !client.is_connected => self.connect(node, index),
            _ if publishes => self.publish(node, index),
            0..55 if client.asked.len() < ASKED_MAX => self.subscribe(node, index),
            0..94 if !client.wishes.is_empty() => self.unsubscribe(node, index),
            94..100 => self.leave_broker(node, index),
            _ => Ok(()),
        }
    }

    pub(crate) fn client(&mut self, node: usize, index: usize) -> &mut Client {
        &mut self.process(node).expect("the caller has it").clients[index]
    }

    fn connect(&mut self, node: usize, index: usize) -> Check {
        let client = self.client(node, index);
        client.is_connected = true;
        client.connection = ConnectionId::new(FIRST + index as u32, client.connection.generation() + 1);
        let (name, version, connection, shard) = (client.name.clone(), client.version, client.connection, client.shard);
        connect_at(self, At { node, shard }, connection, &Connect::new(version, &name, true))
    }

    fn subscribe(&mut self, node: usize, index: usize) -> Check {
        let count = self.rng.between(1, self.plan.filters_at_once);
        let mut filters: Vec<usize> = (0..count).map(|_| self.rng.below(self.plan.filters)).collect();
        filters.sort_unstable();
        filters.dedup();
        let (step, quiet_ms) = (self.trace.step, self.quiet_ms);
        let client = self.client(node, index);
        let packet_id = client.packet_id();
        client.wishes.extend(filters.iter().map(|filter| (*filter, Wish::Asked(packet_id.get()))));
        client.asked_for.extend(&filters);
        let texts: Vec<(String, SubscriptionOptions)> =
            filters.iter().map(|filter| (text(*filter), options(*filter))).collect();
        let wanted = texts.iter().map(|(filter, options)| SubscribeFilter { filter, options: *options });
        let mut bytes = Vec::new();
        encode_subscribe(client.version, packet_id, None, wanted, &mut bytes);
        client.asked.push_back(Asked { packet_id: packet_id.get(), filters, step, quiet_ms });
        self.client_says(node, index, &bytes)
    }

    fn unsubscribe(&mut self, node: usize, index: usize) -> Check {
        let count = self.rng.between(1, self.plan.filters_at_once);
        let client = &self.process(node).expect("the caller has it").clients[index];
        let wishes: Vec<usize> = client.wishes.keys().copied().collect();
        let filters: Vec<usize> = (0..count).map(|_| *self.rng.pick(&wishes)).collect();
        let who = self.who(node, index);
        self.messages.unsubscribe(who, &filters);
        let client = self.client(node, index);
        client.wishes.retain(|filter, _| !filters.contains(filter));
        let texts: Vec<String> = filters.into_iter().map(text).collect();
        let packet_id = client.packet_id();
        let mut bytes = Vec::new();
        encode_unsubscribe(client.version, packet_id, texts.iter().map(String::as_str), &mut bytes);
        self.client_says(node, index, &bytes)
    }

    fn leave_broker(&mut self, node: usize, index: usize) -> Check {
        let says_so = self.rng.percent(50);
        let who = self.who(node, index);
        self.messages.end_client(who);
        let client = self.client(node, index);
        client.forget();
        let (connection, at) = (client.connection, At { node, shard: client.shard });
        let packet = Packet::Disconnect(Disconnect::default());
        self.turn(at, if says_so { Input::Packet { connection, packet } } else { Input::Closed { connection } })
    }

    pub(crate) fn client_says(&mut self, node: usize, index: usize, bytes: &[u8]) -> Check {
        let client = self.client(node, index);
        let (connection, at, version) = (client.connection, At { node, shard: client.shard }, client.version);
        let (frame, _) = frame::next(bytes, u32::MAX).expect("a packet").expect("a whole one");
        let packet = decode(frame, version, Side::Server).expect("as clients say it");
        self.turn(at, Input::Packet { connection, packet })?;
        if self.host(at).is_some_and(|host| host.fx.holds_sender) {
            return Err(format!("client {index} of {at:?} is held, and nothing is full"));
        }
        Ok(())
    }

    /// A client reads packets; those of probes nobody reads.
    pub(crate) fn client_reads(&mut self, at: At, connection: ConnectionId, bytes: &[u8]) -> Check {
        let index = (connection.slot - FIRST) as usize;
        let Some(version) =
            self.process(at.node).and_then(|process| process.clients.get(index)).map(|client| client.version)
        else {
            return Ok(());
        };
        let mut rest = bytes;
        while let Some((frame, len)) = frame::next(rest, u32::MAX).map_err(|error| format!("no packet: {error}"))? {
            let packet = decode(frame, version, Side::Client).map_err(|error| format!("a bad packet: {error}"))?;
            rest = &rest[len..];
            match packet {
                Packet::SubAck(suback) => {
                    if suback.codes().any(dunlin::codec::ReasonCode::is_error) {
                        return Err(format!("{at:?} refuses a filter: {suback:?}"));
                    }
                    self.is_subscribed(at, index, suback.packet_id.get())?;
                }
                Packet::ConnAck(connack) if !connack.reason.is_error() => {}
                Packet::UnsubAck(_) => {}
                Packet::Publish(publish) => self.reads_message(at, (index, connection), &publish)?,
                Packet::Ack(ack) => self.reads_ack(at, index, &ack)?,
                other => return Err(format!("client {index} of {at:?} never asked for {other:?}")),
            }
        }
        Ok(())
    }

    /// Whether a SUBSCRIBE is not answered, or a message not settled.
    pub(crate) fn is_somebody_waiting(&self) -> bool {
        let processes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        processes
            .flat_map(|process| &process.clients)
            .any(|client| !client.asked.is_empty() || !client.unsettled.is_empty())
    }

    fn is_subscribed(&mut self, at: At, index: usize, packet_id: u16) -> Check {
        let step = self.trace.step;
        let client = self.client(at.node, index);
        let Some(asked) = client.asked.pop_front().filter(|asked| asked.packet_id == packet_id) else {
            return Err(format!("client {index} of {at:?} is answered #{packet_id}, which has not its turn"));
        };
        let mut given = Vec::new();
        for filter in asked.filters {
            if let Some(wish) = client.wishes.get_mut(&filter).filter(|wish| **wish == Wish::Asked(packet_id)) {
                *wish = Wish::Given;
                given.push((at, filter));
            }
        }
        self.given.extend(given);
        self.stats.subacks += 1;
        self.stats.waited += u64::from(asked.step < step);
        self.trace.mix(format!("{at:?} client {index}: SUBACK #{packet_id}").as_bytes());
        Ok(())
    }
}
