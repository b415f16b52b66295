//! An edge on real sockets, without the pump around it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::edge::{Edge, EdgeConfig, Listening};
use crate::ids::ShardId;
use crate::limits::{ACCEPT_AGAIN_MS, ACCEPTS_PER_TURN, ARRIVING_MAX};
use crate::ring::{Plane, PlaneConfig, monotonic_ns};
use crate::shard::{Effects, ProcessContext, Settings, Shard};
use crate::time::Now;

/// Generous, because the machine may be busy; no test waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(20);

/// The first of two shards, and the port it listens on.
struct Stage {
    edge: Edge,
    shard: Shard,
    arriving: Arc<[AtomicU32]>,
    address: SocketAddr,
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Now { mono_ns: monotonic_ns(), unix_ms: unix.as_millis() as u64 }
}

impl Stage {
    fn new() -> Self {
        let arriving: Arc<[AtomicU32]> = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let process = ProcessContext::new(Settings { shards: 2, ..Settings::default() }, 1, now());
        let config = EdgeConfig {
            settings: Arc::clone(&process.settings),
            own: ShardId(0),
            shards: 2,
            connect_timeout_s: 60,
            connections_max: 10_000,
            connections: Arc::default(),
            arriving: Arc::clone(&arriving),
            instance: 1,
        };
        let plane = Plane::new(PlaneConfig { sockets_max: 1_000, ..PlaneConfig::default() }).unwrap();
        let mut edge = Edge::new(config, plane);
        let listening = Listening { address: "127.0.0.1:0".parse().unwrap(), anonymous: true };
        let address = edge.listen(listening).unwrap();
        let shard = Shard::new(ShardId(0), &process, now());
        Self { edge, shard, arriving, address }
    }

    fn peers(&self, count: usize) -> Vec<TcpStream> {
        let connect = |_| {
            let mut peer = TcpStream::connect(self.address).unwrap();
            peer.write_all(&[0x10]).unwrap(); // it speaks, so that it is not left to the kernel for its silence
            peer
        };
        (0..count).map(connect).collect()
    }

    /// Turns until so many connections are there.
    fn until(&mut self, connections: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.edge.connections() < connections {
            assert!(Instant::now() < deadline, "{} of {connections} connections", self.edge.connections());
            self.turn();
        }
    }

    fn turn(&mut self) {
        let now = now();
        self.edge.plane.wait(Some(Duration::from_millis(5)), || true).unwrap();
        while let Some(event) = self.edge.plane.next_event() {
            self.edge.handle_event(now, event, &mut self.shard, &mut Effects::default());
        }
        self.edge.accept_more(now);
        self.edge.plane.submit().unwrap();
    }

    /// A turn as the pump has it, answers included.
    fn whole_turn(&mut self) {
        let (now, mut fx) = (now(), Effects::default());
        let patience = if self.edge.has_work() { Duration::ZERO } else { Duration::from_millis(5) };
        self.edge.plane.wait(Some(patience), || true).unwrap();
        self.edge.begin_turn();
        while let Some(event) = self.edge.plane.next_event() {
            self.edge.handle_event(now, event, &mut self.shard, &mut fx);
            self.carry_out(&mut fx);
        }
        while let Some(event) = self.edge.next_put_off() {
            self.edge.handle_admitted(now, event, &mut self.shard, &mut fx);
            self.carry_out(&mut fx);
        }
        self.edge.feed_starved();
        self.edge.accept_more(now);
        self.edge.flush(now, &mut self.shard, &mut fx).unwrap();
        self.carry_out(&mut fx);
    }

    fn carry_out(&mut self, fx: &mut Effects) {
        self.edge.apply(fx);
        fx.clear();
    }

    /// A client whose session is this shard's, with its CONNACK read.
    fn client(&mut self, number: u8) -> TcpStream {
        let id = (0..=u8::MAX).map(|salt| format!("{number}-{salt}")).find(|id| ShardId::owner_of(id, 2) == ShardId(0));
        let id = id.unwrap();
        let mut client = TcpStream::connect(self.address).unwrap();
        let mut connect = vec![0x10, 12 + id.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, id.len() as u8];
        connect.extend(id.as_bytes());
        client.write_all(&connect).unwrap();
        client.set_nonblocking(true).unwrap();
        let connack = self.answer::<4>(&mut client);
        assert_eq!(connack, [0x20, 2, 0, 0]);
        client
    }

    /// Turns until so many bytes have come.
    fn answer<const BYTES: usize>(&mut self, client: &mut TcpStream) -> [u8; BYTES] {
        let (mut bytes, mut count) = ([0; BYTES], 0);
        let deadline = Instant::now() + PATIENCE;
        while count < BYTES {
            assert!(Instant::now() < deadline, "{count} of {BYTES} bytes");
            self.whole_turn();
            match client.read(&mut bytes[count..]) {
                Ok(0) => panic!("closed"),
                Ok(read) => count += read,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
        bytes
    }
}

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
    stage.edge.set_paused(now(), true, &mut stage.shard, &mut Effects::default());
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
    let mut fx = Effects::default();
    stage.edge.begin_turn();
    stage.edge.set_paused(now(), false, &mut stage.shard, &mut fx);
    stage.carry_out(&mut fx);
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
        stage.whole_turn();
    }
    let mut loud = writer.join().unwrap();
    assert_eq!(stage.answer::<2>(&mut loud), PINGRESP);
    assert_eq!(stage.shard.counters().publish_received - received, messages as u64);
    assert!(stage.edge.plane.counters().out_of_buffers == 0, "others would have had no buffers");
}

#[test]
fn nobody_is_taken_in_while_another_shard_has_too_many_on_their_way_to_it() {
    let turn = usize::from(ACCEPTS_PER_TURN);
    let mut stage = Stage::new();
    stage.arriving[1].store(ARRIVING_MAX + 1, Ordering::Relaxed);
    let peers = stage.peers(turn + 40);
    stage.until(turn); // those that had been asked for before
    for _ in 0..20 {
        stage.turn();
    }
    assert_eq!(stage.edge.connections(), turn);
    let again = stage.edge.next_deadline().expect("it looks again by itself");
    assert!(again <= now().after_ms(ACCEPT_AGAIN_MS), "{again:?}");

    stage.arriving[1].store(ARRIVING_MAX, Ordering::Relaxed);
    stage.until(peers.len());
}

#[test]
fn nobody_is_taken_in_while_receiving_is_paused() {
    let turn = usize::from(ACCEPTS_PER_TURN);
    let mut stage = Stage::new();
    stage.edge.set_paused(now(), true, &mut stage.shard, &mut Effects::default());
    let peers = stage.peers(turn + 40);
    stage.until(turn);
    for _ in 0..20 {
        stage.turn();
    }
    assert_eq!(stage.edge.connections(), turn);
    stage.edge.set_paused(now(), false, &mut stage.shard, &mut Effects::default());
    stage.until(peers.len());
}

#[test]
fn a_connection_counts_as_arriving_until_its_shard_has_it_or_cannot() {
    let mut stage = Stage::new();
    let target = Plane::new(PlaneConfig { sockets_max: 1_000, ..PlaneConfig::default() }).unwrap();
    let planes = vec![stage.edge.plane.handle(), target.handle()];
    stage.edge.set_planes(planes);
    // Of ten client ids some belong to the other shard.
    let mut peers = Vec::new();
    for number in 0..10_u8 {
        let mut peer = TcpStream::connect(stage.address).unwrap();
        let connect = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'a' + number];
        peer.write_all(&connect).unwrap();
        peers.push(peer);
    }
    let owned = |id: &u8| ShardId::owner_of(std::str::from_utf8(&[*id]).unwrap(), 2) == ShardId(1);
    let moved = (b'a'..b'a' + 10).filter(owned).count();
    assert!(moved > 0, "all ten belong to one shard");
    let deadline = Instant::now() + PATIENCE;
    while stage.edge.outgoing.len() < moved {
        assert!(Instant::now() < deadline, "{} of {moved} were sent off", stage.edge.outgoing.len());
        stage.turn();
    }
    let arriving = || stage.arriving[1].load(Ordering::Relaxed) as usize;
    assert_eq!(arriving(), moved);

    // The other shard takes them in, whichever comes first, socket or message.
    let config = EdgeConfig { own: ShardId(1), ..stage.edge.config.clone() };
    let mut other = Edge::new(config, target);
    let process = ProcessContext::new(Settings { shards: 2, ..Settings::default() }, 1, now());
    let mut shard = Shard::new(ShardId(1), &process, now());
    for (_, handover) in std::mem::take(&mut stage.edge.outgoing) {
        other.handle_handover(now(), handover, &mut shard, &mut Effects::default());
    }
    while other.connections() < moved {
        assert!(Instant::now() < deadline, "{} of {moved} arrived", other.connections());
        other.plane.wait(Some(Duration::from_millis(5)), || true).unwrap();
        while let Some(event) = other.plane.next_event() {
            other.handle_event(now(), event, &mut shard, &mut Effects::default());
        }
    }
    assert_eq!(arriving(), 0);
    for peer in &mut peers {
        peer.set_nonblocking(true).unwrap();
        let error = peer.read(&mut [0]).expect_err("nobody has been sent anything, or been closed");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[test]
fn tcp_asks_whether_a_silent_client_is_still_there() {
    use rustix::net::sockopt;
    let mut stage = Stage::new();
    let _peers = stage.peers(1);
    stage.until(1);
    let socket = stage.edge.plane.as_file(crate::ids::SocketId::new(0, 0));
    let seconds = |value: u32| Duration::from_secs(value.into());
    assert!(sockopt::socket_keepalive(&socket).unwrap());
    assert_eq!(sockopt::tcp_keepidle(&socket).unwrap(), seconds(crate::limits::TCP_KEEP_ALIVE_IDLE_S));
    assert_eq!(sockopt::tcp_keepintvl(&socket).unwrap(), seconds(crate::limits::TCP_KEEP_ALIVE_INTERVAL_S));
    assert_eq!(sockopt::tcp_keepcnt(&socket).unwrap(), crate::limits::TCP_KEEP_ALIVE_PROBES);
}
