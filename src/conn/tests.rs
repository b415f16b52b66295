//! Connections without sockets: what is decided about them, event by event.

mod belonging;
mod dialling;
mod forward;
mod full;
mod held;
mod lane;
mod layered;
mod life;
mod link_handover;
#[cfg(feature = "tls")]
mod link_tls;
mod links;
mod nodes;
mod sn;
mod sources;
#[cfg(feature = "tls")]
mod tls;
mod verdict;
mod websocket;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{
    ConnectRates, Connections, ConnectionsConfig, Handover, KeptBuffer, ListenerLayers, Operation, Peer, ReceiveEnd,
    ShardTurn, ShortSent, UnderWayOn,
};
use crate::auth::Policy;
use crate::codec::{Connect, Version};
use crate::ids::{ConnectionId, ShardId, SocketId, Ticket};
use crate::limits::{ACCEPT_AGAIN_MS, DEFERRED_BUFFERS_MAX, HANDOVERS_MAX, LINGER_MS, TURN_BUDGET_BYTES};
use crate::settings::ListenerSettings;
use crate::shard::{Effects, LogStart, Places, ProcessContext, Settings, Shard, Turn};
use crate::telemetry::CloseReason;
use crate::time::Now;

const START: Now = Now { mono_ns: 1_000_000_000, unix_ms: 1_700_000_000_000 };
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PINGREQ: [u8; 2] = [0xc0, 0];
const PINGRESP: [u8; 2] = [0xd0, 0];

/// One of three shards, and its connections.
struct Stage {
    connections: Connections,
    shard: Shard,
    fx: Effects,
    now: Now,
}

impl Stage {
    /// All three. A first listener is plain, a second inverts, a third takes one connection, a fourth
    /// asks, a fifth has two layers.
    fn three(connections_max: u32) -> [Self; 3] {
        Self::among(connections_max)
    }

    /// The same with another number of shards.
    fn among<const SHARDS: usize>(connections_max: u32) -> [Self; SHARDS] {
        let handovers: Arc<[AtomicU32]> = (0..SHARDS).map(|_| AtomicU32::new(0)).collect();
        let settings = Settings { shards: SHARDS, sys_interval_s: 0, ..Settings::default() };
        let places = Arc::new(Places::new(connections_max, [1_000, 1_000, 1]));
        let process = ProcessContext { places, ..ProcessContext::new(settings, 1, START) };
        let now = START;
        let count = Arc::new(AtomicU32::new(0));
        std::array::from_fn(|own| {
            let own = own as u8;
            let mut connections = Connections::new(ConnectionsConfig {
                own: ShardId(own),
                shards: SHARDS,
                connections_max,
                connections: Arc::clone(&count),
                rates: Arc::new(ConnectRates::none()),
                handovers: Arc::clone(&handovers),
                settings: Arc::clone(&process.settings),
                instance: 1,
            });
            let settings = |policy, connections_max| {
                let defaults = ListenerSettings::default();
                Arc::new(ListenerSettings { policy, connections_max, connect_timeout_s: 10, ..defaults })
            };
            for (policy, connections_max, layers) in [
                (Policy::Admit, 1_000, ListenerLayers::None),
                (Policy::Admit, 1_000, ListenerLayers::Inverting),
                (Policy::Admit, 1, ListenerLayers::None),
                (Policy::Ask, 1_000, ListenerLayers::None),
                (Policy::Ask, 1_000, ListenerLayers::InvertingTwice),
            ] {
                connections.add_listener(settings(policy, connections_max), Arc::default(), layers);
            }
            Self {
                connections,
                shard: Shard::new(ShardId(own), &process, now, LogStart::default()),
                fx: Effects::default(),
                now,
            }
        })
    }

    fn new() -> Self {
        let [stage, ..] = Self::three(100);
        stage
    }

    /// Does something with the connections, and what follows from it.
    fn with<T>(&mut self, act: impl FnOnce(&mut Connections, &mut ShardTurn<'_>) -> T) -> T {
        let turn = Turn { now: self.now, fx: &mut self.fx };
        let outcome = act(&mut self.connections, &mut ShardTurn { shard: &mut self.shard, turn });
        self.connections.apply(&self.fx);
        self.fx.clear();
        outcome
    }

    fn operations(&mut self) -> Vec<Operation> {
        std::iter::from_fn(|| self.connections.next_operation()).collect()
    }

    fn operation(&mut self) -> Operation {
        let mut operations = self.operations();
        assert_eq!(operations.len(), 1, "{operations:?}");
        operations.remove(0)
    }

    fn accept_by(&mut self, listener: u8) -> ConnectionId {
        let now = self.now;
        self.connections.accepted(now, listener, SocketId::new(0, 7), Peer::Unknown);
        match self.operation() {
            Operation::ReceiveOnce { socket, connection } if socket == SocketId::new(0, 7) => connection,
            other => panic!("{other:?}"),
        }
    }

    fn accept(&mut self) -> ConnectionId {
        self.accept_by(0)
    }

    /// Bytes that must be read at once.
    fn receive(&mut self, id: ConnectionId, bytes: &[u8], more: bool) {
        self.connections.begin_turn();
        self.with(|connections, core| connections.received(core, id, bytes, more, || panic!("they are deferred")));
    }

    /// The end of a turn: what the sockets were given, all of it taken.
    fn flush(&mut self) -> Vec<(ConnectionId, Vec<u8>)> {
        let flush = self.with(|connections, core| connections.begin_flush(core));
        let sent =
            self.connections.sends(&flush).map(|(id, _, outbox)| (id, outbox.pieces().collect::<Vec<_>>().concat()));
        let sent = sent.collect();
        self.with(|connections, core| connections.finish_flush(core, flush, std::iter::empty()));
        sent
    }

    /// A client of this shard, with its CONNACK read.
    fn client(&mut self, name: &str) -> ConnectionId {
        let id = self.accept();
        self.receive(id, &connect_as(name, self.connections.config.own), false);
        assert!(matches!(self.operation(), Operation::Receive { connection, .. } if connection == id));
        assert_eq!(self.flush(), [(id, CONNACK.to_vec())]);
        id
    }

    /// A client whose socket has taken the first byte of a PINGRESP, and takes no more.
    fn client_that_stops_reading(&mut self) -> ConnectionId {
        let id = self.client("c");
        self.receive(id, &PINGREQ, true);
        let flush = self.with(|connections, core| connections.begin_flush(core));
        let short = ShortSent { connection: id, sent: 1, broken: false };
        self.with(|connections, core| connections.finish_flush(core, flush, [short].into_iter()));
        id
    }

    fn pass_ms(&mut self, ms: u64) {
        self.now.mono_ns += ms * 1_000_000;
        self.with(|connections, core| connections.handle_deadlines(core));
    }
}

/// CONNECT of a client that belongs to a shard.
fn connect_as(name: &str, owner: ShardId) -> Vec<u8> {
    let ids = (0..1_000).map(|salt| format!("{name}-{salt}"));
    let id = ids.into_iter().find(|id| ShardId::owner_of(id, 3) == owner).unwrap();
    let mut bytes = Vec::new();
    Connect::new(Version::V311, &id, true).encode(&mut bytes);
    bytes
}

fn handover_of(stage: &mut Stage) -> (ShardId, Handover) {
    let mut handovers: Vec<_> = stage.connections.handovers().collect();
    assert_eq!(handovers.len(), 1, "{handovers:?}");
    handovers.remove(0)
}

/// Sends CONNECT and a PINGREQ of a client of shard 1 to shard 0, and returns what follows.
fn hand_over(stage: &mut Stage, id: ConnectionId) -> (Ticket, Handover) {
    let bytes = [connect_as("c", ShardId(1)), PINGREQ.to_vec()].concat();
    stage.receive(id, &bytes, false);
    let Operation::HandOver { socket, ticket, target } = stage.operation() else { panic!("it stays") };
    assert_eq!((socket, target), (SocketId::new(0, 7), ShardId(1)));
    let (to, handover) = handover_of(stage);
    assert_eq!(to, ShardId(1));
    (ticket, handover)
}

#[test]
fn connect_may_come_in_any_pieces_and_what_is_behind_it_is_read() {
    let bytes = [connect_as("c", ShardId(0)), PINGREQ.to_vec()].concat();
    for split in 1..bytes.len() {
        let mut stage = Stage::new();
        let id = stage.accept();
        stage.receive(id, &bytes[..split], false);
        let first = stage.operation();
        stage.receive(id, &bytes[split..], false);
        assert!(matches!(stage.operations()[..], [Operation::Receive { .. }]), "split at {split}");
        let is_whole = split >= bytes.len() - PINGREQ.len();
        assert_eq!(matches!(first, Operation::ReceiveOnce { .. }), !is_whole, "split at {split}");
        assert_eq!(stage.flush(), [(id, [&CONNACK[..], &PINGRESP].concat())], "split at {split}");
    }
}

#[test]
fn who_speaks_no_mqtt_is_closed_without_an_answer_and_a_bad_connect_with_one() {
    let mut stage = Stage::new();
    let id = stage.accept();
    stage.receive(id, b"GET / HTTP/1.1", false);
    assert!(matches!(stage.operation(), Operation::Close { under_way: UnderWayOn::Receive(_), .. }));
    assert_eq!(stage.connections.counters().closes[CloseReason::Http as usize], 1);
    let refused: Vec<_> = stage.connections.refused().map(|refused| (refused.reason, refused.level)).collect();
    assert_eq!(refused, [(CloseReason::Http, None)]);
    assert_eq!(stage.connections.counters().refused_by_listener.of(0), 1);

    let id = stage.accept();
    stage.receive(id, &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 9, 2, 0, 0, 0, 0], false);
    assert!(matches!(stage.operation(), Operation::Receive { .. }), "it is read on, to see the peer's end");
    assert_eq!(stage.flush().len(), 1, "CONNACK with a code");
    assert!(matches!(stage.operation(), Operation::FinishSending { connection, .. } if connection == id));
    // The peer closes while FIN is being sent: the socket must not close before it is.
    stage.with(|connections, core| connections.receive_ended(core, id, ReceiveEnd::PeerGone));
    assert!(stage.operations().is_empty());
    stage.connections.finished(id);
    assert!(matches!(stage.operation(), Operation::Close { .. }));
    assert!(stage.connections.is_empty());
    assert_eq!(stage.connections.counters().refused_by_listener.of(0), 2);
}

#[test]
fn what_ends_is_counted_once_for_the_listener_that_it_came_by_until_that_is_another() {
    let mut stage = Stage::new();
    let counts = |stage: &Stage, listener| {
        let counters = stage.connections.counters();
        (counters.refused_by_listener.of(listener), counters.closed_by_listener.of(listener))
    };
    let (goes, leaves) = (stage.client("goes"), stage.client("leaves"));
    stage.with(|connections, core| connections.receive_ended(core, goes, ReceiveEnd::PeerGone));
    stage.receive(leaves, &[0xe0, 0], true);
    stage.flush();
    stage.operations();
    // One that says nothing, by another listener.
    let silent = stage.accept_by(2);
    stage.with(|connections, core| connections.receive_ended(core, silent, ReceiveEnd::PeerGone));
    stage.operations();
    assert_eq!((counts(&stage, 0), counts(&stage, 1), counts(&stage, 2)), ((0, 2), (0, 0), (1, 0)));
    let ends = |stage: &Stage, listener| {
        let ends: Vec<_> = stage.connections.counters().ends_by_listener.of(listener).collect();
        ends
    };
    assert_eq!(ends(&stage, 0), [(CloseReason::ClientDisconnect, 1), (CloseReason::SocketClosed, 1)]);
    assert_eq!((ends(&stage, 1), ends(&stage, 2)), (vec![], vec![(CloseReason::SocketClosed, 1)]));
    let closes: u64 = stage.shard.counters().closes.iter().sum();
    assert_eq!((closes, stage.connections.counters().closes[CloseReason::SocketClosed as usize]), (2, 1));
    let settings = Arc::new(ListenerSettings::default());
    stage.connections.replace_listener(2, settings, Arc::default(), ListenerLayers::None);
    assert!(ends(&stage, 2).is_empty());
    assert_eq!(counts(&stage, 2), (0, 0));
}

#[test]
fn who_reads_no_last_words_is_aborted_in_the_end() {
    let mut stage = Stage::new();
    let id = stage.accept();
    stage.receive(id, &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 9, 2, 0, 0, 0, 0], false);
    stage.flush();
    stage.operations();
    stage.connections.finished(id);
    stage.pass_ms(LINGER_MS - 1);
    assert!(stage.operations().is_empty(), "it has its time");
    stage.pass_ms(1);
    assert!(matches!(stage.operation(), Operation::Abort { .. }));
    assert!(stage.connections.is_empty());
}

#[test]
fn who_sends_no_connect_in_time_is_closed() {
    let mut stage = Stage::new();
    let (silent, slow) = (stage.accept(), stage.accept());
    stage.receive(slow, &[0x10, 13, 0], false);
    stage.operations();
    stage.pass_ms(9_999);
    assert_eq!(stage.connections.len(), 2);
    stage.pass_ms(1);
    let closed = stage.operations();
    assert!(matches!(closed[..], [Operation::Close { .. }, Operation::Close { .. }]), "{closed:?}");
    assert_eq!(stage.connections.counters().closes[CloseReason::ConnectTimeout as usize], 2);
    let late = connect_as("c", ShardId(0));
    for id in [silent, slow] {
        stage.receive(id, &late, false);
    }
    assert!(stage.operations().is_empty() && stage.flush().is_empty(), "completions of closed connections are nothing");
}

#[test]
fn a_connection_is_adopted_with_what_came_behind_connect_whichever_half_comes_first() {
    for message_first in [true, false] {
        let [mut source, mut target, _] = Stage::three(100);
        let id = source.accept();
        let (ticket, handover) = hand_over(&mut source, id);
        assert_eq!(source.connections.config.handovers[1].load(Ordering::Relaxed), 1);
        let socket = SocketId::new(0, 3);
        if message_first {
            target.with(|connections, core| connections.take_handover(core, handover));
            assert!(target.operations().is_empty());
            target.with(|connections, core| connections.adopted(core, ticket, socket));
        } else {
            target.with(|connections, core| connections.adopted(core, ticket, socket));
            assert!(target.operations().is_empty());
            target.with(|connections, core| connections.take_handover(core, handover));
        }
        let Operation::Receive { socket: from, connection } = target.operation() else { panic!("it is not read") };
        assert_eq!(from, socket);
        assert_eq!(target.flush(), [(connection, [&CONNACK[..], &PINGRESP].concat())]);
        source.connections.handed_over(ticket);
        assert_eq!((source.connections.len(), target.connections.len()), (0, 1));
        assert!(source.operations().is_empty(), "the socket is the other's");
        assert_eq!(source.connections.config.handovers[1].load(Ordering::Relaxed), 0);
        assert_eq!(source.connections.config.connections.load(Ordering::Relaxed), 1);
        assert_eq!(source.connections.handovers_pending() + target.connections.handovers_pending(), 0);
    }
}

#[test]
fn a_handover_that_fails_closes_the_connection_and_tells_its_owner_alone() {
    let [mut source, mut target, _] = Stage::three(100);
    let id = source.accept();
    let (ticket, handover) = hand_over(&mut source, id);
    target.with(|connections, core| connections.take_handover(core, handover));
    assert_eq!(target.connections.handovers_pending(), 1);
    source.connections.hand_over_failed(ticket, SocketId::new(0, 7));
    let closed = source.operation();
    assert!(matches!(closed, Operation::Close { socket, .. } if socket == SocketId::new(0, 7)), "{closed:?}");
    assert_eq!(source.connections.config.handovers[1].load(Ordering::Relaxed), 0);
    let (to, failed) = handover_of(&mut source);
    assert_eq!(to, ShardId(1));
    target.with(|connections, core| connections.take_handover(core, failed));
    assert_eq!((target.connections.handovers_pending(), target.connections.len()), (0, 0));
    assert_eq!(source.connections.counters().closes[CloseReason::Resources as usize], 1);
}

#[test]
fn nobody_is_accepted_while_a_shard_cannot_keep_up_or_receiving_is_paused() {
    let mut stage = Stage::new();
    let now = stage.now;
    stage.connections.config.handovers[1].store(HANDOVERS_MAX + 1, Ordering::Relaxed);
    assert!(!stage.connections.may_accept(now));
    assert_eq!(stage.connections.next_deadline(), Some(now.after_ms(ACCEPT_AGAIN_MS)), "it looks again by itself");
    stage.connections.config.handovers[1].store(HANDOVERS_MAX, Ordering::Relaxed);
    assert!(stage.connections.may_accept(now));
    stage.connections.set_paused(true);
    assert!(!stage.connections.may_accept(now));
    assert_eq!(stage.connections.next_deadline(), None);
}

#[test]
fn what_comes_while_receiving_is_paused_is_kept_and_read_in_its_order() {
    let mut stage = Stage::new();
    let id = stage.client("c");
    stage.connections.set_paused(true);
    let mut kept = 0;
    for byte in PINGREQ {
        stage.with(|connections, core| {
            connections.received(core, id, &[byte], true, || {
                kept += 1;
                KeptBuffer(kept)
            });
        });
    }
    stage.with(|connections, core| connections.receive_ended(core, id, ReceiveEnd::PeerGone));
    assert_eq!(stage.connections.next_deferred(), None);
    assert!(!stage.connections.has_work(), "a paused shard may sleep");
    stage.connections.set_paused(false);
    assert!(stage.connections.has_work());
    let mut order = Vec::new();
    while let Some(deferred) = stage.connections.next_deferred() {
        order.push(deferred.buffer());
        let bytes: &[u8] =
            deferred.buffer().map_or(&[], |KeptBuffer(number)| &PINGREQ[number as usize - 1..number as usize]);
        stage.with(|connections, core| connections.handle_deferred(core, deferred, bytes));
    }
    assert_eq!(order, [Some(KeptBuffer(1)), Some(KeptBuffer(2)), None]);
    stage.flush();
    assert!(stage.connections.is_empty(), "its end was seen last");
}

#[test]
fn a_flood_is_read_by_turns_stopped_when_too_much_waits_and_goes_on() {
    const PAGE: usize = 1024;
    let mut stage = Stage::new();
    let (loud, quiet) = (stage.client("loud"), stage.client("quiet"));
    let mut packet = vec![0x30, 62, 0, 1, b't'];
    packet.resize(64, b'x');
    let page = packet.repeat(PAGE / 64);
    let pages = TURN_BUDGET_BYTES / PAGE + DEFERRED_BUFFERS_MAX + 1;
    let mut kept = 0;
    stage.connections.begin_turn();
    for _ in 0..pages {
        stage.with(|connections, core| {
            connections.received(core, loud, &page, true, || {
                kept += 1;
                KeptBuffer(kept)
            });
        });
    }
    assert_eq!(stage.shard.counters().publish_received, (TURN_BUDGET_BYTES / 64) as u64);
    assert!(matches!(stage.operation(), Operation::StopReceiving { connection, .. } if connection == loud));
    stage.with(|connections, core| connections.receive_ended(core, loud, ReceiveEnd::Stopped));
    stage.with(|connections, core| connections.received(core, quiet, &PINGREQ, true, || panic!("it waits")));
    assert_eq!(stage.flush(), [(quiet, PINGRESP.to_vec())]);
    let mut turns = 0;
    while stage.connections.has_work() {
        stage.connections.begin_turn();
        turns += 1;
        while let Some(deferred) = stage.connections.next_deferred() {
            let bytes = if deferred.buffer().is_some() { &page[..] } else { &[] };
            stage.with(|connections, core| connections.handle_deferred(core, deferred, bytes));
        }
    }
    assert!(turns > 3, "all of it in {turns} turns");
    assert_eq!(stage.shard.counters().publish_received, (pages * PAGE / 64) as u64);
    let resumed = stage.operation();
    assert!(matches!(resumed, Operation::Receive { connection, .. } if connection == loud), "{resumed:?}");
}

#[test]
fn who_found_no_buffer_receives_again_when_there_is_one() {
    let mut stage = Stage::new();
    let id = stage.client("c");
    stage.with(|connections, core| connections.receive_ended(core, id, ReceiveEnd::OutOfBuffers));
    stage.connections.buffers_freed(|_| false);
    assert!(stage.operations().is_empty());
    stage.connections.buffers_freed(|socket| socket == SocketId::new(0, 7));
    assert!(matches!(stage.operation(), Operation::Receive { connection, .. } if connection == id));
    stage.connections.buffers_freed(|_| true);
    assert!(stage.operations().is_empty());
}

#[test]
fn what_a_socket_does_not_take_goes_first_and_a_broken_one_is_the_shards_to_know() {
    let mut stage = Stage::new();
    let id = stage.client_that_stops_reading();
    let Operation::Send { bytes, .. } = stage.operation() else { panic!("the rest is not sent") };
    assert_eq!(bytes[..], PINGRESP[1..]);
    stage.receive(id, &PINGREQ, true);
    assert!(stage.flush().is_empty(), "nothing overtakes the rest");
    stage.with(|connections, core| connections.sent(core, id, false));
    assert_eq!(stage.flush(), [(id, PINGRESP.to_vec())]);
    stage.receive(id, &PINGREQ, true);
    let flush = stage.with(|connections, core| connections.begin_flush(core));
    let short = ShortSent { connection: id, sent: 0, broken: true };
    stage.with(|connections, core| connections.finish_flush(core, flush, [short].into_iter()));
    stage.flush();
    assert!(matches!(stage.operation(), Operation::Close { .. }));
    assert_eq!(stage.shard.gauges().clients_connected, 0);
}

#[test]
fn a_broker_that_stops_closes_who_has_not_sent_connect() {
    let mut stage = Stage::new();
    stage.client("stays");
    stage.accept();
    stage.connections.close_awaiting_connect();
    assert!(matches!(stage.operation(), Operation::Close { .. }));
    assert_eq!((stage.connections.len(), stage.connections.next_deadline()), (1, None));
}

#[test]
fn a_connect_may_be_as_large_as_its_limit_and_not_a_byte_larger() {
    use crate::limits::CONNECT_SIZE_MAX_BYTES;
    // A will whose payload and whose topic make up what is missing.
    let connect = |topic_bytes: usize| {
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 6, 0, 0, 0, 1, b'c'];
        body.extend((topic_bytes as u16).to_be_bytes());
        body.extend(vec![b't'; topic_bytes]);
        body.extend([0xff, 0xff]);
        body.extend(vec![b'x'; 65_535]);
        let mut bytes = vec![0x10];
        let mut length = body.len();
        while length > 0x7f {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend(body);
        bytes
    };
    let most = CONNECT_SIZE_MAX_BYTES as usize;
    let topic_bytes = most - (connect(0).len());
    assert_eq!(connect(topic_bytes).len(), most);
    for (bytes, reason) in [(connect(topic_bytes), None), (connect(topic_bytes + 1), Some(CloseReason::PacketTooLarge))]
    {
        let mut stage = Stage::new();
        let id = stage.accept();
        for part in bytes.chunks(4_096) {
            if stage.connections.len() == 1 {
                stage.receive(id, part, false);
            }
        }
        assert_eq!(stage.connections.refused().next().map(|refused| refused.reason), reason);
    }
}

#[test]
fn no_more_outboxes_are_kept_than_are_worth_it() {
    use crate::limits::OUTBOX_POOL;
    let mut stage = Stage::new();
    stage.connections.config.connections_max = u32::MAX;
    let ids: Vec<ConnectionId> = (0..OUTBOX_POOL + 50).map(|_| stage.accept()).collect();
    for id in &ids {
        // A CONNECT that is refused has words to be sent.
        stage.receive(*id, &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 9, 2, 0, 0, 0, 0], false);
    }
    assert_eq!(stage.flush().len(), OUTBOX_POOL + 50);
    assert_eq!(stage.connections.pool.len(), OUTBOX_POOL);
}

/// A peer that stops reading: some of its bytes are under way, more is behind them, and then it is closed.
#[test]
fn a_connection_that_closes_while_its_peer_reads_nothing_lets_the_shard_sleep_and_ends_in_time() {
    let mut stage = Stage::new();
    let id = stage.client_that_stops_reading();
    assert!(matches!(stage.operation(), Operation::Send { .. }));
    stage.receive(id, &[0x30, 0], true); // malformed: it is closed
    stage.receive(id, &PINGREQ, true);
    for _ in 0..3 {
        assert!(stage.flush().is_empty(), "nothing overtakes what is under way");
        assert!(!stage.connections.has_work(), "the pump would never sleep");
    }
    stage.pass_ms(LINGER_MS);
    let aborted = stage.operation();
    assert!(matches!(aborted, Operation::Abort { under_way: UnderWayOn::Anything, .. }), "{aborted:?}");
    assert!(stage.connections.is_empty());
}

#[test]
fn last_words_behind_what_is_under_way_leave_when_the_peer_reads_again() {
    let mut stage = Stage::new();
    let id = stage.client_that_stops_reading();
    stage.operations();
    stage.receive(id, &PINGREQ, true);
    stage.receive(id, &[0x30, 0], true);
    stage.flush();
    stage.with(|connections, core| connections.sent(core, id, false));
    assert_eq!(stage.flush(), [(id, PINGRESP.to_vec())]);
    let finishing = stage.operations();
    assert!(matches!(finishing[..], [Operation::FinishSending { .. }]), "{finishing:?}");
}
