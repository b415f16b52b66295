//! From accept to CONNECT, and to the shard that owns the client id.
//!
//! Until CONNECT has been read the broker knows nothing of a peer and gives it little: a bounded packet, a deadline, one
//! receive at a time. Then the connection moves at most once: its socket goes straight from ring to ring, its CONNECT
//! and whatever came behind it go over the mesh, and a ticket joins the two.

use std::sync::atomic::Ordering;

use super::edge::{Edge, feed_shard};
use super::table::{Connection, Phase};
use crate::codec::{ConnAck, Connect, DecodeError, ReasonCode, frame};
use crate::ids::{ConnectionId, PeerAddress, ShardId, SocketId, Ticket};
use crate::limits::CONNECT_SIZE_MAX_BYTES;
use crate::ring::Buffer;
use crate::shard::{Arrival, Effects, Input, Shard, Turn};
use crate::telemetry::CloseReason;
use crate::time::Now;

/// A connection on its way to the shard that owns its client id.
#[derive(Debug)]
pub struct Handover {
    /// Joins it with its socket.
    pub ticket: Ticket,
    /// `None` when the socket could not be sent after all.
    pub arrival: Option<Box<Moved>>,
}

/// What travels with the socket.
#[derive(Debug)]
pub struct Moved {
    /// CONNECT, and what came behind it.
    bytes: Vec<u8>,
    /// The client id that was made up for a client without one.
    assigned_client_id: Option<Box<str>>,
    anonymous: bool,
    surplus: bool,
    peer: Option<PeerAddress>,
}

/// The first byte of every CONNECT.
const CONNECT_FIRST: u8 = 0x10;

impl Edge {
    pub(super) fn greet(
        &mut self,
        now: Now,
        token: ConnectionId,
        buffer: &Buffer,
        shard: &mut Shard,
        fx: &mut Effects,
    ) {
        let Some(connection) = self.table.get_mut(token) else { return };
        let data = self.plane.bytes(buffer);
        if connection.spill.is_empty() && data.first() != Some(&CONNECT_FIRST) {
            // [MQTT-3.1.0-1] Whoever it is, it does not speak MQTT, and gets no answer that it could not read.
            self.counters.closed(CloseReason::Malformed);
            self.close(token);
            return;
        }
        // What came earlier has to lie before what came now.
        let kept = if connection.spill.is_empty() {
            None
        } else {
            connection.spill.extend(data);
            connection.spill.take()
        };
        let bytes = kept.as_deref().unwrap_or(data);
        match frame::next(bytes, CONNECT_SIZE_MAX_BYTES) {
            Ok(None) => {
                connection.spill.extend(bytes);
            }
            Ok(Some(_)) => {
                let moved = Moved {
                    bytes: bytes.to_vec(),
                    assigned_client_id: None,
                    anonymous: connection.anonymous,
                    surplus: connection.surplus,
                    peer: connection.peer,
                };
                self.settle_owner(now, token, moved, shard, fx);
            }
            Err(error) => {
                self.counters.closed(close_reason(error));
                self.close(token);
            }
        }
    }

    /// CONNECT is whole: it is refused, opened here, or sent on.
    fn settle_owner(&mut self, now: Now, token: ConnectionId, mut moved: Moved, shard: &mut Shard, fx: &mut Effects) {
        let Ok(Some((frame, _))) = frame::next(&moved.bytes, CONNECT_SIZE_MAX_BYTES) else { return };
        let client_id = match Connect::decode(frame) {
            Ok(connect) => connect.client_id,
            Err(refusal) => {
                self.counters.closed(close_reason(refusal.error));
                self.part_with(token, close_reason(refusal.error), |out| refusal.write_connack(out));
                return;
            }
        };
        let owner = if client_id.is_empty() {
            let assigned = self.assign_client_id();
            let owner = ShardId::owner_of(&assigned, self.config.shards);
            moved.assigned_client_id = Some(assigned);
            owner
        } else {
            ShardId::owner_of(client_id, self.config.shards)
        };
        let Some(connection) = self.table.get_mut(token) else { return };
        if owner == self.config.own {
            connection.phase = Phase::Open;
            self.open(now, token, &moved, shard, fx);
            return;
        }
        connection.phase = Phase::Moving;
        self.tickets += 1;
        let ticket = Ticket::new(u64::from(self.config.own.0) << 48 | self.tickets);
        self.plane.hand_over(connection.socket, ticket, &self.planes[owner.index()]);
        self.leaving.insert(ticket, (token, owner));
        self.config.arriving[owner.index()].fetch_add(1, Ordering::Relaxed);
        self.outgoing.push((owner, Handover { ticket, arrival: Some(Box::new(moved)) }));
    }

    /// A client id that no other client has [MQTT-3.2.2-16].
    fn assign_client_id(&mut self) -> Box<str> {
        self.assigned_ids += 1;
        format!("auto-{:016x}-{}-{}", self.config.instance, self.config.own.0, self.assigned_ids).into()
    }

    /// The connection is where its session is: the shard hears its CONNECT and what came behind it.
    fn open(&mut self, now: Now, token: ConnectionId, moved: &Moved, shard: &mut Shard, fx: &mut Effects) {
        let decoded = frame::next(&moved.bytes, CONNECT_SIZE_MAX_BYTES);
        let Ok(Some((frame, total))) = decoded else { unreachable!("it was whole when it was taken") };
        let Ok(mut connect) = Connect::decode(frame) else { unreachable!("it was decoded before") };
        if let Some(assigned) = &moved.assigned_client_id {
            connect.client_id = assigned;
        }
        if moved.surplus {
            self.counters.closed(CloseReason::ConnectionsFull);
            let version = connect.version;
            self.part_with(token, CloseReason::ConnectionsFull, |out| {
                let connack = ConnAck { reason: ReasonCode::QuotaExceeded, ..ConnAck::default() };
                connack.encode(version, out);
            });
            return;
        }
        let Some(connection) = self.table.get_mut(token) else { return };
        connection.version = connect.version;
        let arrival = Arrival { assigned_client_id: moved.assigned_client_id.is_some(), anonymous: moved.anonymous };
        shard.handle(&mut Turn { now, fx }, Input::Connect { connection: token, connect: &connect, arrival });
        let rest = &moved.bytes[total..];
        if !rest.is_empty() {
            let max_bytes = self.config.settings.packet_size_max_bytes;
            feed_shard(&mut Turn { now, fx }, token, connection, rest, max_bytes, shard);
        }
    }

    /// Another shard's edge sends a connection, or says that it could not.
    pub fn handle_handover(&mut self, now: Now, handover: Handover, shard: &mut Shard, fx: &mut Effects) {
        let Handover { ticket, arrival } = handover;
        let Some(moved) = arrival else {
            self.expected.remove(&ticket);
            return;
        };
        match self.adopted.remove(&ticket) {
            Some(socket) => self.adopt(now, socket, &moved, shard, fx),
            None => {
                self.expected.insert(ticket, Box::new(Handover { ticket, arrival: Some(moved) }));
            }
        }
    }

    pub(super) fn handle_adopted(
        &mut self,
        now: Now,
        ticket: Ticket,
        socket: SocketId,
        shard: &mut Shard,
        fx: &mut Effects,
    ) {
        match self.expected.remove(&ticket).and_then(|handover| handover.arrival) {
            Some(moved) => self.adopt(now, socket, &moved, shard, fx),
            None => {
                self.adopted.insert(ticket, socket);
            }
        }
    }

    fn adopt(&mut self, now: Now, socket: SocketId, moved: &Moved, shard: &mut Shard, fx: &mut Effects) {
        self.config.arriving[self.config.own.index()].fetch_sub(1, Ordering::Relaxed);
        let mut connection = Connection::new(socket, moved.anonymous);
        connection.phase = Phase::Open;
        connection.peer = moved.peer;
        let token = self.table.insert(connection);
        self.plane.receive_multi(socket, token);
        self.open(now, token, moved, shard, fx);
    }

    /// The target's table is full: the client is turned away, and the target told to expect nobody.
    pub(super) fn handle_hand_over_failed(&mut self, ticket: Ticket, socket: SocketId) {
        self.counters.closed(CloseReason::Resources);
        if let Some((token, owner)) = self.leaving.remove(&ticket) {
            self.config.arriving[owner.index()].fetch_sub(1, Ordering::Relaxed);
            if let Some(connection) = self.table.get_mut(token) {
                connection.socket = socket;
            }
            self.close(token);
        }
        for shard in 0..self.config.shards {
            let shard = ShardId(shard as u8);
            if shard != self.config.own {
                self.outgoing.push((shard, Handover { ticket, arrival: None }));
            }
        }
    }
}

/// The counter for bytes that are no CONNECT.
const fn close_reason(error: DecodeError) -> CloseReason {
    match error.reason() {
        ReasonCode::PacketTooLarge => CloseReason::PacketTooLarge,
        ReasonCode::MalformedPacket => CloseReason::Malformed,
        ReasonCode::ProtocolError => CloseReason::ProtocolError,
        _ => CloseReason::Refused,
    }
}
