//! What the shards are told and what they say: the model hears it first, canaries change it, and what is left goes on.

use dunlin::auth::Policy;
use dunlin::codec::{Connect, Packet, Side, decode, frame};
use dunlin::conn::InputHandler;
use dunlin::ids::{ConnectionId, PacketId, Qos};
use dunlin::shard::{ConnectInfo, Effect, Effects, Input, MeshBatch, MeshMessage, Turn};
use dunlin::telemetry::CloseReason;
use dunlin::time::Now;

use crate::canary::{Canary, Fate};
use crate::conn::Owner;
use crate::oracle::{Check, ConnectAs, Tag, WILL};
use crate::world::World;

/// A shard as its connections see it.
pub(crate) struct Told<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) shard: usize,
    /// What the model found wrong first.
    pub(crate) failed: Check,
}

impl InputHandler for Told<'_> {
    fn now(&self) -> Now {
        self.world.now
    }

    fn is_full_for(&self, client_id: &str, listener: u8) -> bool {
        let is_full = self.world.shards[self.shard].is_full_for(client_id, listener);
        if is_full && let Some(index) = self.world.adopting.or(self.world.receiving) {
            let key = (self.shard, listener, client_id.to_owned());
            self.world.awaiting_place.borrow_mut().entry(key).or_default().push_back(index);
        }
        is_full
    }

    fn handle(&mut self, input: Input<'_>) {
        if self.failed.is_ok() {
            self.failed = self.world.take_input(self.shard, input);
        }
    }

    fn has_asked_about(&self, connection: ConnectionId) -> bool {
        let has_asked = self.world.authenticator.last == Some((self.shard, connection));
        has_asked && self.world.cage.canary != Canary::HearTooEarly
    }

    fn holds_sender(&mut self) -> bool {
        let holds_sender = std::mem::take(&mut self.world.fx.holds_sender);
        holds_sender && self.world.cage.canary != Canary::HearHeld
    }

    fn deliveries(&self) -> u32 {
        self.world.fx.deliveries
    }

    fn is_overloaded(&self) -> bool {
        self.world.shards[self.shard].is_overloaded()
    }

    fn has_more_for(&self, connection: ConnectionId) -> bool {
        self.world.shards[self.shard].has_more_for(connection)
    }

    fn has_room_for(&self, connection: ConnectionId, packet_id: PacketId, qos: Qos) -> bool {
        self.world.shards[self.shard].has_room_for(connection, packet_id, qos)
    }
}

impl World {
    /// What a connection has to tell its shard.
    fn take_input(&mut self, shard: usize, input: Input<'_>) -> Check {
        match input {
            Input::Connect { connection, connect, info } => self.take_connect(shard, connection, connect, info),
            Input::Packet { connection, packet } => {
                let index = self.index_of(shard, connection)?;
                self.take_packet(index, shard, connection, packet)
            }
            Input::BadPacket { connection, error } => {
                let index = self.index_of(shard, connection)?;
                self.trace.note(&format!("bad packet on {index}: {error}"));
                self.handle(shard, Input::BadPacket { connection, error })
            }
            Input::Closed { connection } => {
                let index = self.index_of(shard, connection)?;
                self.trace.note(&format!("connection {index} is found dropped"));
                if self.cage.hides_loss() {
                    return Ok(());
                }
                self.handle(shard, Input::Closed { connection })
            }
            Input::Blocked { connection, bytes } => {
                let settings = &self.plan.settings;
                let limit = settings.outbox_max_bytes * 2 + settings.packet_size_max_bytes + ANSWER_BYTES;
                if bytes > limit {
                    return Err(format!("{bytes} bytes wait in the outbox of {connection:?}"));
                }
                if self.cage.canary == Canary::HideBlocked {
                    return Ok(());
                }
                self.handle(shard, Input::Blocked { connection, bytes })
            }
            input => self.handle(shard, input),
        }
    }

    /// The connection of the model behind a shard's name for it. The shard may have closed it already.
    pub(crate) fn index_of(&self, shard: usize, connection: ConnectionId) -> Result<usize, String> {
        let found = self.names.get(&(shard, connection)).copied();
        found.ok_or_else(|| format!("shard {shard} is told of {connection:?}, which it was never given"))
    }

    /// CONNECT: the connection is with the shard that owns the client id.
    fn take_connect(
        &mut self,
        shard: usize,
        connection: ConnectionId,
        connect: &Connect<'_>,
        info: ConnectInfo<'_>,
    ) -> Check {
        let received_from = self.received_from.get(&(shard, connection)).copied();
        let known = self.adopting.take().or(received_from).or(self.receiving);
        let awaiting = self.awaiting_place.get_mut();
        let has_waited = known.is_none_or(|index| awaiting.values().any(|waiting| waiting.contains(&index)));
        let index = match known {
            Some(index) => index,
            None => self.take_waiting(shard, info.listener_index, connect.client_id)?,
        };
        self.oracle.stats.waited_for_place += u64::from(has_waited);
        let is_full = self.is_full();
        let conn = self.conns.get_mut(&index).expect("still there");
        conn.at = Some((shard, connection));
        conn.version = connect.version;
        self.by_name.insert((shard, connection), index);
        self.names.insert((shard, connection), index);
        self.trace.note(&format!("CONNECT on {index} as {} at shard {shard}", connect.client_id));
        let mut as_asked = None;
        if let Owner::Client(_) = conn.owner {
            let will = connect.will.as_ref().map(|will| match Tag::of(will.payload) {
                Tag::Known((_, number)) => (will.delay_s, number - WILL),
                other => panic!("a will without a number: {other:?}"),
            });
            as_asked = Some(ConnectAs {
                is_full,
                version: connect.version,
                clean_start: connect.clean_start,
                expiry_s: connect.session_expiry_s.min(self.plan.settings.session_expiry_max_s),
                receive_maximum: connect.receive_maximum,
                packet_size_max_bytes: connect.maximum_packet_size_bytes,
                will,
            });
        }
        if info.listener.policy == Policy::Ask {
            self.begin_waiting(index, connect.client_id, as_asked);
        } else {
            self.release_older(connect.client_id, None);
            if let (Some(as_asked), Owner::Client(client)) = (as_asked, self.conns[&index].owner) {
                self.oracle.begin_connect(client, index, &as_asked);
            }
        }
        let connect = Connect { receive_maximum: self.cage.receive_maximum(connect.receive_maximum), ..*connect };
        let is_banned = self.is_banned(connect.client_id);
        if is_banned {
            self.authenticator.expect_refusal(index);
        }
        self.begin_flow(index);
        self.handle(shard, Input::Connect { connection, connect: &connect, info })?;
        if is_banned { self.check_ban(index, connect.client_id) } else { Ok(()) }
    }

    /// Whether as many clients are connected as may be.
    pub(crate) fn is_full(&self) -> bool {
        let connected: u64 = self.shards.iter().map(|shard| shard.gauges().clients_connected).sum();
        connected >= self.plan.connections_max.into()
    }

    /// The connection by this listener that has waited longest for a place for this client.
    fn take_waiting(&self, shard: usize, listener: u8, client_id: &str) -> Result<usize, String> {
        let key = (shard, listener, client_id.to_owned());
        let mut awaiting = self.awaiting_place.borrow_mut();
        // Those that have gone meanwhile are not heard.
        let still_waits =
            |index: &usize| self.conns.get(index).is_some_and(|conn| conn.at.is_none() && !conn.is_closed());
        let index = awaiting.get_mut(&key).and_then(|waiting| {
            waiting.retain(still_waits);
            waiting.pop_front()
        });
        index.ok_or_else(|| format!("CONNECT of {client_id} from a connection that was not received from"))
    }

    /// A packet after CONNECT: the model first, then the shard.
    fn take_packet(&mut self, index: usize, shard: usize, connection: ConnectionId, packet: Packet<'_>) -> Check {
        if self.authenticator.is_waiting(index) {
            return Err(format!("{packet:?} of connection {index} is heard before its verdict"));
        }
        if self.conns.get(&index).is_some_and(|conn| conn.held) {
            return Err(format!("{packet:?} of connection {index} is heard before the one in front of it is done"));
        }
        let owner = self.conns.get(&index).map(|conn| conn.owner);
        if let Some(Owner::Client(client)) = owner
            && self.oracle.sessions.get(&client).is_some_and(|session| session.conn == Some(index))
        {
            self.tell_oracle(index, client, &packet);
        }
        self.check_heard(index, &packet)?;
        if self.cage.forgets_goodbye(&packet) {
            return self.handle(shard, Input::Closed { connection });
        }
        self.handle(shard, Input::Packet { connection, packet })?;
        if self.fx.holds_sender
            && let Some(conn) = self.conns.get_mut(&index)
        {
            self.trace.note(&format!("connection {index} is held"));
            conn.held = true;
            self.oracle.stats.held += 1;
        }
        Ok(())
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
                self.oracle.handle_unsubscribe(client, unsubscribe.packet_id.get(), unsubscribe.filters());
            }
            Packet::Disconnect(disconnect) => {
                self.trace.note(&format!("client {client} {disconnect:?}"));
                self.oracle.handle_disconnect(client, disconnect.reason, disconnect.session_expiry_s);
            }
            _ => {}
        }
    }

    /// One input and its effects. What is for connections waits in `out` until they can take it.
    pub(crate) fn handle(&mut self, shard: usize, input: Input<'_>) -> Check {
        self.shards[shard].handle(&mut Turn { now: self.now, fx: &mut self.fx }, input);
        self.carry_out_effects(shard)
    }

    /// What has followed from an input, or from a start.
    pub(crate) fn carry_out_effects(&mut self, shard: usize) -> Check {
        let mut fx = std::mem::take(&mut self.fx);
        self.take_records(shard, &fx.log);
        for effect in &fx.list {
            match *effect {
                Effect::Send { connection, encoded, packet_id } => {
                    let mut packet = Vec::new();
                    fx.copy_to(encoded, packet_id, &mut packet);
                    self.take_packet_out(shard, connection, &packet, None)?;
                }
                Effect::SendPayload { connection, encoded, packet_id, payload } => {
                    let mut packet = Vec::new();
                    fx.copy_to(encoded, packet_id, &mut packet);
                    self.take_packet_out(shard, connection, &packet, Some(&fx.payloads[payload as usize]))?;
                }
                Effect::BoundPackets { .. } => self.out.list.push(*effect),
                Effect::Resume { connection } => {
                    if self.take_resume(shard, connection)? {
                        self.out.list.push(*effect);
                    }
                }
                Effect::HearAuth { .. } => return Err("nobody authenticates itself by AUTH here".to_owned()),
                Effect::Hold { connection } => {
                    self.held.insert((shard, connection), None);
                    self.out.list.push(*effect);
                }
                Effect::Release { connection } => {
                    self.out.list.push(*effect);
                    self.release_connack(shard, connection)?;
                }
                Effect::Close { connection, reason } => self.close(shard, connection, reason)?,
                Effect::EndLink { .. } => return Err("there is no other node here".to_owned()),
            }
        }
        self.authenticator.last = None;
        for ask in fx.asks.drain(..) {
            self.take_ask(shard, &ask)?;
        }
        self.operator.replies.extend(fx.replies.drain(..));
        self.bodies.ask(shard, fx.reads.drain(..));
        self.take_mesh(shard, &mut fx);
        fx.clear();
        self.fx = fx;
        Ok(())
    }

    /// A packet for a connection, with its payload apart where it was not copied.
    fn take_packet_out(
        &mut self,
        shard: usize,
        connection: ConnectionId,
        packet: &[u8],
        payload: Option<&bytes::Bytes>,
    ) -> Check {
        let mut whole = packet.to_vec();
        whole.extend_from_slice(payload.map_or(&[][..], |payload| payload));
        let Some(&index) = self.by_name.get(&(shard, connection)) else {
            return Err(format!("{} bytes for connection {connection:?}, which is closed", whole.len()));
        };
        let version = self.conns[&index].version;
        if self.cage.misdelivers(&whole)
            && let Some((&(_, other_connection), &other)) = self.by_name.iter().find(|&(&(at, _), other)| {
                let conn = &self.conns[other];
                at == shard && *other != index && conn.version == version && matches!(conn.owner, Owner::Client(_))
            })
        {
            self.emit((shard, other), &whole)?;
            self.out.send(other_connection, |out| out.extend_from_slice(&whole));
        }
        let passed = self.cage.pass(version, whole.clone());
        for packet in &passed {
            self.emit((shard, index), packet)?;
        }
        if let (Some(payload), [same]) = (payload, &passed[..])
            && *same == whole
        {
            let encoded = self.out.encode(|out| {
                out.extend_from_slice(packet);
                None
            });
            let payload = self.out.payload(payload.clone());
            self.out.list.push(Effect::SendPayload { connection, encoded, packet_id: None, payload });
            return Ok(());
        }
        for packet in passed {
            self.out.send(connection, |out| out.extend_from_slice(&packet));
        }
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

    /// A packet leaves the shard.
    fn emit(&mut self, (shard, index): (usize, usize), bytes: &[u8]) -> Check {
        self.trace.mix(bytes);
        let version = self.conns[&index].version;
        let Ok(Some((frame, len))) = frame::next(bytes, u32::MAX) else {
            return Err(format!("what is sent on {index} is no packet: {bytes:02x?}"));
        };
        assert_eq!(len, bytes.len(), "an effect sends one packet");
        let packet = decode(frame, version, Side::Client).map_err(|error| format!("sent on {index}: {error}"))?;
        if self.authenticator.is_waiting(index) {
            return self.sent_while_waiting(index, &packet);
        }
        self.check_rules(index, &packet)?;
        self.check_sent(index, &packet)?;
        let Owner::Client(client) = self.conns[&index].owner else { return Ok(()) };
        let mut topic = String::new();
        if let Packet::Publish(publish) = &packet {
            topic = resolve(&mut self.aliases, index, publish.topic, publish.topic_alias.map(u16::from));
            self.trace.note(&format!(
                "to client {client}: PUBLISH {topic} q{} {:?} dup {} retain {} {:?} for {:?}",
                publish.qos as u8,
                publish.packet_id,
                publish.dup,
                publish.retain,
                Tag::of(publish.payload),
                publish.subscription_ids.iter().map(u32::from).collect::<Vec<_>>()
            ));
        } else {
            self.trace.note(&format!("to client {client}: {packet:?}"));
        }
        let held = self.conns[&index].at.and_then(|at| self.held.get_mut(&at));
        if let (Some(held), Packet::ConnAck(_)) = (held, &packet) {
            *held = Some(bytes.to_vec());
        } else {
            self.survives(shard, client, &packet)?;
        }
        self.oracle.sent(client, index, &packet, &topic, len)
    }

    /// What was held leaves: first of all its CONNACK.
    fn release_connack(&mut self, shard: usize, connection: ConnectionId) -> Check {
        let connack = self.held.remove(&(shard, connection)).flatten();
        let Some((connack, index)) = connack.zip(self.by_name.get(&(shard, connection)).copied()) else {
            return Ok(());
        };
        let (Owner::Client(client), version) = (self.conns[&index].owner, self.conns[&index].version) else {
            return Ok(());
        };
        let (frame, _) = frame::next(&connack, u32::MAX).expect("it was a packet").expect("a whole one");
        let packet = decode(frame, version, Side::Client).expect("it was decoded before");
        self.survives(shard, client, &packet)
    }

    pub(crate) fn close(&mut self, shard: usize, connection: ConnectionId, reason: CloseReason) -> Check {
        self.held.remove(&(shard, connection));
        let Some(index) = self.by_name.remove(&(shard, connection)) else {
            return Err(format!("connection {connection:?} is closed twice"));
        };
        if self.cage.keeps(reason) {
            self.by_name.insert((shard, connection), index);
            return Ok(());
        }
        self.out.list.push(Effect::Close { connection, reason });
        let conn = self.conns.get_mut(&index).expect("it had a name");
        conn.left = true;
        if self.cage.keeps_place() {
            let _ = self.places.take(conn.listener, None);
        }
        conn.ended_ms = Some(self.now.ms());
        self.trace.note(&format!("connection {index} of {:?} closed: {}", conn.owner, reason.label()));
        if self.authenticator.is_waiting(index) {
            return self.closed_while_waiting(index, reason);
        }
        self.end_flow(index);
        self.note_asked_to_go(shard, index, reason)?;
        if let Owner::Client(client) = self.conns[&index].owner {
            let keep_alive = self.plan.clients[client].keep_alive_s > 0;
            return self.oracle.closed(client, index, reason, keep_alive);
        }
        Ok(())
    }
}

/// The longest answer to a packet of this world: the one that shows that nobody reads them.
const ANSWER_BYTES: u32 = 64;

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
