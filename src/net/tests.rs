//! The driver on real sockets, without the pump around it: that buffers, sends and sockets on their way to another plane go
//! where `conn` says. What it says is tested there.

mod link_tls;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant, SystemTime};

use super::edge::Edge;
use super::listener::{ListenOn, Listening};
use crate::auth::{Policy, Verdict};
use crate::cluster::{
    BootId, ClusterView, LinkNonces, LinkSecret, LinkTrust, NodeId, NodeStanding, PeerProcess, RangeCount,
};
use crate::codec::{Connect, Version};
use crate::conn::{
    ConnectRates, ConnectionsConfig, DialLayers, InputHandler, LinkTerms, LinkWord, ListenerLayers, ShardTurn,
};
use crate::ids::ShardId;
use crate::limits::LINK_DIAL_MS;
use crate::ring::{ListenConfig, Plane, PlaneConfig, monotonic_ns};
use crate::settings::{ListenerKind, ListenerSettings};
use crate::shard::{Effects, Input, LogStart, ProcessContext, Settings, Shard, Turn};
use crate::telemetry::CloseReason;
use crate::time::{Deadline, Now};

/// Generous, because the machine may be busy; no test waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(20);

/// The first of two shards, and the port it listens on.
struct Stage {
    edge: Edge,
    shard: Shard,
    fx: Effects,
    address: SocketAddr,
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Now { mono_ns: monotonic_ns(), unix_ms: unix.as_millis() as u64 }
}

/// Two shards on planes of their own.
fn two() -> [Stage; 2] {
    two_with(Policy::Admit)
}

fn two_with(policy: Policy) -> [Stage; 2] {
    two_of(1_000, |settings| settings.policy = policy)
}

/// As [`two`], with room for so many sockets each, and with other settings of their listeners.
fn two_of(sockets_max: u32, set: impl Fn(&mut ListenerSettings)) -> [Stage; 2] {
    let handovers: Arc<[AtomicU32]> = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let process = ProcessContext::new(Settings { shards: 2, sys_interval_s: 0, ..Settings::default() }, 1, now());
    let mut stages = [0, 1].map(|own| {
        let config = ConnectionsConfig {
            settings: Arc::clone(&process.settings),
            own: ShardId(own),
            shards: 2,
            connections_max: 10_000,
            connections: Arc::default(),
            rates: Arc::new(ConnectRates::none()),
            handovers: Arc::clone(&handovers),
            instance: 1,
        };
        let plane = Plane::new(PlaneConfig { sockets_max, ..PlaneConfig::default() }).unwrap();
        let mut edge = Edge::new(config, plane);
        let mut settings =
            ListenerSettings { policy: Policy::Admit, connect_timeout_s: 60, ..ListenerSettings::default() };
        set(&mut settings);
        let settings = Arc::new(settings);
        let on = ListenOn::Ip("127.0.0.1:0".parse().unwrap());
        let listening =
            edge.listen(Listening { on, settings, connections: Arc::default(), layers: ListenerLayers::None }).unwrap();
        let ListenOn::Ip(address) = listening else { panic!("{listening}") };
        let shard = Shard::new(ShardId(own), &process, now(), LogStart::default());
        Stage { edge, shard, fx: Effects::default(), address }
    });
    let planes = [stages[0].edge.handle(), stages[1].edge.handle()];
    for stage in &mut stages {
        stage.edge.set_planes(planes.to_vec());
    }
    stages
}

impl Stage {
    fn new() -> Self {
        let [stage, _] = two();
        stage
    }

    /// Does something with the edge, and what follows from it.
    fn with<T>(&mut self, act: impl FnOnce(&mut Edge, &mut ShardTurn<'_>) -> T) -> T {
        let turn = Turn { now: now(), fx: &mut self.fx };
        let outcome = act(&mut self.edge, &mut ShardTurn { shard: &mut self.shard, turn });
        self.edge.apply(&mut self.fx);
        self.fx.clear();
        outcome
    }

    /// A turn as the pump has it.
    fn turn(&mut self) {
        let patience = if self.edge.has_work() { Duration::ZERO } else { Duration::from_millis(5) };
        self.edge.plane.wait(Some(patience), || true).unwrap();
        self.edge.begin_turn();
        while self.with(Edge::take_event) {}
        while self.with(Edge::take_deferred) {}
        self.edge.receive_with_freed_buffers();
        self.edge.accept_more(now());
        self.with(Edge::flush).unwrap();
        self.edge.submit().unwrap();
    }

    /// A client whose session is the shard's of this number, with its CONNACK not read yet.
    fn peer(&self, number: u8, owner: ShardId) -> TcpStream {
        let id = (0..=u8::MAX).map(|salt| format!("{number}-{salt}")).find(|id| ShardId::owner_of(id, 2) == owner);
        let id = id.unwrap();
        let mut client = TcpStream::connect(self.address).unwrap();
        let mut connect = Vec::new();
        Connect::new(Version::V311, &id, true).encode(&mut connect);
        client.write_all(&connect).unwrap();
        client.set_nonblocking(true).unwrap();
        client
    }

    /// A client whose session is this shard's, with its CONNACK read.
    fn client(&mut self, number: u8) -> TcpStream {
        let mut client = self.peer(number, ShardId(0));
        assert_eq!(self.answer::<4>(&mut client), CONNACK);
        client
    }

    /// Turns until so many bytes have come.
    fn answer<const BYTES: usize>(&mut self, client: &mut TcpStream) -> [u8; BYTES] {
        let (mut bytes, mut count) = ([0; BYTES], 0);
        let deadline = Instant::now() + PATIENCE;
        while count < BYTES {
            assert!(Instant::now() < deadline, "{count} of {BYTES} bytes");
            self.turn();
            match client.read(&mut bytes[count..]) {
                Ok(0) => panic!("closed"),
                Ok(read) => count += read,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
        bytes
    }
}

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PINGREQ: [u8; 2] = [0xc0, 0];
const PINGRESP: [u8; 2] = [0xd0, 0];

/// So many PUBLISH packets of 64 bytes to a topic that nobody listens to, and a PINGREQ.
fn flood(messages: usize) -> Vec<u8> {
    let mut packet = vec![0x30, 62, 0, 1, b't'];
    packet.resize(64, b'x');
    let mut bytes = packet.repeat(messages);
    bytes.extend(PINGREQ);
    bytes
}

#[test]
fn who_writes_much_at_once_is_handled_in_shares_and_others_in_between() {
    let mut stage = Stage::new();
    let (mut loud, mut quiet) = (stage.client(1), stage.client(2));
    // All of it has come before any of it is handled.
    stage.edge.set_paused(true);
    let bytes = flood(2_000);
    loud.set_nonblocking(false).unwrap();
    loud.write_all(&bytes).unwrap();
    let before = stage.edge.plane.counters().completions;
    let deadline = Instant::now() + PATIENCE;
    while stage.edge.plane.counters().completions < before + bytes.len() as u64 / 4096 {
        assert!(Instant::now() < deadline, "the flood has not come");
        stage.turn();
    }
    quiet.write_all(&PINGREQ).unwrap();
    for _ in 0..3 {
        stage.turn();
    }
    let received = stage.shard.counters().publish_received;
    stage.edge.set_paused(false);
    assert_eq!(stage.answer::<2>(&mut quiet), PINGRESP);
    let handled = stage.shard.counters().publish_received - received;
    assert!((1..2_000).contains(&handled), "{handled} messages of the flood were handled before the other's PINGREQ");
    loud.set_nonblocking(true).unwrap();
    assert_eq!(stage.answer::<2>(&mut loud), PINGRESP, "what came last is handled last");
    assert_eq!(stage.shard.counters().publish_received - received, 2_000);
}

#[test]
fn nothing_of_a_flood_that_is_stopped_and_goes_on_is_lost() {
    let mut stage = Stage::new();
    let mut loud = stage.client(1);
    let received = stage.shard.counters().publish_received;
    let messages = 100_000;
    let bytes = flood(messages);
    let writer = std::thread::spawn(move || {
        loud.set_nonblocking(false).unwrap();
        loud.write_all(&bytes).unwrap();
        loud.set_nonblocking(true).unwrap();
        loud
    });
    let deadline = Instant::now() + PATIENCE;
    while !writer.is_finished() {
        assert!(Instant::now() < deadline, "the flood does not end");
        stage.turn();
    }
    let mut loud = writer.join().unwrap();
    assert_eq!(stage.answer::<2>(&mut loud), PINGRESP);
    assert_eq!(stage.shard.counters().publish_received - received, messages as u64);
    assert!(stage.edge.plane.counters().out_of_buffers == 0, "others would have had no buffers");
}

#[test]
fn a_client_of_the_other_shard_is_answered_there_whichever_comes_first() {
    for message_first in [true, false] {
        let [mut first, mut second] = two();
        let mut client = first.peer(1, ShardId(1));
        let deadline = Instant::now() + PATIENCE;
        let handover = loop {
            assert!(Instant::now() < deadline, "nothing is handed over");
            first.turn();
            let handover = first.edge.handovers().next();
            if let Some((to, handover)) = handover {
                assert_eq!(to, ShardId(1));
                break handover;
            }
        };
        if message_first {
            second.with(|edge, core| edge.take_handover(core, handover));
            assert_eq!(second.edge.connections(), 0, "the socket has not come");
        } else {
            for _ in 0..3 {
                second.turn();
            }
            assert_eq!(second.edge.connections(), 0, "the message has not come");
            second.with(|edge, core| edge.take_handover(core, handover));
        }
        assert_eq!(second.answer::<4>(&mut client), CONNACK);
        assert_eq!(second.edge.connections(), 1);
        first.turn();
        assert_eq!(first.edge.connections(), 0);
    }
}

#[test]
fn a_client_that_waits_for_a_verdict_is_heard_when_it_is_let_in() {
    let [mut stage, _] = two_with(Policy::Ask);
    let mut client = stage.peer(1, ShardId(0));
    client.write_all(&PINGREQ).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let ask = loop {
        assert!(Instant::now() < deadline, "nobody asks");
        stage.turn();
        if let Some(ask) = stage.fx.asks.pop() {
            break ask.id;
        }
    };
    // A shard that waits goes on with what others send, and this client says more than may be kept.
    client.set_nonblocking(false).unwrap();
    client.write_all(&PINGREQ.repeat(10_000)).unwrap();
    client.set_nonblocking(true).unwrap();
    for _ in 0..5 {
        stage.turn();
    }
    assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "it is not answered");
    stage.with(|_, core| core.handle(Input::Verdict { ask, verdict: Verdict::Admit }));
    assert_eq!(stage.answer::<4>(&mut client), CONNACK);
    let answers = stage.answer::<20_002>(&mut client);
    assert!(answers.chunks(2).all(|answer| answer == PINGRESP), "everything is heard, in its order");
}

#[test]
fn tcp_asks_whether_a_silent_client_is_still_there() {
    use rustix::net::sockopt;
    let mut stage = Stage::new();
    let _client = stage.client(1);
    let socket = stage.edge.plane.as_file(crate::ids::SocketId::new(0, 0));
    let seconds = |value: u32| Duration::from_secs(value.into());
    assert!(sockopt::socket_keepalive(&socket).unwrap());
    assert_eq!(sockopt::tcp_keepidle(&socket).unwrap(), seconds(crate::limits::TCP_KEEPALIVE_IDLE_DEFAULT_S.into()));
    assert_eq!(
        sockopt::tcp_keepintvl(&socket).unwrap(),
        seconds(crate::limits::TCP_KEEPALIVE_INTERVAL_DEFAULT_S.into())
    );
    assert_eq!(sockopt::tcp_keepcnt(&socket).unwrap(), u32::from(crate::limits::TCP_KEEPALIVE_COUNT_DEFAULT));
}

#[test]
fn a_connection_breaks_as_soon_as_the_listener_says() {
    for (timeout_s, expected_ms) in [(90, 90_000), (0, 0)] {
        let [mut stage, _] = two_of(1_000, |settings| settings.tcp_user_timeout_s = timeout_s);
        let _client = stage.client(1);
        let socket = stage.edge.plane.as_file(crate::ids::SocketId::new(0, 0));
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&socket).unwrap(), expected_ms, "{timeout_s} s");
    }
}

#[test]
fn that_connections_were_lost_does_not_keep_it_from_being_told_that_there_is_no_room() {
    let [mut stage, _] = two_of(4, |_| ());
    let _clients: Vec<TcpStream> = (0..4).map(|number| stage.client(number)).collect();
    stage.turn();
    let now = now();
    assert!(!stage.edge.next_room_report.is_due(now), "it was told when the last of them came");
    stage.edge.next_room_report = Deadline(0);
    stage.edge.report_accept_failed(now, libc::ENFILE);
    assert!(!stage.edge.next_accept_report.is_due(now), "it is not told again at once");
    assert!(stage.edge.next_room_report.is_due(now));
    stage.edge.accept_more(now);
    assert!(!stage.edge.next_room_report.is_due(now), "this has been told as well");
}

/// A shard of a node that knows a secret, which accepts links, and where.
fn node(number: u16) -> (Stage, SocketAddr) {
    let trust = LinkTrust::Secret(LinkSecret::new(b"sixteen bytes, or more").unwrap());
    node_by(number, trust, ListenerLayers::None, DialLayers::None)
}

/// The same with another way to know others.
fn node_by(number: u16, trust: LinkTrust, layers: ListenerLayers, dials: DialLayers) -> (Stage, SocketAddr) {
    let [mut stage, _] = two();
    let settings = ListenerSettings { kind: ListenerKind::Cluster, ..ListenerSettings::default() };
    let on = ListenOn::Ip("127.0.0.1:0".parse().unwrap());
    let settings = Arc::new(settings);
    let listening = stage.edge.listen(Listening { on, settings, connections: Arc::default(), layers }).unwrap();
    let ListenOn::Ip(address) = listening else { panic!("{listening}") };
    stage.edge.use_links(LinkTerms {
        trust,
        dials,
        cluster: "fleet".into(),
        node: NodeId::new(number),
        boot: BootId(number.into()),
        nonces: LinkNonces::new([number as u8; 32]),
    });
    (stage, address)
}

/// A view with nodes from this number on, that have their links there.
fn view(first: u16, at: &[SocketAddr]) -> Arc<ClusterView> {
    let peer = |(number, at): (u16, &SocketAddr)| PeerProcess {
        node: NodeId::new(number).unwrap(),
        boot: BootId(number.into()),
        slot: ShardId(number as u8 + 2),
        at: *at,
        name: format!("node-{number}"),
        server: None,
    };
    Arc::new(ClusterView {
        epoch: 1,
        ranges: RangeCount::new(12).unwrap(),
        owners: Box::default(),
        peers: (first..).zip(at).map(peer).collect(),
        standing: NodeStanding::Serves,
    })
}

impl Stage {
    /// It is the first node, and dials others.
    fn dial(&mut self, to: &[SocketAddr]) {
        self.edge.use_view(now(), NodeId::new(1), view(2, to));
        self.with(Edge::handle_deadlines);
    }

    fn ends(&self, reason: CloseReason) -> u64 {
        self.edge.counters().closes[reason as usize]
    }
}

#[test]
fn nodes_link_to_each_other_over_real_sockets() {
    let ((mut first, first_at), (mut second, second_at)) = (node(1), node(2));
    second.edge.use_view(now(), NodeId::new(2), view(1, &[first_at]));
    second.with(Edge::handle_deadlines);
    first.dial(&[second_at]);
    let deadline = Instant::now() + PATIENCE;
    let mut linked = [false; 2];
    while linked != [true; 2] {
        assert!(Instant::now() < deadline, "they do not get to know each other");
        for (stage, linked) in [&mut first, &mut second].into_iter().zip(&mut linked) {
            stage.turn();
            *linked |= stage.edge.link_news().iter().any(|news| news.word == LinkWord::Linked);
        }
    }
    assert_eq!((first.edge.connections(), second.edge.connections()), (2, 2), "one each way");
    // One node goes, and the other hears of it.
    first.edge.close_awaiting_connect();
    while second.edge.connections() > 0 {
        assert!(Instant::now() < deadline, "it does not hear of the end");
        first.turn();
        second.turn();
    }
    assert_eq!((second.ends(CloseReason::LinkClosed), first.edge.plane.sockets()), (2, 0));
}

#[test]
fn a_dial_that_is_refused_leaves_nothing_behind() {
    let (mut stage, _) = node(1);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    stage.dial(&[nobody]);
    let deadline = Instant::now() + PATIENCE;
    while stage.edge.connections() > 0 {
        assert!(Instant::now() < deadline, "it is not refused");
        stage.turn();
    }
    assert_eq!((stage.ends(CloseReason::LinkUnreachable), stage.edge.plane.sockets()), (1, 0));
    assert!(stage.edge.dialling.is_empty());
}

#[test]
fn a_dial_without_an_answer_is_given_up() {
    // A full backlog: the kernel drops the handshakes of whoever comes next.
    let config = ListenConfig { backlog: 0, ..ListenConfig::new("127.0.0.1:0".parse().unwrap()) };
    let (silent, to) = config.open().unwrap();
    let (mut stage, _) = node(1);
    stage.dial(&[to; 4]);
    for _ in 0..5 {
        stage.turn();
    }
    let waiting = stage.edge.dialling.len();
    assert!((1..4).contains(&waiting), "{waiting} of 4 wait");
    let later = Now { mono_ns: now().mono_ns + LINK_DIAL_MS * 1_000_000, ..now() };
    let turn = Turn { now: later, fx: &mut stage.fx };
    stage.edge.handle_deadlines(&mut ShardTurn { shard: &mut stage.shard, turn });
    assert!(stage.edge.dialling.is_empty() && stage.ends(CloseReason::LinkUnreachable) == waiting as u64);
    for _ in 0..5 {
        stage.turn(); // what the system says of them comes late
    }
    assert_eq!(stage.edge.connections(), 4 - waiting);
    assert_eq!(stage.edge.plane.sockets() as usize, 4 - waiting);
    drop(silent);
}
