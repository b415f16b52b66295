//! A shard with clients, driven as the edge drives it: bytes are cut and decoded, effects are copied into an outbox,
//! records are durable at the end of the turn. Two of them exchange what shards say to each other. No socket, no clock.

use std::sync::Arc;

use dunlin::auth::acl::parse_mosquitto;
use dunlin::auth::{Policy, Verdict};
use dunlin::codec::{
    Connect, Frame, PublishOut, Side, SubscribeFilter, SubscriptionOptions, Version, decode, encode_subscribe,
    encode_unsubscribe, frame,
};
use dunlin::ids::{ConnectionId, PacketId, Qos, ShardId};
use dunlin::settings::ListenerSettings;
use dunlin::shard::{
    Command, ConnectInfo, Effect, Effects, Input, ProcessContext, RequestId, Settings, Shard, Turn, UserNameBasis,
};
use dunlin::store::LogStart;
use dunlin::telemetry::TransportCounters;
use dunlin::time::Now;

/// Bytes of payload in a message.
const PAYLOAD: [u8; 64] = [b'x'; 64];

/// See the module's text.
pub(super) struct World {
    listener: Arc<ListenerSettings>,
    shard: Shard,
    fx: Effects,
    now: Now,
    outbox: Vec<u8>,
}

/// A client's connection.
#[derive(Clone, Copy)]
pub(super) struct Client(u32);

impl World {
    pub(super) fn new() -> Self {
        Self::of(ShardId(0), 1)
    }

    /// One shard with access rules: 500 users with 20 rules each. Its clients are all one of them.
    pub(super) fn with_rules() -> Self {
        let rule = |user: u32, n: u32| match n {
            18 => "topic readwrite p/#\n".to_owned(),
            19 => "topic readwrite out\n".to_owned(),
            n => format!("topic readwrite user-{user}/area-{n}/#\n"),
        };
        let user =
            |user: u32| format!("user user-{user}\n{}", (0..20).map(|n| rule(user, n)).collect::<Vec<_>>().concat());
        let text = (0..500).map(user).collect::<Vec<_>>().concat();
        let rules = parse_mosquitto(&text).expect("rules");
        assert_eq!(rules.len(), 10_000);
        let mut world = Self::new();
        world.listener = Arc::new(ListenerSettings { policy: Policy::Ask, ..ListenerSettings::default() });
        let command = Command::UseRules(Some(Arc::new(rules)));
        let transport = &TransportCounters::default();
        let input = Input::Command { request: RequestId(1), command, edge: transport };
        world.shard.handle(&mut Turn { now: world.now, fx: &mut world.fx }, input);
        world.fx.replies.clear();
        world
    }

    /// The two shards of a process.
    pub(super) fn two() -> [Self; 2] {
        [Self::of(ShardId(0), 2), Self::of(ShardId(1), 2)]
    }

    fn of(own: ShardId, shards: usize) -> Self {
        let now = Now { mono_ns: 1_000_000_000_000, unix_ms: 1_700_000_000_000 };
        let settings = Settings { shards, sys_interval_s: 0, ..Settings::default() };

        let shard = Shard::new(own, &ProcessContext::new(settings, 42, now), now, LogStart::default());
        let listener = Arc::new(ListenerSettings { policy: Policy::Admit, ..ListenerSettings::default() });
        Self { listener, shard, fx: Effects::default(), now, outbox: Vec::with_capacity(1 << 22) }
    }

    /// Lets two shards hear each other until neither has anything to say.
    pub(super) fn exchange(worlds: &mut [Self; 2]) {
        while worlds.iter_mut().any(|world| world.fx.mesh.batches().next().is_some()) {
            for (from, to) in [(0, 1), (1, 0)] {
                let (from_id, to_id) = (ShardId(from as u8), ShardId(to as u8));
                let mut batch = std::mem::take(worlds[from].fx.mesh.to(to_id));
                for message in batch.messages.drain(..) {
                    let input = Input::Mesh { from: from_id, message, bytes: &batch.bytes };
                    let World { shard, now, fx, .. } = &mut worlds[to];
                    shard.handle(&mut Turn { now: *now, fx }, input);
                }
                worlds[to].finish_turn();
                // Its memory goes back, as in a lane; nothing was said by it meanwhile.
                batch.clear(usize::MAX, usize::MAX);
                *worlds[from].fx.mesh.to(to_id) = batch;
            }
        }
    }

    /// Connects a client. The same `client_id` with `clean` off finds its session again.
    pub(super) fn connect(&mut self, slot: u32, client_id: &str, clean: bool) -> Client {
        let connection = ConnectionId::new(slot, 1);
        let asks = self.listener.policy == Policy::Ask;
        let username = asks.then_some("user-77");
        let connect = Connect { username, ..Connect::new(Version::V311, client_id, clean) };
        let info = ConnectInfo {
            assigned_client_id: false,
            listener_index: 0,
            peer: None,
            listener: &self.listener,
            identity: None,
            user_name: UserNameBasis::Claim,
        };
        self.shard.handle(
            &mut Turn { now: self.now, fx: &mut self.fx },
            Input::Connect { connection, connect: &connect, info },
        );
        while let Some(ask) = self.fx.asks.pop() {
            let input = Input::Verdict { ask: ask.id, verdict: Verdict::Admit };
            self.shard.handle(&mut Turn { now: self.now, fx: &mut self.fx }, input);
        }
        self.finish_turn();
        Client(slot)
    }

    /// What a client sends, in one receive. More of them may make a turn.
    pub(super) fn receive(&mut self, client: Client, mut bytes: &[u8]) {
        let connection = ConnectionId::new(client.0, 1);
        while let Ok(Some((frame, total))) = frame::next(bytes, 1 << 20) {
            bytes = &bytes[total..];
            self.handle_frame(connection, frame);
        }
        assert!(bytes.is_empty(), "only whole packets are sent");
        self.apply();
    }

    fn handle_frame(&mut self, connection: ConnectionId, frame: Frame<'_>) {
        match decode(frame, Version::V311, Side::Server) {
            Ok(packet) => {
                self.shard.handle(&mut Turn { now: self.now, fx: &mut self.fx }, Input::Packet { connection, packet });
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The socket of a client closes without a word.
    pub(super) fn close(&mut self, client: Client) {
        let connection = ConnectionId::new(client.0, 1);
        self.shard.handle(&mut Turn { now: self.now, fx: &mut self.fx }, Input::Closed { connection });
        self.finish_turn();
    }

    /// The end of a turn: what is owed is durable, what is left over goes on, outboxes are sent.
    pub(super) fn finish_turn(&mut self) {
        self.apply();
        loop {
            let position = self.fx.log.last;
            self.shard.handle(&mut Turn { now: self.now, fx: &mut self.fx }, Input::Durable { position });
            self.apply();
            self.outbox.clear();
            self.shard.handle(&mut Turn { now: self.now, fx: &mut self.fx }, Input::Flushed);
            if !self.shard.has_work() {
                return;
            }
            self.shard.handle(
                &mut Turn { now: self.now, fx: &mut self.fx },
                Input::Tick { transport: &TransportCounters::default() },
            );
            self.apply();
        }
    }

    fn apply(&mut self) {
        for effect in &self.fx.list {
            match *effect {
                Effect::Send { encoded, packet_id, .. } | Effect::SendPayload { encoded, packet_id, .. } => {
                    self.fx.copy_to(encoded, packet_id, &mut self.outbox);
                }
                Effect::Resume { .. }
                | Effect::HearAuth { .. }
                | Effect::BoundPackets { .. }
                | Effect::Hold { .. }
                | Effect::Release { .. }
                | Effect::Close { .. }
                | Effect::EndLink { .. } => {}
            }
        }
        self.fx.clear();
    }

    /// Packets that the broker has sent since the start.
    pub(super) const fn packets_sent(&self) -> u64 {
        self.shard.counters().packets_sent
    }
}

/// PUBLISH of 3.1.1 with 64 bytes of payload; the packet identifier is `id` where there is one.
pub(super) fn publish(topic: &str, qos: Qos, retain: bool, id: u16) -> Vec<u8> {
    let mut out = Vec::new();
    publish_out(topic, qos, retain, id).encode(&mut out);
    out
}

fn publish_out(topic: &str, qos: Qos, retain: bool, id: u16) -> PublishOut<'_> {
    PublishOut {
        version: Version::V311,
        topic,
        topic_alias: None,
        qos,
        dup: false,
        retain,
        packet_id: PacketId::new(id).filter(|_| qos != Qos::AtMostOnce),
        message_expiry_s: None,
        subscription_ids: &[],
        forwarded: dunlin::codec::Forwarded::EMPTY,
        payload: &PAYLOAD,
    }
}

/// One filter as a 3.1.1 client asks for it, encoded.
pub(super) fn subscribe(filter: &str, qos: Qos) -> Vec<u8> {
    subscribe_all(&[filter], qos)
}

/// SUBSCRIBE of 3.1.1 to several.
pub(super) fn subscribe_all<S: AsRef<str>>(filters: &[S], qos: Qos) -> Vec<u8> {
    let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
    let filters = filters.iter().map(|filter| SubscribeFilter { filter: filter.as_ref(), options });
    let mut out = Vec::new();
    encode_subscribe(Version::V311, PacketId::MIN, None, filters, &mut out);
    out
}

/// Many filters at once, as a 3.1.1 client gives them up, encoded.
pub(super) fn unsubscribe_all(filters: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_unsubscribe(Version::V311, PacketId::MIN, filters.iter().map(String::as_str), &mut out);
    out
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP by its first byte, for identifiers `ids`.
pub(super) fn acks(first: u8, ids: std::ops::RangeInclusive<u16>) -> Vec<u8> {
    ids.flat_map(|id| [first, 2, (id >> 8) as u8, id as u8]).collect()
}
