//! The relay: as little as can be done with a message on this plane, in the shape of a pump.

use bytes::Bytes;
use dunlin::limits::COMPLETIONS_PER_TURN;
use dunlin::ring::{Batch, EndCause, Event, ListenConfig, Plane, PlaneConfig, ShortSend, SocketId, Token, UnderWay};
use dunlin::runtime::pump_sleep::PREEMPT_TIMER;
use glommio::{LocalExecutorBuilder, Placement};
use std::collections::HashMap;
use std::io::Write;

/// Relays until the process is killed, or whoever started it has gone and its input ends.
pub(super) fn serve(core: usize) {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let executor = LocalExecutorBuilder::new(Placement::Fixed(core))
        .io_memory(1 << 16)
        .ring_depth(64)
        .preempt_timer(PREEMPT_TIMER)
        .make()
        .expect("an executor");
    executor.run(async {
        let mut plane = Plane::new(PlaneConfig { sockets_max: 20_000, ..PlaneConfig::default() }).expect("a plane");
        let config = ListenConfig::new(([127, 0, 0, 1], 0).into());
        let (_, address) = plane.listen(&config).expect("a listener");
        println!("{address}");
        std::io::stdout().flush().expect("somebody reads this");
        let mut relay = Relay::default();
        loop {
            let mut taken = 0;
            loop {
                let before = taken;
                while let Some(event) = plane.next_event() {
                    relay.handle(&mut plane, event);
                    taken += 1;
                }
                if taken == before || taken >= COMPLETIONS_PER_TURN || !plane.collect().expect("the ring works") {
                    break;
                }
            }
            plane.accept_more();
            relay.send(&mut plane, taken < COMPLETIONS_PER_TURN);
            plane.submit().expect("the ring works");
        }
    });
}

#[derive(Default)]
struct Relay {
    connections: Vec<Connection>,
    /// Of each pair the side that has come first and waits for the other.
    waiting: HashMap<[u8; 2], u32>,
    dirty: Vec<u32>,
    starved: Vec<u32>,
}

struct Connection {
    socket: SocketId,
    /// What a connection says first: its pair in two bytes, then its side; the side is the answer.
    hello: Vec<u8>,
    partner: Option<u32>,
    outbox: Vec<u8>,
    sending: bool,
}

impl Relay {
    fn handle(&mut self, plane: &mut Plane, event: Event) {
        match event {
            Event::Accepted { socket, .. } => {
                plane.receive_multi(socket, Token::new(self.connections.len() as u32, 0));
                let connection =
                    Connection { socket, hello: Vec::new(), partner: None, outbox: Vec::new(), sending: false };
                self.connections.push(connection);
            }
            Event::Received { token, buffer, more } => {
                self.relay(token.slot, plane.bytes(&buffer));
                plane.give_back(buffer);
                if !more {
                    plane.receive_multi(self.connections[token.slot as usize].socket, token);
                }
            }
            Event::ReceiveEnded { token, cause: EndCause::OutOfBuffers } => self.starved.push(token.slot),
            Event::ReceiveEnded { token, .. } => {
                plane.close(self.connections[token.slot as usize].socket, UnderWay::Anything);
            }
            Event::Sent { token, .. } => {
                self.connections[token.slot as usize].sending = false;
                self.dirty.push(token.slot);
            }
            _ => {}
        }
    }

    fn relay(&mut self, slot: u32, bytes: &[u8]) {
        let connection = &mut self.connections[slot as usize];
        let Some(partner) = connection.partner else {
            connection.hello.extend_from_slice(bytes);
            if let [high, low, side] = connection.hello[..] {
                connection.outbox.push(side);
                self.dirty.push(slot);
                self.join([high, low], slot);
            }
            return;
        };
        let outbox = &mut self.connections[partner as usize].outbox;
        if outbox.is_empty() {
            self.dirty.push(partner);
        }
        outbox.extend_from_slice(bytes);
    }

    fn join(&mut self, pair: [u8; 2], slot: u32) {
        match self.waiting.remove(&pair) {
            Some(other) => {
                self.connections[slot as usize].partner = Some(other);
                self.connections[other as usize].partner = Some(slot);
            }
            None => drop(self.waiting.insert(pair, slot)),
        }
    }

    /// Sends, and waits in the same entry into the kernel if nothing else is to be done.
    fn send(&mut self, plane: &mut Plane, waits: bool) {
        for slot in std::mem::take(&mut self.starved) {
            plane.receive_multi(self.connections[slot as usize].socket, Token::new(slot, 0));
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
            let connection = &mut self.connections[short.token.slot as usize];
            connection.sending = true;
            let rest = Bytes::from(std::mem::take(&mut connection.outbox)).slice(short.sent..);
            plane.send_rest(connection.socket, short.token, rest);
        }
        for slot in self.dirty.drain(..) {
            self.connections[slot as usize].outbox.clear();
        }
    }
}

fn queue<'env>(batch: &mut Batch<'_, 'env>, connections: &'env [Connection], dirty: &[u32]) {
    for &slot in dirty {
        let connection = &connections[slot as usize];
        batch.send(connection.socket, Token::new(slot, 0), &connection.outbox);
    }
}
