//! A small broker that lies in one chosen way, on plain blocking sockets and the broker's own codec.
//!
//! It speaks MQTT 5.0, routes by plain filters, keeps no session, and gives every QoS its handshake. A lie strikes at every
//! n-th delivery, or once, and is counted, so that a test knows what must be called by its name.

use dunlin::codec::{
    Ack, AckKind, ConnAck, Connect, Forwarded, PINGRESP, Packet, Publish, PublishOut, ReasonCode, Side, Version,
    decode, encode_ack, encode_suback, frame,
};
use dunlin::ids::{PacketId, Qos};
use dunlin::topic::{SubscribedFilter, TopicName, matches};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Lie {
    /// Nothing.
    None,
    /// Nothing either, but where several of a client's subscriptions match it sends one message, at the highest QoS, instead
    /// of a copy for each. Both are allowed.
    Merge,
    /// Every n-th delivery is not made.
    Drop(u64),
    /// Every n-th delivery is made twice.
    Duplicate(u64),
    /// Every n-th delivery changes places with the next.
    Swap(u64),
    /// Every n-th delivery has one byte changed.
    Corrupt(u64),
    /// Every n-th delivery is preceded by a message that nobody of the run sent.
    Foreign(u64),
    /// At this delivery, everything stands still once.
    Stall(u64, Duration),
    /// At this delivery, all connections end and nobody is let in any more.
    Die(u64),
    /// The first n connections are closed before a word was said.
    Slam(u64),
    /// Nobody is let in.
    Refuse(ReasonCode),
    /// Every message is answered with this reason, and delivered to nobody.
    RefuseMessages(ReasonCode),
    /// Every subscription is answered with this reason.
    RefuseSubscriptions(ReasonCode),
    /// At every n-th PUBLISH the connection that it came on is closed.
    HangUp(u64),
    /// Answers with something that is no MQTT.
    Babble,
    /// No lie: CONNACK waits until SUBSCRIBE has come, and goes out in one write with SUBACK.
    LateConnack,
    /// The same, but SUBACK stands before CONNACK.
    EarlySuback,
    /// Every n-th PUBLISH is not acknowledged.
    Forget(u64),
}

/// A running liar. Its threads end with the test's process.
pub(crate) struct Liar {
    house: Arc<House>,
    /// Where it listens.
    pub address: SocketAddr,
    /// How often it lied.
    pub lies: Arc<AtomicU64>,
}

struct House {
    address: SocketAddr,
    lie: Lie,
    lies: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    subscriptions: Vec<(String, Qos, Arc<Guest>)>,
    guests: Vec<Arc<Guest>>,
    deliveries: u64,
    received: u64,
    /// Guests whose SUBSCRIBE was there when their CONNECT was read.
    pipelined: u64,
    /// Topics with a retained message. It keeps book of them and delivers none.
    retained: HashSet<String>,
    held: Option<(Arc<Guest>, Vec<u8>)>,
    dead: bool,
}

struct Guest {
    stream: TcpStream,
    next_id: Mutex<u16>,
}

impl Liar {
    /// Listens on a port of its own.
    pub(crate) fn start(lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let lies = Arc::new(AtomicU64::new(0));
        let house = Arc::new(House { address, lie, lies: Arc::clone(&lies), state: Mutex::default() });
        let door = Arc::clone(&house);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if door.lock().dead {
                    return;
                }
                if let Lie::Slam(n) = lie
                    && door.lies.load(Ordering::SeqCst) < n
                {
                    door.lies.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let house = Arc::clone(&door);
                std::thread::spawn(move || house.serve(stream));
            }
        });
        Self { house, address, lies }
    }

    /// Topics that have a retained message.
    pub(crate) fn retained(&self) -> usize {
        self.house.lock().retained.len()
    }

    /// How often SUBSCRIBE came in one piece with CONNECT.
    pub(crate) fn pipelined(&self) -> u64 {
        self.house.lock().pipelined
    }

    /// How often it lied.
    pub(crate) fn lies(&self) -> u64 {
        self.lies.load(Ordering::SeqCst)
    }
}

impl House {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let Ok(mut reading) = stream.try_clone() else { return };
        let guest = Arc::new(Guest { stream, next_id: Mutex::new(0) });
        self.lock().guests.push(Arc::clone(&guest));
        let (mut bytes, mut chunk, mut version, mut reads) = (Vec::new(), [0; 4096], None, 0);
        while let Ok(count @ 1..) = reading.read(&mut chunk) {
            reads += 1;
            bytes.extend_from_slice(&chunk[..count]);
            let mut taken = 0;
            while let Ok(Some((frame, len))) = frame::next(&bytes[taken..], 1 << 20) {
                taken += len;
                match version {
                    None => {
                        let Ok(connect) = Connect::decode(frame) else { return };
                        version = Some(connect.version);
                        if !matches!(self.lie, Lie::LateConnack | Lie::EarlySuback) {
                            self.greet(&guest, connect.version);
                        }
                    }
                    Some(version) => {
                        let Ok(packet) = decode(frame, version, Side::Server) else { return };
                        if reads == 1 && matches!(packet, Packet::Subscribe(_)) {
                            self.lock().pipelined += 1;
                        }
                        self.handle(&guest, version, &packet);
                    }
                }
            }
            bytes.drain(..taken);
        }
        self.lock().subscriptions.retain(|one| !Arc::ptr_eq(&one.2, &guest));
    }

    fn greet(&self, guest: &Guest, version: Version) {
        let mut out = Vec::new();
        match self.lie {
            Lie::Refuse(reason) => {
                ConnAck::new(reason).encode(version, &mut out);
            }
            Lie::Babble => out.extend_from_slice(b"SSH-2.0-OpenSSH\r\n"),
            _ => {
                ConnAck::new(ReasonCode::Success).encode(version, &mut out);
            }
        }
        guest.write(&out);
    }

    fn handle(&self, guest: &Arc<Guest>, version: Version, packet: &Packet<'_>) {
        let mut out = Vec::new();
        match packet {
            Packet::Subscribe(subscribe) => {
                let mut state = self.lock();
                let mut codes = Vec::new();
                for one in subscribe.filters() {
                    if let Lie::RefuseSubscriptions(reason) = self.lie {
                        self.lies.fetch_add(1, Ordering::SeqCst);
                        codes.push(reason);
                        continue;
                    }
                    state.subscriptions.push((one.filter.to_owned(), one.options.qos, Arc::clone(guest)));
                    codes.push(ReasonCode::granted(one.options.qos));
                }
                let welcome = ConnAck::new(ReasonCode::Success);
                if self.lie == Lie::LateConnack {
                    welcome.encode(version, &mut out);
                }
                encode_suback(version, subscribe.packet_id, &codes, None, &mut out);
                if self.lie == Lie::EarlySuback {
                    welcome.encode(version, &mut out);
                }
            }
            Packet::Publish(publish) => self.handle_publish(guest, version, publish, &mut out),
            Packet::Ack(Ack { kind, packet_id, .. }) => {
                let answer = match kind {
                    AckKind::PubRel => Some(AckKind::PubComp),
                    AckKind::PubRec => Some(AckKind::PubRel),
                    AckKind::PubAck | AckKind::PubComp => None,
                };
                if let Some(kind) = answer {
                    encode_ack(version, kind, *packet_id, ReasonCode::Success, &mut out);
                }
            }
            Packet::PingReq => out.extend_from_slice(&PINGRESP),
            _ => {}
        }
        guest.write(&out);
    }

    fn handle_publish(&self, guest: &Guest, version: Version, publish: &Publish<'_>, out: &mut Vec<u8>) {
        let mut state = self.lock();
        state.received += 1;
        match (publish.retain, publish.payload.is_empty()) {
            (true, false) => drop(state.retained.insert(publish.topic.to_owned())),
            (true, true) => drop(state.retained.remove(publish.topic)),
            (false, _) => {}
        }
        if let Lie::HangUp(n) = self.lie
            && state.received.is_multiple_of(n)
        {
            self.lies.fetch_add(1, Ordering::SeqCst);
            let _ = guest.stream.shutdown(std::net::Shutdown::Both);
            return;
        }
        let reason = match self.lie {
            Lie::RefuseMessages(reason) => {
                self.lies.fetch_add(1, Ordering::SeqCst);
                reason
            }
            _ => ReasonCode::Success,
        };
        let is_forgotten = matches!(self.lie, Lie::Forget(n) if state.received.is_multiple_of(n));
        if is_forgotten {
            self.lies.fetch_add(1, Ordering::SeqCst);
        } else if let Some(id) = publish.packet_id {
            let kind = if publish.qos == Qos::AtLeastOnce { AckKind::PubAck } else { AckKind::PubRec };
            encode_ack(version, kind, id, reason, out);
            guest.write(&std::mem::take(out));
        }
        if reason.is_error() {
            return;
        }
        let mut targets: Vec<(Qos, Arc<Guest>)> = state
            .subscriptions
            .iter()
            .filter(|(filter, ..)| is_matched(filter, publish.topic))
            .map(|(_, qos, guest)| (*qos, Arc::clone(guest)))
            .collect();
        if self.lie == Lie::Merge {
            targets.sort_by_key(|(qos, guest)| (Arc::as_ptr(guest), std::cmp::Reverse(*qos)));
            targets.dedup_by_key(|(_, guest)| Arc::as_ptr(guest));
        }
        for (qos, guest) in targets {
            let bytes = guest.encode(version, publish, qos.min(publish.qos), publish.payload);
            self.deliver(&mut state, version, publish, guest, bytes);
        }
    }

    fn deliver(
        &self,
        state: &mut State,
        version: Version,
        publish: &Publish<'_>,
        guest: Arc<Guest>,
        mut bytes: Vec<u8>,
    ) {
        // Connections that are about to end lose what comes last. Nothing may overtake it: that would be a lie of its own.
        if state.dead {
            return;
        }
        state.deliveries += 1;
        let at = state.deliveries;
        let every = |n: u64| at.is_multiple_of(n);
        let strikes = match self.lie {
            Lie::Drop(n) | Lie::Duplicate(n) | Lie::Swap(n) | Lie::Corrupt(n) | Lie::Foreign(n) => every(n),
            Lie::Stall(n, _) | Lie::Die(n) => at == n,
            _ => false,
        };
        if !strikes {
            guest.write(&bytes);
            if let Some((held_for, held)) = state.held.take() {
                held_for.write(&held);
            }
            return;
        }
        self.lies.fetch_add(1, Ordering::SeqCst);
        match self.lie {
            Lie::Duplicate(_) => {
                guest.write(&bytes);
                // A second message, not the first sent again: it has an identifier of its own.
                let again = guest.encode(version, publish, publish.qos, publish.payload);
                guest.write(&again);
            }
            Lie::Swap(_) => state.held = Some((guest, bytes)),
            Lie::Corrupt(_) => {
                if let Some(last) = bytes.last_mut() {
                    *last ^= 0x10;
                }
                guest.write(&bytes);
            }
            Lie::Foreign(_) => {
                let other = guest.encode(version, publish, Qos::AtMostOnce, b"temperature: 21 degrees");
                guest.write(&other);
                guest.write(&bytes);
            }
            Lie::Stall(_, time) => {
                std::thread::sleep(time);
                guest.write(&bytes);
            }
            Lie::Die(_) => {
                state.dead = true;
                let (guests, address) = (state.guests.clone(), self.address);
                std::thread::spawn(move || {
                    // The door first: it is shut when it lets nobody in any more.
                    while TcpStream::connect(address).is_ok() {
                        std::thread::yield_now();
                    }
                    for guest in guests {
                        let _ = guest.stream.shutdown(std::net::Shutdown::Both);
                    }
                });
            }
            _ => {}
        }
    }
}

impl Guest {
    fn write(&self, bytes: &[u8]) {
        // A guest that has gone is no concern of the others.
        let _ = (&self.stream).write_all(bytes);
    }

    fn encode(&self, version: Version, publish: &Publish<'_>, qos: Qos, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut next_id = self.next_id.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *next_id = next_id.checked_add(1).unwrap_or(1);
        PublishOut {
            version,
            topic: publish.topic,
            topic_alias: None,
            qos,
            dup: false,
            retain: false,
            packet_id: if qos == Qos::AtMostOnce { None } else { PacketId::new(*next_id) },
            message_expiry_s: None,
            subscription_ids: &[],
            forwarded: Forwarded::EMPTY,
            payload,
        }
        .encode(&mut out);
        out
    }
}

fn is_matched(filter: &str, topic: &str) -> bool {
    let (Ok(filter), Ok(topic)) = (SubscribedFilter::parse(filter, 32), TopicName::parse(topic, 32)) else {
        return false;
    };
    matches(filter.filter, topic)
}
