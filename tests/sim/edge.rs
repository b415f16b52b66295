//! The edge's part: frames in, effects out, sockets that take only so much.

use dunlin::codec::{Connect, Packet, Side, decode, frame};
use dunlin::ids::{ConnectionId, ShardId};
use dunlin::shard::{Arrival, Effect, Effects, Input, MeshBatch, MeshMessage, Turn};
use dunlin::store::{Position, Record};
use dunlin::telemetry::CloseReason;

use crate::canary::{Canary, Fate};
use crate::conn::Owner;
use crate::oracle::{Check, ConnectAs, Tag, WILL};
use crate::world::World;

impl World {
    /// `count` bytes of a client reach the edge: whole packets become inputs of its shard.
    pub(crate) fn arrive(&mut self, index: usize, count: usize) -> Check {
        let conn = self.conns.get_mut(&index).expect("the caller has it");
        let count = count.min(conn.to_broker.len());
        let bytes: Vec<u8> = conn.to_broker.drain(..count).collect();
        if conn.closed || !conn.reads {
            return Ok(());
        }
        conn.spill.extend(bytes);
        let mut spill = std::mem::take(&mut conn.spill);
        let mut at = 0;
        while let Some(conn) = self.conns.get(&index).filter(|conn| conn.reads && !conn.closed) {
            let max_bytes = self.plan.settings.packet_size_max_bytes;
            let (cut, used) = match frame::next(&spill[at..], max_bytes) {
                Ok(None) => break,
                Ok(Some((frame, len))) => (Ok(frame), len),
                Err(error) => (Err(error), 0),
            };
            at += used;
            match (cut, conn.at) {
                (Ok(frame), None) => match Connect::decode(frame) {
                    Ok(connect) => self.hand_over(index, &connect)?,
                    Err(_) => self.close_before_connect(index),
                },
                (Err(_), None) => self.close_before_connect(index),
                (cut, Some((shard, connection))) => {
                    let decoded = cut.and_then(|frame| decode(frame, conn.version, Side::Server));
                    match decoded {
                        Ok(packet) => self.take_packet(index, shard, connection, packet)?,
                        Err(error) => {
                            self.conns.get_mut(&index).expect("still there").reads = false;
                            self.trace.note(&format!("bad packet on {index}: {error}"));
                            self.handle(shard, Input::BadPacket { connection, error })?;
                        }
                    }
                }
            }
        }
        spill.drain(..at);
        let at = self.conns.get_mut(&index).and_then(|conn| {
            conn.spill = spill;
            conn.at
        });
        match at {
            Some((shard, _)) => self.flush(shard),
            None => Ok(()),
        }
    }

    /// The edge notices that a client has dropped its connection.
    pub(crate) fn notice_drop(&mut self, index: usize) -> Check {
        let conn = self.conns.get_mut(&index).expect("the caller has it");
        if conn.closed {
            return Ok(());
        }
        self.trace.note(&format!("connection {index} is found dropped"));
        if conn.at.is_some() && self.cage.hides_loss() {
            conn.closed = true;
            return Ok(());
        }
        if let Some((shard, connection)) = conn.at {
            return self.turn(shard, Input::Closed { connection });
        }
        self.close_before_connect(index);
        Ok(())
    }

    fn close_before_connect(&mut self, index: usize) {
        let conn = self.conns.get_mut(&index).expect("still there");
        conn.closed = true;
        conn.reads = false;
    }

    /// CONNECT: to the shard that owns the client id.
    fn hand_over(&mut self, index: usize, connect: &Connect<'_>) -> Check {
        let assigned = format!("assigned-{index}");
        let mut connect = *connect;
        let assigned_client_id = connect.client_id.is_empty();
        if assigned_client_id {
            connect.client_id = &assigned;
        }
        let shard = ShardId::owner_of(connect.client_id, self.shards.len()).index();
        let slots = &mut self.slots[shard];
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.generations.push(0);
            slots.generations.len() as u32 - 1
        });
        slots.generations[slot as usize] += 1;
        let connection = ConnectionId::new(slot, slots.generations[slot as usize]);
        let conn = self.conns.get_mut(&index).expect("still there");
        conn.at = Some((shard, connection));
        conn.version = connect.version;
        self.by_name.insert((shard, connection), index);
        self.trace.note(&format!("CONNECT on {index} as {} at shard {shard}", connect.client_id));
        if let Owner::Client(client) = conn.owner {
            let will = connect.will.as_ref().map(|will| match Tag::of(will.payload) {
                Tag::Known((_, number)) => (will.delay_s, number - WILL),
                other => panic!("a will without a number: {other:?}"),
            });
            let as_asked = ConnectAs {
                version: connect.version,
                clean_start: connect.clean_start,
                expiry_s: connect.session_expiry_s.min(self.plan.settings.session_expiry_max_s),
                receive_maximum: connect.receive_maximum,
                packet_size_max_bytes: connect.maximum_packet_size_bytes,
                will,
            };
            self.oracle.begin_connect(client, index, &as_asked);
        }
        let arrival = Arrival { assigned_client_id, anonymous: true };
        let connect = Connect { receive_maximum: self.cage.receive_maximum(connect.receive_maximum), ..connect };
        self.handle(shard, Input::Connect { connection, connect: &connect, arrival })
    }

    /// A packet after CONNECT: the model first, then the shard.
    fn take_packet(&mut self, index: usize, shard: usize, connection: ConnectionId, packet: Packet<'_>) -> Check {
        let owner = self.conns[&index].owner;
        if let Owner::Client(client) = owner
            && self.oracle.sessions.get(&client).is_some_and(|session| session.conn == Some(index))
        {
            self.tell_oracle(index, client, &packet);
        }
        if self.cage.forgets_goodbye(&packet) {
            return self.handle(shard, Input::Closed { connection });
        }
        self.handle(shard, Input::Packet { connection, packet })
    }

    fn tell_oracle(&mut self, index: usize, client: usize, packet: &Packet<'_>) {
        match packet {
            Packet::Publish(publish) => {
                let topic = resolve(&mut self.aliases_in, index, publish.topic, publish.topic_alias.map(u16::from));
                self.trace.note(&format!(
                    "client {client} PUBLISH {topic} q{} {:?} dup {} retain {} {:?}",
                    publish.qos as u8,
                    publish.packet_id,
                    publish.dup,
                    publish.retain,
                    Tag::of(publish.payload)
                ));
                self.oracle.handle_publish(client, &topic, publish);
            }
            Packet::Ack(ack) => {
                self.trace.note(&format!("client {client} {:?} #{}", ack.kind, ack.packet_id));
                self.oracle.handle_ack(client, ack.kind, ack.packet_id.get(), ack.reason);
            }
            Packet::Subscribe(subscribe) => {
                self.trace.note(&format!("client {client} {subscribe:?}"));
                self.oracle.handle_subscribe(client, subscribe);
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.trace.note(&format!("client {client} {unsubscribe:?}"));
                self.oracle.handle_unsubscribe(client, unsubscribe.filters());
            }
            Packet::Disconnect(disconnect) => {
                self.trace.note(&format!("client {client} {disconnect:?}"));
                self.oracle.handle_disconnect(client, disconnect.reason, disconnect.session_expiry_s);
            }
            _ => {}
        }
    }

    /// One input and its effects.
    pub(crate) fn handle(&mut self, shard: usize, input: Input<'_>) -> Check {
        self.shards[shard].handle(&mut Turn { now: self.now, fx: &mut self.fx }, input);
        let mut fx = std::mem::take(&mut self.fx);
        for effect in &fx.list {
            let (connection, encoded, packet_id, payload) = match *effect {
                Effect::Send { connection, encoded, packet_id } => (connection, encoded, packet_id, None),
                Effect::SendPayload { connection, encoded, packet_id, payload } => {
                    (connection, encoded, packet_id, Some(payload))
                }
                Effect::Close { connection, reason } => {
                    self.close(shard, connection, reason)?;
                    continue;
                }
            };
            let mut packet = Vec::new();
            fx.copy_to(encoded, packet_id, &mut packet);
            if let Some(payload) = payload {
                packet.extend_from_slice(&fx.payloads[payload as usize]);
            }
            let Some(&index) = self.by_name.get(&(shard, connection)) else {
                return Err(format!("{} bytes for connection {connection:?}, which is closed", packet.len()));
            };
            let version = self.conns[&index].version;
            if self.cage.misdelivers(&packet)
                && let Some(&other) = self.by_name.values().find(|&&other| {
                    let conn = &self.conns[&other];
                    other != index && conn.version == version && matches!(conn.owner, Owner::Client(_))
                })
            {
                self.emit(other, &packet)?;
            }
            for packet in self.cage.pass(version, packet) {
                self.emit(index, &packet)?;
            }
        }
        self.take_mesh(shard, &mut fx);
        self.take_records(shard, &fx.records, fx.last_record);
        fx.clear();
        self.fx = fx;
        Ok(())
    }

    pub(crate) fn take_mesh(&mut self, shard: usize, fx: &mut Effects) {
        for (to, batch) in fx.mesh.batches() {
            for single in batch.singles() {
                self.send_to_shard(shard, to.index(), single);
            }
        }
    }

    /// Sends a batch of one message.
    pub(crate) fn send_to_shard(&mut self, from: usize, to: usize, mut single: MeshBatch) {
        let message = &mut single.messages[0];
        assert_ne!(from, to, "a shard sends itself no messages: {message:?}"); // the runtime has no channel for them
        match self.cage.mesh(message) {
            Fate::Sent => {}
            Fate::Lost => {
                self.trace.note(&format!("canary: mesh {from}->{to} {} is lost", crate::world::kind(message)));
                return;
            }
            Fate::Overtakes => {
                let channel = &mut self.channels[from][to];
                let last = channel.kept.back_mut().or_else(|| channel.sent.back_mut());
                if let Some(last) = last
                    && matches!(last.messages[0], MeshMessage::Publish { .. })
                {
                    std::mem::swap(last, &mut single);
                }
            }
        }
        let channel = &mut self.channels[from][to];
        if channel.kept.is_empty() && channel.sent.len() < self.plan.mesh_channel {
            channel.sent.push_back(single);
        } else {
            channel.kept.push_back(single);
        }
    }

    pub(crate) fn take_records(&mut self, shard: usize, records: &[Record<dunlin::session::Message>], last: Position) {
        let store = &mut self.stores[shard];
        for record in records {
            store.appended.0 += 1;
            match record {
                Record::SessionBegun { session, client_id, .. } => {
                    let client = self.clients.iter().position(|client| *client.plan.name == **client_id);
                    store.names.insert(session.0, client);
                }
                Record::Owed { session, message, .. } => {
                    if let Tag::Known(key) = Tag::of(message.borrow().payload)
                        && let Some(&Some(client)) = store.names.get(&session.0)
                    {
                        store.owed.push_back((store.appended, client, key));
                    }
                }
                _ => {}
            }
        }
        assert!(records.is_empty() || store.appended == last, "the shard lost count of its records");
    }

    /// A packet leaves the shard.
    fn emit(&mut self, index: usize, bytes: &[u8]) -> Check {
        let conn = self.conns.get_mut(&index).expect("it has a name");
        conn.outbox.extend_from_slice(bytes);
        self.trace.mix(bytes);
        let version = conn.version;
        let Ok(Some((frame, len))) = frame::next(bytes, u32::MAX) else {
            return Err(format!("what is sent on {index} is no packet: {bytes:02x?}"));
        };
        assert_eq!(len, bytes.len(), "an effect sends one packet");
        let packet = decode(frame, version, Side::Client).map_err(|error| format!("sent on {index}: {error}"))?;
        let Owner::Client(client) = self.conns[&index].owner else { return Ok(()) };
        let mut topic = String::new();
        if let Packet::Publish(publish) = &packet {
            topic = resolve(&mut self.aliases, index, publish.topic, publish.topic_alias.map(u16::from));
            self.trace.note(&format!(
                "to client {client}: PUBLISH {topic} q{} {:?} dup {} retain {} {:?}",
                publish.qos as u8,
                publish.packet_id,
                publish.dup,
                publish.retain,
                Tag::of(publish.payload)
            ));
        } else {
            self.trace.note(&format!("to client {client}: {packet:?}"));
        }
        self.oracle.sent(client, index, &packet, &topic, len)
    }

    fn close(&mut self, shard: usize, connection: ConnectionId, reason: CloseReason) -> Check {
        let Some(index) = self.by_name.remove(&(shard, connection)) else {
            return Err(format!("connection {connection:?} is closed twice"));
        };
        if self.cage.keeps(reason) {
            self.by_name.insert((shard, connection), index);
            return Ok(());
        }
        self.slots[shard].free.push(connection.slot);
        let conn = self.conns.get_mut(&index).expect("it had a name");
        conn.closed = true;
        self.trace.note(&format!("connection {index} of {:?} closed: {}", conn.owner, reason.label()));
        if let Owner::Client(client) = conn.owner {
            let keep_alive = self.plan.clients[client].keep_alive_s > 0;
            return self.oracle.closed(client, index, reason, keep_alive);
        }
        Ok(())
    }

    /// The end of a turn: bytes go to the sockets, and the shard is told what they did not take.
    pub(crate) fn flush(&mut self, shard: usize) -> Check {
        self.shards[shard].handle(&mut Turn { now: self.now, fx: &mut self.fx }, Input::Flushed);
        let mut told = Vec::new();
        for conn in self.conns.values_mut().filter(|conn| conn.at.is_some_and(|(at, _)| at == shard)) {
            conn.flush(self.plan.socket_bytes);
            if !conn.closed && conn.outbox.len() != conn.told_bytes {
                conn.told_bytes = conn.outbox.len();
                told.push((conn.at.expect("just seen").1, conn.told_bytes as u32));
            }
        }
        if self.cage.canary == Canary::HideBlocked {
            told.clear();
        }
        for (connection, bytes) in told {
            self.handle(shard, Input::Blocked { connection, bytes })?;
        }
        Ok(())
    }
}

/// The topic that a PUBLISH is about.
fn resolve(
    aliases: &mut std::collections::BTreeMap<(usize, u16), String>,
    conn: usize,
    topic: &str,
    alias: Option<u16>,
) -> String {
    match alias {
        Some(alias) if topic.is_empty() => aliases.get(&(conn, alias)).cloned().unwrap_or_default(),
        Some(alias) => {
            aliases.insert((conn, alias), topic.to_owned());
            topic.to_owned()
        }
        None => topic.to_owned(),
    }
}
