//! The relay: as little as can be done with a message on this plane, in the shape of a pump.
//!
//! Two connections are made a pair by what they say first: the pair's number, or, where clients of MQTT are to meet it, a
//! SUBSCRIBE and the first PUBLISH to the same topic. From then on bytes are passed on and not looked at.

use super::fleet::Greeting;
use bytes::Bytes;
use dunlin::codec::{
    ConnAck, Connect, Frame, Packet, PacketType, ReasonCode, Side, Version, decode, encode_suback, frame,
};
use dunlin::ids::{ConnectionId, SocketId};
use dunlin::limits::COMPLETIONS_PER_TURN;
use dunlin::ring::{EndCause, ListenConfig, Plane, PlaneConfig, SendBatch, ShortSend, SocketEvent, UnderWay};
use dunlin::runtime::PREEMPT_TIMER;
use glommio::{LocalExecutorBuilder, Placement};
use std::collections::HashMap;
use std::io::Write;

/// Longest packet of a greeting.
const GREETING_MAX_BYTES: u32 = 64 * 1024;
/// Packets of two bytes that a publisher sends besides its messages. Each comes by itself.
const NOT_TO_PASS_ON: [u8; 2] = [0xc0, 0xe0]; // PINGREQ, DISCONNECT

/// Relays on `port` (0: any) until the process is killed.
pub(super) fn serve(core: Option<usize>, port: u16, greeting: Greeting) {
    let executor = LocalExecutorBuilder::new(core.map_or(Placement::Unbound, Placement::Fixed))
        .io_memory(1 << 16)
        .ring_depth(64)
        .preempt_timer(PREEMPT_TIMER)
        .make()
        .expect("an executor");
    executor.run(async {
        let mut plane = Plane::new(PlaneConfig { sockets_max: 20_000, ..PlaneConfig::default() }).expect("a plane");
        let config = ListenConfig::new(([127, 0, 0, 1], port).into());
        let (_, address) = plane.listen(&config).expect("a listener");
        println!("{address}");
        std::io::stdout().flush().expect("somebody reads this");
        let mut relay = Relay::new(greeting);
        loop {
            relay.turn(&mut plane, true);
        }
    });
}

pub(super) struct Relay {
    greeting: Greeting,
    connections: Vec<Connection>,
    /// Of each pair the side that has come first and waits for the other: by its number, or by its topic.
    waiting: HashMap<Vec<u8>, u32>,
    dirty: Vec<u32>,
    starved: Vec<u32>,
}

struct Connection {
    socket: SocketId,
    /// What a connection says first: its pair in two bytes, then its side; the side is the answer. Or packets.
    hello: Vec<u8>,
    version: Version,
    partner: Option<u32>,
    outbox: Vec<u8>,
    sending: bool,
}

impl Relay {
    pub(super) fn new(greeting: Greeting) -> Self {
        let (connections, waiting) = (Vec::new(), HashMap::new());
        Self { greeting, connections, waiting, dirty: Vec::new(), starved: Vec::new() }
    }

    /// What there is to do, and then, if it waits, a wait for more.
    pub(super) fn turn(&mut self, plane: &mut Plane, waits: bool) {
        let mut taken = 0;
        loop {
            let before = taken;
            while let Some(event) = plane.next_event() {
                self.handle(plane, event);
                taken += 1;
            }
            if taken == before || taken >= COMPLETIONS_PER_TURN || !plane.collect().expect("the ring works") {
                break;
            }
        }
        plane.accept_more();
        self.send(plane, waits && taken < COMPLETIONS_PER_TURN);
        plane.submit().expect("the ring works");
    }

    fn handle(&mut self, plane: &mut Plane, event: SocketEvent) {
        match event {
            SocketEvent::Accepted { socket, .. } => {
                plane.receive_multi(socket, ConnectionId::new(self.connections.len() as u32, 0));
                self.connections.push(Connection {
                    socket,
                    hello: Vec::new(),
                    version: Version::default(),
                    partner: None,
                    outbox: Vec::new(),
                    sending: false,
                });
            }
            SocketEvent::Received { connection: id, buffer, more } => {
                self.relay(id.slot, plane.bytes(&buffer));
                plane.give_back(buffer);
                if !more {
                    plane.receive_multi(self.connections[id.slot as usize].socket, id);
                }
            }
            SocketEvent::ReceiveEnded { connection: id, cause: EndCause::OutOfBuffers } => self.starved.push(id.slot),
            SocketEvent::ReceiveEnded { connection: id, .. } => {
                plane.close(self.connections[id.slot as usize].socket, UnderWay::Anything);
            }
            SocketEvent::Sent { connection: id, .. } => {
                self.connections[id.slot as usize].sending = false;
                self.dirty.push(id.slot);
            }
            _ => {}
        }
    }

    fn relay(&mut self, slot: u32, bytes: &[u8]) {
        let connection = &mut self.connections[slot as usize];
        let Some(partner) = connection.partner else {
            connection.hello.extend_from_slice(bytes);
            return match self.greeting {
                Greeting::Raw => self.greet_raw(slot),
                Greeting::Mqtt => self.greet_mqtt(slot),
            };
        };
        if self.greeting == Greeting::Mqtt && matches!(bytes, [first, 0] if NOT_TO_PASS_ON.contains(first)) {
            return;
        }
        let outbox = &mut self.connections[partner as usize].outbox;
        if outbox.is_empty() {
            self.dirty.push(partner);
        }
        outbox.extend_from_slice(bytes);
    }

    fn greet_raw(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let [high, low, side] = connection.hello[..] else { return };
        connection.outbox.push(side);
        self.dirty.push(slot);
        match self.waiting.remove(&[high, low][..]) {
            Some(other) => {
                self.connections[slot as usize].partner = Some(other);
                self.connections[other as usize].partner = Some(slot);
            }
            None => drop(self.waiting.insert(vec![high, low], slot)),
        }
    }

    /// Answers CONNECT and SUBSCRIBE; from the first PUBLISH to a topic that somebody has, it is only passed on.
    fn greet_mqtt(&mut self, slot: u32) {
        let hello = std::mem::take(&mut self.connections[slot as usize].hello);
        let mut rest = &hello[..];
        while let Some((packet, len)) = frame::next(rest, GREETING_MAX_BYTES).expect("a client speaks MQTT") {
            if let Some(subscriber) = self.answer(slot, packet) {
                self.connections[slot as usize].partner = Some(subscriber);
                return self.relay(slot, rest);
            }
            rest = &rest[len..];
        }
        self.connections[slot as usize].hello = rest.to_vec();
    }

    /// Returns whom a PUBLISH is for.
    fn answer(&mut self, slot: u32, packet: Frame<'_>) -> Option<u32> {
        let connection = &mut self.connections[slot as usize];
        if packet.packet_type() == PacketType::Connect {
            connection.version = Connect::decode(packet).expect("a CONNECT").version;
            ConnAck::new(ReasonCode::Success).encode(connection.version, &mut connection.outbox);
            self.dirty.push(slot);
            return None;
        }
        match decode(packet, connection.version, Side::Server).expect("a client speaks MQTT") {
            Packet::Publish(publish) => return self.waiting.get(publish.topic.as_bytes()).copied(),
            Packet::Subscribe(subscribe) => {
                let codes: Vec<ReasonCode> = subscribe.filters().map(|_| ReasonCode::Success).collect();
                encode_suback(connection.version, subscribe.packet_id, &codes, None, &mut connection.outbox);
                self.dirty.push(slot);
                for filter in subscribe.filters() {
                    self.waiting.insert(filter.filter.as_bytes().to_vec(), slot);
                }
            }
            _ => {}
        }
        None
    }

    /// Sends, and waits in the same entry into the kernel if nothing else is to be done.
    fn send(&mut self, plane: &mut Plane, waits: bool) {
        for slot in std::mem::take(&mut self.starved) {
            plane.receive_multi(self.connections[slot as usize].socket, ConnectionId::new(slot, 0));
        }
        self.dirty.retain(|&slot| {
            let connection = &self.connections[slot as usize];
            !connection.sending && !connection.outbox.is_empty()
        });
        let (connections, dirty) = (&self.connections, &self.dirty);
        let short = if waits {
            plane.flush_and_wait(|| true, |batch| queue(batch, connections, dirty))
        } else {
            plane.flush(|batch| queue(batch, connections, dirty))
        };
        let short: Vec<ShortSend> = short.expect("the ring works").to_vec();
        for short in short.into_iter().filter(|short| short.error.is_none()) {
            let connection = &mut self.connections[short.connection.slot as usize];
            connection.sending = true;
            let rest = Bytes::from(std::mem::take(&mut connection.outbox)).slice(short.sent..);
            plane.send_rest(connection.socket, short.connection, rest);
        }
        for slot in self.dirty.drain(..) {
            self.connections[slot as usize].outbox.clear();
        }
    }
}

fn queue<'env>(batch: &mut SendBatch<'_, 'env>, connections: &'env [Connection], dirty: &[u32]) {
    for &slot in dirty {
        let connection = &connections[slot as usize];
        batch.send(connection.socket, ConnectionId::new(slot, 0), &connection.outbox);
    }
}
