//! Links from the first word of a peer to their end: who is at the other end, and who is not found out in time.
//!
//! Always holds: a link that ends, or is not made, is counted by its reason and has a line for the log.

use super::links::{LinkTerms, NodeLinks};
use super::streams::LinkRole;
use crate::cluster::{LinkPeer, LinkSide};
use crate::conn::connection::{Connection, Phase};
use crate::conn::connections::{Connections, pop_due};
use crate::conn::layer::LayerFailure;
use crate::conn::operation::{Operation, UnderWayOn};
use crate::conn::peer::Peer;
use crate::ids::{ConnectionId, INTERNAL_LISTENER, SocketId};
use crate::limits::{LINK_HELLO_MS, PEERS_UNKNOWN_MAX};
use crate::telemetry::CloseReason;
use crate::time::Now;

impl Connections {
    /// This is a node of a cluster from now on.
    pub fn use_links(&mut self, terms: LinkTerms) {
        self.links = Some(Box::new(NodeLinks::new(terms, self.config.own, self.config.shards)));
    }

    /// Who is at the other end of a link, once that is known.
    pub fn link_peer(&self, id: ConnectionId) -> Option<LinkPeer> {
        self.table.get(id).filter(|connection| connection.phase == Phase::Link)?.wire.link_peer()
    }

    /// A peer has connected by a listener for links.
    pub(in crate::conn) fn accepted_link(&mut self, now: Now, listener: u8, socket: SocketId, peer: Peer) {
        let Some(links) = self.links.as_deref_mut() else {
            self.accepted_by_nobody(socket);
            return;
        };
        let entry = &self.listeners[usize::from(listener)];
        let wire = entry.layers.begin(&entry.settings, peer).with_link(links.layer(LinkSide::Accepts));
        let mut connection = Connection::new(socket, Phase::AwaitingPeer, wire);
        connection.listener = INTERNAL_LISTENER;
        connection.peer = peer;
        let id = self.table.insert(connection);
        links.accepted.push_back((now.after_ms(LINK_HELLO_MS), id));
        links.unknown.insert(id);
        self.operations.push_back(Operation::ReceiveOnce { socket, connection: id });
        self.bound_unknown_peers();
    }

    /// Where too many are not known, the oldest make way.
    fn bound_unknown_peers(&mut self) {
        while let Some(links) = self.links.as_deref_mut()
            && links.unknown.len() > PEERS_UNKNOWN_MAX
            // Others among them are known, and have their time all the same.
            && let Some(at) = links.accepted.iter().position(|(_, id)| links.unknown.contains(id))
            && let Some((_, oldest)) = links.accepted.remove(at)
        {
            let text = "it made way for a newer one: as many are not known as may be";
            self.end_link(oldest, CloseReason::LinkMadeWay, text);
        }
    }

    /// Ends what has taken too long.
    pub(super) fn end_late_links(&mut self, now: Now) {
        while let Some(id) = self.links.as_deref_mut().and_then(|links| pop_due(&mut links.dialling, now)) {
            if self.table.get(id).is_some_and(|connection| connection.phase == Phase::Dialling) {
                self.end_link(id, CloseReason::LinkUnreachable, "it does not answer");
            }
        }
        while let Some(id) = self.links.as_deref_mut().and_then(|links| {
            let late = pop_due(&mut links.dialled, now);
            late.or_else(|| pop_due(&mut links.accepted, now))
        }) {
            match self.table.get(id).map(|connection| connection.phase) {
                Some(Phase::AwaitingPeer) => {
                    self.end_link(id, CloseReason::LinkTimeout, "it has not shown in time which node it is");
                }
                Some(Phase::HandingOver) if self.is_held_link(id) => {
                    self.end_link(id, CloseReason::LinkTimeout, "it has not read in time what it was told");
                }
                Some(Phase::Link) if self.is_probe(id) => self.close(id),
                _ => {}
            }
        }
    }

    /// The peer of a link sends no more, or nothing can be sent to it.
    pub(in crate::conn) fn end_gone_link(&mut self, id: ConnectionId) {
        let is_known = self.table.get(id).is_some_and(|connection| connection.phase == Phase::Link);
        let text = if is_known {
            "the connection has ended"
        } else {
            "it ended the connection before both knew each other: its own log may say why"
        };
        self.end_link(id, CloseReason::LinkClosed, text);
    }

    /// Ends a link, with a line for the log.
    pub(in crate::conn) fn end_link(&mut self, id: ConnectionId, reason: CloseReason, text: &'static str) {
        self.refuse(id, reason, text);
        self.close(id);
    }

    /// Ends a link whose layers have failed. They may have a word for its other end, as why TLS does not believe it: that leaves first.
    pub(in crate::conn) fn end_failed_link(&mut self, id: ConnectionId, failure: LayerFailure) {
        let LayerFailure { reason, text } = failure;
        // Whatever it is in TLS, here it is about a node.
        let reason = if reason.is_of_link() { reason } else { CloseReason::LinkTls };
        let Some(connection) = self.table.get_mut(id) else { return };
        if !connection.wire.has_own_bytes() {
            return self.end_link(id, reason, text);
        }
        let phase = connection.phase;
        if let Some(outbox) = connection.outbox.take() {
            self.release(outbox); // it is said again by the next connection
        }
        self.refuse(id, reason, text);
        self.forget_link(id, phase);
        self.linger_with(id, reason, |_| {});
    }

    /// A link is no more.
    pub(in crate::conn) fn forget_link(&mut self, id: ConnectionId, phase: Phase) {
        if phase == Phase::Dialling {
            self.operations.push_back(Operation::GiveUpDial { connection: id });
        }
        if let Some(links) = self.links.as_deref_mut() {
            links.unknown.remove(&id);
            links.streams.forget(id);
        }
        // What waits of it gives its buffers back.
        self.budgets.release(id);
    }

    /// Whether its peer only tries whether it reaches this node.
    fn is_probe(&self, id: ConnectionId) -> bool {
        self.links.as_deref().is_some_and(|links| links.streams.role(id) == Some(LinkRole::Probe))
    }

    /// Ends all links, and refuses who waits for another node: the broker stops. It is no node of a cluster any more.
    pub(in crate::conn) fn close_links(&mut self) {
        self.refuse_waiters();
        let is_link = |phase| matches!(phase, Phase::Dialling | Phase::AwaitingPeer | Phase::Link);
        let links: Vec<ConnectionId> =
            self.table.iter().filter(|(_, connection)| is_link(connection.phase)).map(|(id, _)| id).collect();
        let held: Vec<ConnectionId> = self.held_handovers.keys().copied().filter(|id| self.is_held_link(*id)).collect();
        for id in links.into_iter().chain(held) {
            self.close(id);
        }
        self.links = None;
    }

    /// A socket that nobody waits for any more.
    pub(super) fn close_unused(&mut self, socket: SocketId) {
        self.operations.push_back(Operation::Close { socket, under_way: UnderWayOn::Nothing });
    }
}
