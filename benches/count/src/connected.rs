//! A shard with its connections, driven as `net` drives them: bytes from sockets in, outboxes for sockets out. No socket,
//! no clock; every send is taken whole.

use std::hint::black_box;
use std::sync::Arc;

use dunlin::auth::Policy;
use dunlin::codec::{Connect, Version};
use dunlin::conn::{ConnectRates, Connections, ConnectionsConfig, ListenerLayers, Operation, Peer, ShardTurn};
use dunlin::ids::{ConnectionId, Qos, ShardId, SocketId};
use dunlin::settings::ListenerSettings;
use dunlin::shard::{Effects, ProcessContext, Settings, Shard, Turn};
use dunlin::store::LogStart;
use dunlin::time::Now;

use crate::world::{publish, subscribe};

/// See the module's text.
pub(super) struct Connected {
    connections: Connections,
    shard: Shard,
    fx: Effects,
    now: Now,
    sockets: u32,
}

impl Connected {
    pub(super) fn new() -> Self {
        let now = Now { mono_ns: 1_000_000_000_000, unix_ms: 1_700_000_000_000 };
        let settings = Settings { shards: 1, sys_interval_s: 0, ..Settings::default() };
        let process = ProcessContext::new(settings, 42, now);
        let mut connections = Connections::new(ConnectionsConfig {
            own: ShardId(0),
            shards: 1,
            connections_max: 100_000,
            connections: Arc::default(),
            handovers: Arc::new([0.into()]),
            settings: Arc::clone(&process.settings),
            instance: 42,
            rates: Arc::new(ConnectRates::none()),
        });
        let listener = ListenerSettings { policy: Policy::Admit, ..ListenerSettings::default() };
        connections.add_listener(Arc::new(listener), Arc::default(), ListenerLayers::None);
        let shard = Shard::new(ShardId(0), &process, now, LogStart::default());
        Self { connections, shard, fx: Effects::default(), now, sockets: 0 }
    }

    fn apply(&mut self) {
        self.connections.apply(&self.fx);
        self.fx.clear();
    }

    /// Accepts a connection and names it.
    fn accept(&mut self) -> ConnectionId {
        self.sockets += 1;
        self.connections.accepted(self.now, 0, SocketId::new(0, self.sockets), Peer::Unknown);
        match self.connections.next_operation() {
            Some(Operation::ReceiveOnce { connection, .. }) => connection,
            other => panic!("{other:?}"),
        }
    }

    /// One buffer of a connection.
    fn receive(&mut self, connection: ConnectionId, bytes: &[u8]) {
        let turn = Turn { now: self.now, fx: &mut self.fx };
        let mut core = ShardTurn { shard: &mut self.shard, turn };
        self.connections.received(&mut core, connection, bytes, true, || panic!("it fits into the turn"));
        self.apply();
    }

    /// The end of a turn. Returns how many bytes went to sockets.
    fn finish_turn(&mut self) -> usize {
        let turn = Turn { now: self.now, fx: &mut self.fx };
        let mut core = ShardTurn { shard: &mut self.shard, turn };
        let flush = self.connections.begin_flush(&mut core);
        let sent = self.connections.sends(&flush).map(|(_, _, outbox)| black_box(outbox).len()).sum();
        self.connections.finish_flush(&mut core, flush, std::iter::empty());
        self.apply();
        while let Some(operation) = self.connections.next_operation() {
            black_box(&operation);
        }
        sent
    }

    /// Connects a client.
    fn connect(&mut self, name: &str) -> ConnectionId {
        let connection = self.accept();
        self.receive(connection, &connect(name));
        assert_eq!(self.finish_turn(), 4, "CONNACK");
        connection
    }
}

fn connect(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Connect::new(Version::V311, name, true).encode(&mut bytes);
    bytes
}

/// A turn for each message: one connection writes it, one other is written it.
pub(super) fn one_in_one_out(messages: u64) -> Box<dyn FnMut()> {
    let mut world = Connected::new();
    let subscriber = world.connect("subscriber");
    world.receive(subscriber, &subscribe("p/1", Qos::AtMostOnce));
    world.finish_turn();
    let publisher = world.connect("publisher");
    let message = publish("p/1", Qos::AtMostOnce, false, 0);
    Box::new(move || {
        for _ in 0..messages {
            world.connections.begin_turn();
            world.receive(publisher, &message);
            assert_eq!(world.finish_turn(), message.len(), "it comes out as it went in");
        }
    })
}

/// Clients that come and go: accept, CONNECT, CONNACK, DISCONNECT.
pub(super) fn come_and_go(clients: u64) -> Box<dyn FnMut()> {
    let mut world = Connected::new();
    let connects: Vec<Vec<u8>> = (0..clients).map(|number| connect(&format!("guest-{number}"))).collect();
    Box::new(move || {
        for connect in &connects {
            world.connections.begin_turn();
            let connection = world.accept();
            world.receive(connection, connect);
            assert_eq!(world.finish_turn(), 4, "CONNACK");
            world.receive(connection, &[0xe0, 0]);
            world.finish_turn();
        }
        assert!(world.connections.is_empty(), "all have gone");
        // Their CONNECTs came in time; that they might not have is forgotten.
        world.now.mono_ns += 11_000_000_000;
        let turn = Turn { now: world.now, fx: &mut world.fx };
        world.connections.handle_deadlines(&mut ShardTurn { shard: &mut world.shard, turn });
    })
}
