//! FORWARD taken: a connection of another node that becomes a client's, whom its range brings here.
//!
//! Always holds: only a process of a member that this node knows forwards, by a connection whose HELLO says so. What it tells of the client (its listener, where it comes
//! from, what it has proved, the client id in place of CONNECT's) holds as if layers of ours had told it, and nothing of ours is put in its place: the
//! first node has asked the client. The client counts for its listener here as well, and has as long for its CONNECT as anybody. It goes no further: if its range is another
//! node's again, it waits until it is this one's.
//! Leaves to others: the client's own layers, which are the first node's.

use std::sync::Arc;

use super::layer::ForwardedClient;
use crate::auth::PeerIdentity;
use crate::cluster::{LinkForward, LinkFrame, LinkPeer, LinkRefusal};
use crate::codec::{ConnAck, ReasonCode, Version};
use crate::conn::connection::Phase;
use crate::conn::connections::{Connections, InputHandler};
use crate::conn::peer::{Peer, RefusedPeer};
use crate::ids::ConnectionId;
use crate::limits::LINK_FORWARD_MAX_BYTES;
use crate::telemetry::CloseReason;
use crate::time::Now;

impl Connections {
    /// The node that forwards a client by this connection, while FORWARD has not come.
    pub(super) fn forwarder(&self, id: ConnectionId) -> Option<LinkPeer> {
        let connection = self.table.get(id).filter(|connection| connection.phase == Phase::AwaitingPeer)?;
        connection.wire.link_peer().filter(|peer| peer.carries_client)
    }

    /// FORWARD, or a piece of it; the client's CONNECT may be behind it.
    pub(super) fn take_forward(
        &mut self,
        core: &mut impl InputHandler,
        id: ConnectionId,
        forwarder: LinkPeer,
        bytes: &[u8],
    ) {
        let Some(connection) = self.table.get_mut(id) else { return };
        let mut whole = connection.partial.take().unwrap_or_default();
        whole.extend_from_slice(bytes);
        match LinkFrame::next(&whole, LINK_FORWARD_MAX_BYTES) {
            Ok(None) => connection.partial.keep(whole),
            Ok(Some((LinkFrame::Forward(forward), len))) => {
                if self.begin_forwarded(core.now(), id, forwarder, &forward) && whole.len() > len {
                    self.take_connect_bytes(core, id, &whole[len..]);
                }
            }
            Ok(Some(_)) => self.refuse_forwarder(id, LinkRefusal::Order),
            Err(error) => self.refuse_forwarder(id, error.into()),
        }
    }

    fn refuse_forwarder(&mut self, id: ConnectionId, refusal: LinkRefusal) {
        let (reason, text) = super::layer::refusal_words(refusal);
        self.end_link(id, reason, text);
    }

    /// Makes the connection a client's that has not sent CONNECT. Returns whether it is one.
    fn begin_forwarded(&mut self, now: Now, id: ConnectionId, forwarder: LinkPeer, forward: &LinkForward<'_>) -> bool {
        let process = forwarder.node.and_then(|node| self.view()?.peer(node));
        if process.is_none_or(|process| process.boot != forwarder.boot) {
            let text = "it forwards a client, and is no process of a member that this node knows of";
            self.end_link(id, CloseReason::LinkNotMember, text);
            return false;
        }
        let peer = forward.peer.map_or(Peer::Unknown, Peer::from);
        let Some(listener) = self.listener_named(forward.listener) else {
            self.refuse_forwarded(id, peer, forward);
            return false;
        };
        if let Err((reason, text)) = self.admit_forwarded(now, listener, peer) {
            let client_id = forward.client_id.map(Into::into);
            self.refuse_peer(listener, RefusedPeer { peer, reason, text, level: None, client_id });
            self.close(id);
            return false;
        }
        let Some(connection) = self.table.get_mut(id) else { return false };
        (connection.listener, connection.peer, connection.phase) = (listener, peer, Phase::AwaitingConnect);
        let client = ForwardedClient {
            client_id: forward.client_id.map(Into::into),
            proved_user: forward.proved_user.map(Into::into),
        };
        connection.wire.set_forwarded(client, identity_of(forward));
        let entry = &mut self.listeners[usize::from(listener)];
        let deadline = now.after_s(entry.settings.connect_timeout_s.into());
        entry.awaiting_connect.push_back((deadline, id));
        true
    }

    /// The listener of this node that has the name of the client's.
    fn listener_named(&self, name: &str) -> Option<u8> {
        let found = self.listeners.iter().position(|entry| {
            *entry.settings.name == *name && entry.settings.kind.has_streams() && entry.takes_strangers
        });
        found.map(|index| index as u8)
    }

    /// There is no such listener here: whoever runs the nodes is told, and so is the client.
    fn refuse_forwarded(&mut self, id: ConnectionId, peer: Peer, forward: &LinkForward<'_>) {
        let (reason, client_id) = (CloseReason::Unavailable, forward.client_id.map(Into::into));
        let text = "another node forwards it, by a listener that this one does not have: all nodes have the same ones, by name";
        let refused = RefusedPeer { peer, reason, text, level: None, client_id };
        self.refuse_peer(self.listener_of(id), refused);
        let version = version_of(forward.version);
        self.linger_with(id, reason, |out| {
            ConnAck::new(ReasonCode::ServerUnavailable).encode(version, out);
        });
    }
}

/// As CONNECT names it; FORWARD has no other.
const fn version_of(level: u8) -> Version {
    match level {
        3 => Version::V31,
        4 => Version::V311,
        _ => Version::V5,
    }
}

fn identity_of(forward: &LinkForward<'_>) -> Option<Arc<PeerIdentity>> {
    let identity = forward.identity?;
    Some(Arc::new(PeerIdentity {
        common_name: identity.common_name.map(Into::into),
        subject: identity.subject.map(Into::into),
        alternative_names: identity.alternative_names.iter().map(Into::into).collect(),
        tls_version: identity.tls_version.map(Into::into),
    }))
}
