//! From accept to CONNECT.
//!
//! Until CONNECT has been read the broker knows nothing of a peer and gives it little: a bounded packet, a deadline, one
//! receive at a time. Then the connection is opened here, refused, or handed over to the shard that owns its client id.

use super::connection::Phase;
use super::connections::{Connections, InputHandler};
use super::handed_over::{ArrivedClient, HandedOver};
use super::peer::RefusedPeer;
use super::spoken::{client_id, level, spoken};
use crate::codec::{ConnectPacket, ConnectRefusal, DecodeError, ReasonCode, Version, frame};
use crate::ids::{ConnectionId, ShardId};
use crate::limits::CONNECT_SIZE_MAX_BYTES;
use crate::shard::{ConnectInfo, Input, UserNameBasis};
use crate::telemetry::CloseReason;

/// The first byte of every CONNECT.
const CONNECT_FIRST: u8 = 0x10;

impl Connections {
    /// Bytes of a connection that has not sent a whole CONNECT.
    pub(super) fn take_connect_bytes(&mut self, core: &mut impl InputHandler, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.table.get_mut(id) else { return };
        if connection.partial.is_empty() && bytes.first() != Some(&CONNECT_FIRST) {
            // [MQTT-3.1.0-1] Whoever it is, it does not speak MQTT, and gets no answer that it could not read.
            let (reason, text) = spoken(bytes);
            self.refuse(id, reason, text);
            self.close(id);
            return;
        }
        let decoded = if connection.partial.is_empty() {
            frame::next(bytes, CONNECT_SIZE_MAX_BYTES).map(|framed| {
                let Some((frame, total)) = framed else {
                    connection.partial.extend(bytes);
                    return None;
                };
                Some((
                    ConnectPacket::decode(frame).map_err(|error| (error, UndecodedConnect::of(frame.body))),
                    &bytes[total..],
                ))
            })
        } else {
            connection.partial.complete(bytes, CONNECT_SIZE_MAX_BYTES).and_then(|(whole, rest)| {
                let Some(packet) = whole else { return Ok(None) };
                let framed = frame::next(&packet, CONNECT_SIZE_MAX_BYTES)?;
                Ok(framed.map(|(frame, _)| {
                    (ConnectPacket::decode(frame).map_err(|error| (error, UndecodedConnect::of(frame.body))), rest)
                }))
            })
        };
        match decoded {
            Ok(None) => {}
            Ok(Some((Ok(connect), rest))) => self.take_connect(core, id, connect, rest),
            Ok(Some((Err((refusal, UndecodedConnect { level, client_id })), _))) => {
                let (reason, text) = (close_reason(refusal.error), refusal.error.text());
                let level = level.filter(|_| reason == CloseReason::UnsupportedVersion);
                let refused = RefusedPeer { peer: self.peer(id), reason, text, level, client_id };
                self.refuse_peer(self.listener_of(id), refused);
                self.linger_with(id, reason, |out| refusal.write_connack(out));
            }
            Err(error) => {
                let text = match error {
                    DecodeError::TooLarge { .. } => "its CONNECT announces more than the 128 KiB that are read of one",
                    error => error.text(),
                };
                self.refuse(id, close_reason(error), text);
                self.close(id);
            }
        }
    }

    /// CONNECT is whole: it is opened here, or handed over. `rest` came behind it.
    fn take_connect(&mut self, core: &mut impl InputHandler, id: ConnectionId, connect: ConnectPacket, rest: &[u8]) {
        let Some(connection) = self.table.get(id) else { return };
        let (listener, peer) = (connection.listener, connection.peer);
        if !self.entry(listener).lets_in(connect.get().version) {
            self.refuse_version(id, connect.get().version);
            return;
        }
        let certified = match connection.wire.forwarded() {
            Some(forwarded) => forwarded.client_id.clone(),
            None => self.entry(listener).client_id(connection.wire.identity()),
        };
        if self.view().is_some() {
            let arrived = ArrivedClient::new(connect, rest.to_vec(), certified, listener, peer);
            if let Some(arrived) = self.keep_own(core.now(), id, arrived) {
                self.let_on(core, id, arrived);
            }
            return;
        }
        let chosen = certified.or_else(|| connect.get().client_id.is_empty().then(|| self.assign_client_id()));
        let client_id = chosen.as_deref().unwrap_or(connect.get().client_id);
        let owner = ShardId::owner_of(client_id, self.config.shards);
        if owner == self.config.own && !core.is_full_for(client_id, listener) {
            self.open(core, id, &connect, chosen.as_deref(), rest);
            return;
        }
        let handed_over = ArrivedClient::new(connect, rest.to_vec(), chosen, listener, peer);
        if owner == self.config.own {
            self.await_place(core.now(), id, handed_over);
        } else {
            self.begin_handover(id, owner, HandedOver::Client(Box::new(handed_over)));
        }
    }

    /// The listener does not let this version of MQTT in; the client is told so in its own [MQTT-3.1.2-2].
    fn refuse_version(&mut self, id: ConnectionId, version: Version) {
        let (reason, text) =
            (CloseReason::UnsupportedVersion, "the listener's mqtt_versions does not name this version of MQTT");
        let level = Some(version as u8);
        let refused = RefusedPeer { peer: self.peer(id), reason, text, level, client_id: None };
        self.refuse_peer(self.listener_of(id), refused);
        let refusal = ConnectRefusal::of(DecodeError::UnsupportedVersion, version);
        self.linger_with(id, reason, |out| refusal.write_connack(out));
    }

    /// A client id that no other client has [MQTT-3.2.2-16].
    pub(super) fn assign_client_id(&mut self) -> Box<str> {
        self.assigned_ids += 1;
        format!("auto-{:016x}-{}-{}", self.config.instance, self.config.own.0, self.assigned_ids).into()
    }

    /// The connection is where its session is: the shard hears its CONNECT and what came behind it.
    pub(super) fn open(
        &mut self,
        core: &mut impl InputHandler,
        id: ConnectionId,
        packet: &ConnectPacket,
        chosen_client_id: Option<&str>,
        rest: &[u8],
    ) {
        let Some(connection) = self.table.get_mut(id) else { return };
        let mut connect = *packet.get();
        // CONNACK tells those who had none; who is certified knows it.
        let is_assigned = connect.client_id.is_empty() && chosen_client_id.is_some();
        connect.client_id = chosen_client_id.unwrap_or(connect.client_id);
        let proved = connection.wire.forwarded().map(|forwarded| forwarded.proved_user.clone());
        let identity = connection.wire.take_identity();
        let (listener_index, peer) = (connection.listener, connection.peer);
        let user = proved.unwrap_or_else(|| self.entry(listener_index).user_name(peer, identity.as_deref()));
        let Some(connection) = self.table.get_mut(id) else { return };
        let mut user_name = UserNameBasis::Claim;
        if let Some(user) = user.as_deref() {
            // The system says who it is, or its certificate; a password would be about somebody else.
            (connect.username, connect.password) = (Some(user), None);
            user_name = UserNameBasis::Proof;
        }
        connection.phase = Phase::Open;
        connection.version = connect.version;
        let listener = &self.entry(listener_index).settings;
        let (assigned_client_id, peer) = (is_assigned, peer.ip());
        let identity = identity.as_ref();
        let info = ConnectInfo { assigned_client_id, listener_index, peer, listener, identity, user_name };
        core.handle(Input::Connect { connection: id, connect: &connect, info });
        if core.has_asked_about(id) {
            self.await_verdict(id, rest);
        } else if !rest.is_empty() {
            self.feed_open(core, id, rest);
        }
    }
}

/// What a CONNECT that cannot be decoded says of who sent it.
struct UndecodedConnect {
    level: Option<u8>,
    client_id: Option<Box<str>>,
}

impl UndecodedConnect {
    fn of(body: &[u8]) -> Self {
        Self { level: level(body), client_id: client_id(body).map(Into::into) }
    }
}

/// The counter for bytes that are no CONNECT.
const fn close_reason(error: DecodeError) -> CloseReason {
    match error.reason() {
        ReasonCode::PacketTooLarge => CloseReason::PacketTooLarge,
        ReasonCode::MalformedPacket => CloseReason::Malformed,
        ReasonCode::ProtocolError => CloseReason::ProtocolError,
        ReasonCode::UnsupportedProtocolVersion => CloseReason::UnsupportedVersion,
        _ => CloseReason::Refused,
    }
}
