//! Datagrams of three peers, through translator, connection and shard: nothing panics, strangers get no more than they sent, and what is
//! kept for a client is bounded.

#![no_main]

use std::net::SocketAddr;
use std::sync::Arc;

use dunlin::auth::Policy;
use dunlin::conn::sn::SnMessage;
use dunlin::conn::{ConnectRates, Connections, ConnectionsConfig, ListenerLayers, ShardTurn};
use dunlin::ids::ShardId;
use dunlin::settings::{ListenerKind, ListenerSettings, PredefinedTopics, Settings};
use dunlin::shard::{Effects, Input, LogStart, Places, ProcessContext, Shard, Turn};
use dunlin::telemetry::TransportCounters;
use dunlin::time::Now;
use libfuzzer_sys::fuzz_target;

struct World {
    connections: Connections,
    shard: Shard,
    fx: Effects,
    now: Now,
}

impl World {
    fn new() -> Self {
        let now = Now { mono_ns: 1_000_000_000, unix_ms: 1_700_000_000_000 };
        let settings = Settings { sys_interval_s: 0, ..Settings::default() };
        let places = Arc::new(Places::new(100, []));
        let process = ProcessContext { places, ..ProcessContext::new(settings, 1, now) };
        let mut connections = Connections::new(ConnectionsConfig {
            own: ShardId(0),
            shards: 1,
            connections_max: 100,
            connections: Arc::default(),
            rates: Arc::new(ConnectRates::none()),
            handovers: Arc::default(),
            settings: Arc::clone(&process.settings),
            instance: 1,
        });
        let sn_topics = Arc::new(PredefinedTopics::parse("1 a/b").expect("an id and a topic"));
        let (kind, policy, sn_retry_s) = (ListenerKind::MqttSn, Policy::Admit, 1);
        let listener = ListenerSettings { kind, policy, sn_topics, sn_retry_s, ..ListenerSettings::default() };
        connections.add_listener(Arc::new(listener), Arc::default(), ListenerLayers::None);
        let shard = Shard::new(ShardId(0), &process, now, LogStart::default());
        Self { connections, shard, fx: Effects::default(), now }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Connections, &mut ShardTurn<'_>) -> T) -> T {
        let turn = Turn { now: self.now, fx: &mut self.fx };
        let outcome = act(&mut self.connections, &mut ShardTurn { shard: &mut self.shard, turn });
        self.connections.apply(&self.fx);
        self.fx.clear();
        outcome
    }

    /// The end of a turn: what each peer is sent.
    fn turn(&mut self) -> [usize; 3] {
        let transport = TransportCounters::default();
        self.with(|connections, core| connections.handle_deadlines(core));
        self.with(|_, core| core.shard.handle(&mut core.turn, Input::Tick { transport: &transport }));
        let flush = self.with(|connections, core| connections.begin_flush(core));
        let mut sent = [0; 3];
        for (_, to, bytes) in self.connections.datagrams_to_send() {
            SnMessage::decode(bytes).expect("what is sent is a message");
            sent[usize::from(to.port()) - 1] += bytes.len();
        }
        self.with(|connections, core| connections.finish_flush(core, flush, std::iter::empty()));
        sent
    }
}

fuzz_target!(|input: &[u8]| {
    let mut world = World::new();
    let mut rest = input;
    // An octet says who speaks and how long the datagram is, or how much time passes.
    while let Some((&head, behind)) = rest.split_first() {
        let (who, len) = (usize::from(head >> 6), usize::from(head & 0x3f));
        rest = behind;
        world.connections.begin_turn();
        if who == 3 {
            world.now.mono_ns += (len as u64 + 1) * 500_000_000;
            world.turn();
            continue;
        }
        let (datagram, behind) = rest.split_at(len.min(rest.len()));
        rest = behind;
        let peer = SocketAddr::from(([192, 0, 2, 1], who as u16 + 1));
        let was_empty = world.connections.is_empty();
        world.with(|connections, core| connections.datagram(core, 0, peer, datagram));
        let sent = world.turn();
        if was_empty {
            assert!(sent[who] <= datagram.len(), "{datagram:?} of a stranger is answered with {} octets", sent[who]);
        }
        assert!(world.connections.len() <= 3 + 3, "an old one and a new one a peer");
    }
    for _ in 0..4 {
        world.turn();
    }
});
