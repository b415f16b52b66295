//! Datagrams of MQTT-SN: from whom, to which connection on which shard, and what follows.
//!
//! A listener has one socket on each shard, and the kernel gives a peer's datagrams to one of them. The CONNECT says which shard owns
//! the client id: there the connection is, and the shard that the kernel chose passes the peer's datagrams on over the mesh. Answers
//! leave from the owner's own socket, which has the same address. When a peer says that it is another client, the shard of the one
//! before is told, and ends it.
//!
//! Always holds: somebody without a connection is answered with no more octets than came, and never for a DISCONNECT; a connection that
//! is not heard, because its shard is busy, its last packet takes long or too much of it is in flight, is told to try again and nothing of it is kept.

use core::net::SocketAddr;

use super::connection::{Connection, Phase};
use super::connections::{Connections, InputHandler};
use super::handed_over::{DatagramSource, ForwardedDatagram, Handover};
use super::layers::Wire;
use super::peer::{Peer, RefusedPeer};
use super::sn::{
    Reconnect, ReturnCode, SnClient, SnConnect, SnEnd, SnMessage, SnOut, SnRenewal, SnState, SnTurn, SnWillChange,
    TopicKind,
};
use super::sn_peers::PeerRoute;
use crate::codec::{ConnectWill, Disconnect, Forwarded, Version};
use crate::ids::{ConnectionId, PacketId, PeerAddress, Qos, ShardId, SocketId};
use crate::limits::{SN_PUBLISHER_IDLE_S, SN_WAITING_MAX_BYTES};
use crate::shard::{Input, WillChange};
use crate::telemetry::CloseReason;

/// The only protocol that there is (MQTT-SN 1.2, 5.3.8).
const PROTOCOL_ID: u8 = 1;

impl Connections {
    /// A datagram has come by a listener.
    pub fn datagram(&mut self, core: &mut impl InputHandler, listener: u8, peer: SocketAddr, bytes: &[u8]) {
        self.counters.bytes_received += bytes.len() as u64;
        let via = self.config.own;
        self.take_datagram(core, DatagramSource { listener, peer, via, number: 0 }, bytes);
    }

    /// Another shard passes on what belongs here.
    pub(super) fn take_forwarded(&mut self, core: &mut impl InputHandler, datagram: &ForwardedDatagram) {
        self.take_datagram(core, datagram.source, &datagram.bytes);
    }

    fn take_datagram(&mut self, core: &mut impl InputHandler, source: DatagramSource, bytes: &[u8]) {
        let settings = &self.listeners[usize::from(source.listener)].settings;
        let is_too_long = bytes.len() > usize::from(settings.sn_datagram_max_bytes);
        let message = match SnMessage::decode(bytes) {
            Ok(message) if !is_too_long => message,
            _ => {
                self.counters.datagrams_dropped += 1;
                return;
            }
        };
        let route = self.sn.route(source.listener, source.peer);
        if route.is_none() && !self.listeners[usize::from(source.listener)].takes_strangers {
            self.counters.datagrams_dropped += 1;
            return;
        }
        if route.is_none() && !settings.lets_in(source.peer.ip()) {
            // Whoever may not come from there is not told that somebody is here.
            self.counters.datagrams_dropped += 1;
            self.counters.refused(source.listener, CloseReason::NetworkDenied);
            return;
        }
        match (message, route) {
            (SnMessage::SearchGw { .. }, _) => self.answer_search(source),
            (SnMessage::Connect { flags, protocol_id, duration_s, client_id }, route) => {
                if protocol_id != PROTOCOL_ID || client_id.is_empty() {
                    return self.answer(source, &SnMessage::ConnAck { code: ReturnCode::NotSupported });
                }
                let connect = SnConnect { flags, duration_s, client_id };
                self.take_sn_connect(core, source, (connect, bytes), route);
            }
            (message, Some(PeerRoute::Here(id))) => self.hear_sn(core, id, &message, bytes.len()),
            (_, Some(PeerRoute::Elsewhere(owner, number))) if source.via == self.config.own => {
                self.pass_on(DatagramSource { number, ..source }, owner, bytes);
            }
            (message, _) => self.hear_stranger(core, source, &message),
        }
    }

    fn pass_on(&mut self, source: DatagramSource, owner: ShardId, bytes: &[u8]) {
        if self.is_paused {
            self.counters.datagrams_dropped += 1; // its peer sends it again
            return;
        }
        let datagram = ForwardedDatagram { source, bytes: bytes.into() };
        self.outgoing.push((owner, Handover::Datagram(Box::new(datagram))));
    }

    /// A peer's datagrams go another way. Where it was a client of another shard, that one is told.
    fn reroute(&mut self, source: DatagramSource, route: PeerRoute) {
        let Some(PeerRoute::Elsewhere(before, _)) = self.sn.set_route(source.listener, source.peer, route) else {
            return;
        };
        if !matches!(route, PeerRoute::Elsewhere(owner, _) if owner == before) {
            let source = DatagramSource { via: self.config.own, ..source };
            self.outgoing.push((before, Handover::PeerReplaced(source)));
        }
    }

    /// A shard says that a peer of its is another client by now. What it passed on before has come before.
    pub(super) fn end_replaced(&mut self, core: &mut impl InputHandler, source: DatagramSource) {
        let Some(PeerRoute::Here(id)) = self.sn.route(source.listener, source.peer) else { return };
        // One that came by another shard since is a later one.
        if self.sn.get(id).is_some_and(|peer| peer.source.via == source.via) {
            self.replace_peer(core, id, Reconnect::Other);
        }
    }

    fn take_sn_connect(
        &mut self,
        core: &mut impl InputHandler,
        source: DatagramSource,
        (connect, bytes): (SnConnect<'_>, &[u8]),
        route: Option<PeerRoute>,
    ) {
        let owner = ShardId::owner_of(connect.client_id, self.config.shards);
        let here = if let Some(PeerRoute::Here(id)) = route { Some(id) } else { None };
        if owner != self.config.own {
            if source.via != self.config.own || self.is_paused {
                self.counters.datagrams_dropped += 1; // nothing has changed; its peer sends it again
                return;
            }
            if let Some(id) = here {
                self.replace_peer(core, id, Reconnect::Other);
            }
            let number = self.sn.new_number();
            self.reroute(source, PeerRoute::Elsewhere(owner, number));
            return self.pass_on(DatagramSource { number, ..source }, owner, bytes);
        }
        if let Some(id) = here {
            let fate = self.with_sn(core, id, |client, turn, out| client.reconnect(turn, connect, out));
            match fate {
                Some(Reconnect::GoesOn) => {
                    if let Some(peer) = self.sn.get_mut(id) {
                        let before = std::mem::replace(&mut peer.source, source);
                        if before.via != source.via {
                            self.tell_gone(before);
                        }
                    }
                    return;
                }
                Some(fate) => self.replace_peer(core, id, fate),
                None => {}
            }
        }
        let make = |turn: SnTurn<'_>, out: &mut SnOut| SnClient::connect(turn, connect, out);
        self.begin_sn(core, source, Some(connect.client_id), make);
    }

    /// A client makes way for another connection of its address.
    fn replace_peer(&mut self, core: &mut impl InputHandler, id: ConnectionId, fate: Reconnect) {
        let mut out = std::mem::take(&mut self.sn.out);
        out.clear();
        let ended = self.sn.get_mut(id).is_none_or(|peer| peer.client.silence());
        if !ended && fate == Reconnect::Anew {
            // Its will goes with it, as the new CONNECT asks for.
            Disconnect::default().encode(Version::V5, &mut out.mqtt);
        } else if !ended {
            out.end = Some(SnEnd::Gone);
        }
        self.sn.out = out;
        self.carry_out_sn(core, id);
    }

    /// Makes a connection for a peer that has none.
    fn begin_sn(
        &mut self,
        core: &mut impl InputHandler,
        source: DatagramSource,
        client_id: Option<&str>,
        make: impl FnOnce(SnTurn<'_>, &mut SnOut) -> SnClient,
    ) -> Option<ConnectionId> {
        let now = core.now();
        let DatagramSource { listener, peer, .. } = source;
        if self.is_paused {
            self.counters.datagrams_dropped += 1;
            self.refuse_stranger(source, client_id.is_some());
            return None;
        }
        self.counters.sockets += 1;
        self.counters.sockets_by_listener.count(listener);
        let address = Peer::from(PeerAddress::Ip(peer));
        if let Err((reason, text)) = self.admit(now, listener, address) {
            let (is_told, client_id) = (client_id.is_some(), client_id.map(Into::into));
            self.refuse_peer(listener, RefusedPeer { peer: address, reason, text, level: None, client_id });
            self.refuse_stranger(source, is_told);
            return None;
        }
        let mut connection = Connection::new(SocketId::NONE, Phase::AwaitingConnect, Wire::Plain);
        (connection.listener, connection.peer) = (listener, address);
        let id = self.table.insert(connection);
        let entry = &mut self.listeners[usize::from(listener)];
        entry.awaiting_connect.push_back((now.after_s(entry.settings.connect_timeout_s.into()), id));
        let mut out = std::mem::take(&mut self.sn.out);
        out.clear();
        let client = make(SnTurn { now, settings: &entry.settings }, &mut out);
        self.sn.out = out;
        // Silence begins with its first datagram: it may be the only one.
        let idle = client.is_publisher().then(|| now.after_s(SN_PUBLISHER_IDLE_S));
        self.sn.add(id, (client, idle), source);
        self.reroute(source, PeerRoute::Here(id));
        self.carry_out_sn(core, id);
        Some(id)
    }

    /// Nothing becomes of a peer here: it may be told, and the shard that passed it on is.
    fn refuse_stranger(&mut self, source: DatagramSource, is_told: bool) {
        if is_told {
            self.answer(source, &SnMessage::ConnAck { code: ReturnCode::Congestion });
        }
        self.tell_gone(source);
    }

    fn tell_gone(&mut self, source: DatagramSource) {
        if source.via != self.config.own {
            self.outgoing.push((source.via, Handover::PeerGone(source)));
        }
    }

    /// Somebody without a connection says something else than CONNECT.
    fn hear_stranger(&mut self, core: &mut impl InputHandler, source: DatagramSource, message: &SnMessage<'_>) {
        match message {
            SnMessage::Publish { flags, .. } if flags.qos.is_none() && flags.topic_kind != TopicKind::Normal => {
                let most = self.listeners[usize::from(source.listener)].settings.sn_publishers_max;
                if self.sn.publishers(source.listener) >= most {
                    self.counters.datagrams_dropped += 1;
                    return self.tell_gone(source);
                }
                let client_id = self.assign_sn_client_id();
                let make = |turn: SnTurn<'_>, out: &mut SnOut| {
                    let mut client = SnClient::publisher(turn, &client_id, out);
                    client.handle(turn, message, out);
                    client
                };
                self.begin_sn(core, source, None, make);
            }
            // What a client says that takes itself for connected: it is told that it is not, in two octets.
            SnMessage::Publish { flags, .. } if flags.qos.is_some() => self.disown(source),
            SnMessage::Register { .. }
            | SnMessage::RegAck { .. }
            | SnMessage::PubAck { .. }
            | SnMessage::PubRec { .. }
            | SnMessage::PubRel { .. }
            | SnMessage::PubComp { .. }
            | SnMessage::Subscribe { .. }
            | SnMessage::Unsubscribe { .. }
            | SnMessage::PingReq { .. }
            | SnMessage::WillTopicUpd(_)
            | SnMessage::WillMsgUpd(_) => self.disown(source),
            _ => self.counters.datagrams_dropped += 1,
        }
    }

    fn disown(&mut self, source: DatagramSource) {
        self.answer(source, &SnMessage::Disconnect { duration_s: None });
        self.tell_gone(source);
    }

    /// Answers somebody who need not have a connection.
    fn answer(&mut self, source: DatagramSource, message: &SnMessage<'_>) {
        let mut bytes = Vec::with_capacity(4);
        message.encode(&mut bytes);
        self.sn.send(source.listener, source.peer, &bytes);
    }

    fn answer_search(&mut self, source: DatagramSource) {
        let settings = &self.listeners[usize::from(source.listener)].settings;
        match u8::try_from(settings.sn_gateway_id) {
            Ok(gateway_id @ 1..) => self.answer(source, &SnMessage::GwInfo { gateway_id, address: &[] }),
            _ => self.counters.datagrams_dropped += 1,
        }
    }

    /// A client id of this shard's that no other client has.
    fn assign_sn_client_id(&mut self) -> Box<str> {
        loop {
            let client_id = self.assign_client_id();
            if ShardId::owner_of(&client_id, self.config.shards) == self.config.own {
                return client_id;
            }
        }
    }

    /// A client says something.
    fn hear_sn(&mut self, core: &mut impl InputHandler, id: ConnectionId, message: &SnMessage<'_>, len: usize) {
        let Some(connection) = self.table.get(id) else { return };
        let is_goodbye = matches!(message, SnMessage::Disconnect { .. });
        // What a publisher says before its CONNECT is decided about is kept, and no more than so much of it.
        let is_over = connection.partial.len() > SN_WAITING_MAX_BYTES;
        match connection.phase {
            Phase::Lingering(_) | Phase::HandingOver => return,
            Phase::AwaitingRange | Phase::AwaitingPlace if !is_goodbye => return,
            Phase::AwaitingVerdict(_) if is_over => return,
            _ => {}
        }
        let is_heard = !self.is_paused && self.held.is_empty() && self.budgets.admits(id, len);
        let is_heard = is_heard && has_room(core, id, message);
        if let Some(peer) = self.sn.get_mut(id).filter(|peer| peer.client.is_publisher()) {
            peer.idle = Some(core.now().after_s(SN_PUBLISHER_IDLE_S));
        }
        self.with_sn(core, id, |client, turn, out| {
            if is_heard || is_goodbye {
                client.handle(turn, message, out);
            } else {
                client.handle_congested(message, out);
            }
        });
    }

    /// Does something with a client, and what follows from it.
    fn with_sn<T>(
        &mut self,
        core: &mut impl InputHandler,
        id: ConnectionId,
        act: impl FnOnce(&mut SnClient, SnTurn<'_>, &mut SnOut) -> T,
    ) -> Option<T> {
        let listener = self.table.get(id)?.listener;
        let mut out = std::mem::take(&mut self.sn.out);
        out.clear();
        let settings = &self.listeners[usize::from(listener)].settings;
        let turn = SnTurn { now: core.now(), settings };
        let outcome = self.sn.get_mut(id).map(|peer| act(&mut peer.client, turn, &mut out));
        self.sn.out = out;
        self.carry_out_sn(core, id);
        outcome
    }

    /// Does what a client's translator has said.
    fn carry_out_sn(&mut self, core: &mut impl InputHandler, id: ConnectionId) {
        let Some(connection) = self.table.get(id) else { return };
        let Some(peer) = socket_address(connection.peer) else { return };
        self.sn.send_out(connection.listener, peer);
        self.counters.datagrams_dropped += u64::from(self.sn.out.dropped);
        let out = &mut self.sn.out;
        let (is_alive, renewal, end) = (out.is_alive, out.renewal.take(), out.end.take());
        let mqtt = std::mem::take(&mut out.mqtt);
        let is_open = connection.phase == Phase::Open;
        if let Some(renewal) = renewal.filter(|_| is_open) {
            renew(core, id, &renewal);
        } else if is_alive && is_open {
            core.handle(Input::Growing { connection: id });
        }
        if !mqtt.is_empty() {
            self.take_plain(core, id, &mqtt);
        }
        self.sn.out.mqtt = mqtt;
        match end {
            Some(SnEnd::Gone) => self.end_sn(core, id),
            Some(SnEnd::Lost) => {
                let text = "it acknowledged nothing, however often it was sent";
                core.handle(Input::Broken { connection: id, reason: CloseReason::NoAnswer, text });
            }
            None => {}
        }
        self.note_sn(core, id);
    }

    fn end_sn(&mut self, core: &mut impl InputHandler, id: ConnectionId) {
        match self.table.get(id).map(|connection| (connection.phase, connection.listener)) {
            Some((
                Phase::AwaitingConnect | Phase::AwaitingRange | Phase::AwaitingPlace | Phase::HandingOver,
                listener,
            )) => {
                self.counters.refused(listener, CloseReason::SocketClosed);
                self.close(id);
            }
            Some((Phase::Open | Phase::AwaitingVerdict(_), _)) => core.handle(Input::Closed { connection: id }),
            Some((Phase::Dialling | Phase::AwaitingPeer | Phase::Link, _)) => {
                unreachable!("no node comes in datagrams")
            }
            Some((Phase::Lingering(_), _)) | None => {}
        }
    }

    /// Tells the shard how much waits for a client, and notes when something is due.
    fn note_sn(&mut self, core: &mut impl InputHandler, id: ConnectionId) {
        self.sn.arm(id);
        let Some(peer) = self.sn.get(id) else { return };
        let (bytes, state) = (peer.client.waiting_bytes(), peer.client.state());
        let Some(connection) = self.table.get_mut(id) else { return };
        if connection.rest_bytes != bytes {
            connection.rest_bytes = bytes;
            core.handle(Input::Blocked { connection: id, bytes });
        }
        if state == SnState::Awake && !self.sn.awake.contains(&id) {
            self.sn.awake.push(id);
        }
    }

    /// Whether anybody comes in datagrams, or is to be sent one.
    pub(super) fn has_datagram_peers(&self) -> bool {
        !self.sn.is_empty()
    }

    /// Makes datagrams of what there is for clients that come in datagrams, who are taken off the list. Returns whether the shard was
    /// told anything.
    pub(super) fn flush_datagrams(&mut self, core: &mut impl InputHandler, dirty: &mut Vec<ConnectionId>) -> bool {
        let mut with_words = Vec::new();
        dirty.retain(|&id| {
            let connection = self.table.get(id);
            let is_ours = connection.is_some_and(|connection| connection.socket.is_none() && !connection.is_held);
            if is_ours {
                with_words.push(id);
            }
            !is_ours
        });
        for &id in &with_words {
            self.flush_sn(core, id);
        }
        let mut awake = std::mem::take(&mut self.sn.awake);
        awake.retain(|&id| self.is_awake_on(core, id));
        let was_told = !with_words.is_empty();
        awake.append(&mut self.sn.awake);
        self.sn.awake = awake;
        was_told
    }

    fn flush_sn(&mut self, core: &mut impl InputHandler, id: ConnectionId) {
        let Some(connection) = self.table.get_mut(id) else { return };
        connection.is_dirty = false;
        let Some(mut outbox) = connection.outbox.take() else { return };
        outbox.rewrite(|bytes| {
            self.with_sn(core, id, |client, turn, out| client.send(turn, bytes, out));
        });
        self.release(outbox);
    }

    /// Whether a client that sleeps still waits for the end of what waited for it. Otherwise it is told that this is all.
    fn is_awake_on(&mut self, core: &mut impl InputHandler, id: ConnectionId) -> bool {
        let Some(peer) = self.sn.get(id).filter(|peer| peer.client.state() == SnState::Awake) else { return false };
        let is_busy = peer.client.waiting_bytes() > 0 || peer.client.has_unacknowledged();
        let has_words = self.table.get(id).is_some_and(|connection| connection.outbox.is_some());
        if is_busy || has_words || core.has_more_for(id) {
            return true;
        }
        self.with_sn(core, id, |client, _, out| client.fall_asleep_again(out));
        false
    }

    /// What the next flush sends as datagrams: by which listener, to whom, and what.
    pub fn datagrams_to_send(&self) -> impl Iterator<Item = (u8, SocketAddr, &[u8])> {
        self.sn.to_send()
    }

    /// Sends again what was not acknowledged, and forgets who only published, and whose listener is no more.
    pub(super) fn handle_sn_deadlines(&mut self, core: &mut impl InputHandler) {
        for id in std::mem::take(&mut self.sn.to_end) {
            let text = "its listener is no more";
            match self.table.get(id).map(|connection| connection.phase) {
                Some(Phase::Open | Phase::AwaitingVerdict(_)) => {
                    let reason = CloseReason::AdministrativeAction;
                    core.handle(Input::Broken { connection: id, reason, text });
                }
                Some(Phase::Lingering(_)) | None => {}
                Some(_) => self.close(id),
            }
        }
        let now = core.now();
        while let Some(id) = self.sn.next_due(now) {
            let Some(peer) = self.sn.get_mut(id) else { continue };
            if peer.idle.is_some_and(|idle| idle.is_due(now)) {
                peer.idle = None;
                let goodbye = SnMessage::Disconnect { duration_s: None };
                self.with_sn(core, id, |client, turn, out| client.handle(turn, &goodbye, out));
                continue;
            }
            self.with_sn(core, id, SnClient::retry);
        }
    }

    /// A datagram was longer than what it is received into.
    pub const fn datagram_too_long(&mut self) {
        self.counters.datagrams_dropped += 1;
    }

    /// Whether somebody who is no client may become one by a listener that receives datagrams.
    pub fn set_takes_strangers(&mut self, listener: u8, takes: bool) {
        self.listeners[usize::from(listener)].takes_strangers = takes;
    }

    /// Whether a listener has clients here that come in datagrams.
    pub fn has_datagram_clients(&self, listener: u8) -> bool {
        let is_its = |id| self.table.get(id).is_some_and(|connection| connection.listener == listener);
        self.sn.ids().any(is_its)
    }

    /// A listener is no more: its clients are told, and go.
    pub fn end_datagram_listener(&mut self, listener: u8) {
        let ids: Vec<ConnectionId> = self.sn.ids().collect();
        let goodbye = [2, 0x18];
        for id in ids {
            let Some(connection) = self.table.get(id).filter(|connection| connection.listener == listener) else {
                continue;
            };
            if let Some(peer) = socket_address(connection.peer) {
                self.sn.send(listener, peer, &goodbye);
            }
            if let Some(peer) = self.sn.get_mut(id) {
                peer.client.silence();
            }
            self.sn.to_end.push(id);
        }
    }

    /// A connection is no more: so is what was known of its peer.
    pub(super) fn forget_peer(&mut self, id: ConnectionId, connection: &Connection) {
        if !connection.socket.is_none() {
            return;
        }
        if let Some(source) = self.sn.remove(id) {
            self.tell_gone(source);
        }
    }
}

fn socket_address(peer: Peer) -> Option<SocketAddr> {
    match peer.address() {
        Some(PeerAddress::Ip(address)) => Some(address),
        _ => None,
    }
}

/// Whether the shard would take a message that it is to acknowledge. MQTT-SN has no way to tell a client how many it may have in flight.
fn has_room(core: &impl InputHandler, id: ConnectionId, message: &SnMessage<'_>) -> bool {
    let SnMessage::Publish { flags, msg_id, .. } = message else { return true };
    match (flags.qos, PacketId::new(*msg_id)) {
        (Some(qos @ (Qos::AtLeastOnce | Qos::ExactlyOnce)), Some(packet_id)) => core.has_room_for(id, packet_id, qos),
        _ => true,
    }
}

fn renew(core: &mut impl InputHandler, id: ConnectionId, renewal: &SnRenewal) {
    let will = renewal.will.as_ref().map(|change| match change {
        SnWillChange::Delete => WillChange::Delete,
        SnWillChange::Topic(flags, topic) => WillChange::Topic(topic, flags.qos.unwrap_or_default(), flags.retain),
        SnWillChange::Payload(payload) => WillChange::Payload(payload),
        SnWillChange::Whole(flags, topic, payload) => WillChange::Whole(ConnectWill {
            topic,
            payload,
            qos: flags.qos.unwrap_or_default(),
            retain: flags.retain,
            delay_s: 0,
            message_expiry_s: None,
            properties: Forwarded::default(),
        }),
    });
    let (keep_alive_s, sleeps) = (renewal.keep_alive_s, renewal.sleeps);
    core.handle(Input::Renew { connection: id, keep_alive_s, sleeps, will });
}
