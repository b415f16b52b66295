//! Where a client of a cluster belongs: to this node, to another one, or to nobody yet.
//!
//! Always holds: no CONNECT is heard here whose range this node does not serve by the view that its shard has at that moment, wherever it has
//! waited before. Nobody waits longer for its range than [`CLUSTER_WAIT_MS`], on all shards together; nothing is received from it meanwhile. A service of the broker's own
//! does not wait: it is to run where its range is. Nor is a client passed on that another node has forwarded: it waits until its range is this node's.
//! A node whose view is not known yet is a broker by itself.

use std::sync::Arc;

use super::connection::Phase;
use super::connections::{Connections, InputHandler};
use super::handed_over::{ArrivedClient, HandedOver};
use super::nodes::NodeLinks;
use super::peer::RefusedPeer;
use super::range_waiters::{AwaitedRange, RangeWait};
use crate::cluster::{ClusterView, PeerProcess, RangeServer};
use crate::codec::{ConnAck, ReasonCode};
use crate::ids::{ConnectionId, INTERNAL_LISTENER, ShardId};
use crate::limits::{ASSIGNED_IDS_TRIED_MAX, CLUSTER_WAIT_MS, RANGE_WAITERS_PER_TURN};
use crate::telemetry::CloseReason;
use crate::time::Now;

impl Connections {
    /// What this node knows of its cluster.
    pub(super) fn view(&self) -> Option<&Arc<ClusterView>> {
        self.links.as_deref().and_then(NodeLinks::view)
    }

    /// Lets a CONNECT on that this node is to hear, with a client id for one that had none. Any other one waits, is sent elsewhere or is refused.
    pub(super) fn keep_own(&mut self, now: Now, id: ConnectionId, mut arrived: ArrivedClient) -> Option<ArrivedClient> {
        let Some(view) = self.view() else { return Some(arrived) };
        let view = Arc::clone(view);
        if arrived.client_id().is_empty() {
            arrived.assigned_client_id = self.assign_client_id_within(&view);
            if arrived.assigned_client_id.is_none() {
                self.await_range(now, id, RangeWait::AnyOwn, arrived);
                return None;
            }
        }
        let range = view.ranges.range_of(arrived.client_id());
        match view.server_of(range) {
            RangeServer::Own => return Some(arrived),
            // The node that has forwarded it knows more than this one, or less: nobody passes it on once more.
            _ if self.is_forwarded(id) => self.await_range(now, id, RangeWait::Own(range), arrived),
            RangeServer::Peer(peer) => self.send_elsewhere(id, &arrived, peer),
            RangeServer::Nobody => self.await_range(now, id, RangeWait::Anybody(range), arrived),
        }
        None
    }

    /// A CONNECT that this node is to hear: it is opened here, or handed over.
    pub(super) fn let_on(&mut self, core: &mut impl InputHandler, id: ConnectionId, arrived: ArrivedClient) {
        let owner = ShardId::owner_of(arrived.client_id(), self.config.shards);
        if owner != self.config.own {
            self.begin_handover(id, owner, HandedOver::Client(Box::new(arrived)));
        } else if core.is_full_for(arrived.client_id(), arrived.listener) {
            self.await_place(core.now(), id, arrived);
        } else {
            let ArrivedClient { connect, rest, assigned_client_id, .. } = arrived;
            self.open(core, id, &connect, assigned_client_id.as_deref(), &rest);
        }
    }

    /// Lets those on whose ranges are served now, and refuses those that have waited long enough; some of them, if they are many.
    pub(super) fn let_on_waiters(&mut self, core: &mut impl InputHandler) {
        let now = core.now();
        for _ in 0..RANGE_WAITERS_PER_TURN {
            let Some(awaited) = self.links.as_deref_mut().and_then(|links| links.next_waiter(now)) else { return };
            let AwaitedRange { connection: id, arrived, .. } = awaited;
            let Some(connection) = self.table.get(id) else { continue };
            let listener = connection.listener;
            if let Some(arrived) = self.keep_own(now, id, *arrived) {
                self.let_on(core, id, arrived);
            }
            if self.held_handovers.contains_key(&id) {
                // The time for its CONNECT may have passed, and that its socket takes nothing is to be bounded all the same.
                let entry = &mut self.listeners[usize::from(listener)];
                entry.awaiting_connect.push_back((now.after_s(entry.settings.connect_timeout_s.into()), id));
            }
            self.finish_layers(core, id);
            self.receive_again(id);
        }
    }

    /// The broker stops, and nobody waits any more.
    pub(super) fn refuse_waiters(&mut self) {
        let Some(links) = self.links.as_deref_mut() else { return };
        let waiters = std::mem::take(&mut links.waiters);
        for AwaitedRange { connection: id, arrived, .. } in waiters.into_all() {
            self.turn_away(id, &arrived, "the broker stops");
            self.receive_again(id);
        }
    }

    /// A client id that no other client has, of a range that this node serves; `None` while it serves none.
    fn assign_client_id_within(&mut self, view: &ClusterView) -> Option<Box<str>> {
        let tries = if view.serves_any() { ASSIGNED_IDS_TRIED_MAX } else { 0 };
        let mut made_up = (0..tries).map(|_| self.assign_client_id());
        made_up.find(|id| view.server_of(view.ranges.range_of(id)) == RangeServer::Own)
    }

    /// Another node is to hear this client.
    fn send_elsewhere(&mut self, id: ConnectionId, arrived: &ArrivedClient, peer: &PeerProcess) {
        let connect = arrived.connect.get();
        // Older clients have no word for it.
        let may_be_told = connect.version.is_v5() && arrived.listener != INTERNAL_LISTENER;
        if let Some(server) = peer.server.as_deref().filter(|_| may_be_told) {
            let connack = ConnAck { server_reference: Some(server), ..ConnAck::new(ReasonCode::UseAnotherServer) };
            let mut bytes = Vec::new();
            connack.encode(connect.version, &mut bytes);
            if bytes.len() <= connect.maximum_packet_size_bytes as usize {
                let reason = CloseReason::Redirected;
                self.refuse_arrived(arrived, reason, "another node serves it, and it was told which server that is");
                self.linger_with(id, reason, |out| out.extend_from_slice(&bytes));
                return;
            }
        }
        self.turn_away(id, arrived, "another node serves it, and it could not be told where to connect to");
    }

    /// Whether another node has forwarded it.
    fn is_forwarded(&self, id: ConnectionId) -> bool {
        self.table.get(id).is_some_and(|connection| connection.wire.forwarded().is_some())
    }

    /// Has a client wait until somebody serves its range, or this node does.
    fn await_range(&mut self, now: Now, id: ConnectionId, wait: RangeWait, mut arrived: ArrivedClient) {
        if arrived.listener == INTERNAL_LISTENER {
            return self.turn_away(id, &arrived, "this node does not serve its range");
        }
        let until = arrived.until.unwrap_or(now.after_ms(CLUSTER_WAIT_MS));
        if until.is_due(now) {
            return self.turn_away(id, &arrived, "no node has come to serve it in time");
        }
        let (Some(connection), Some(links)) = (self.table.get_mut(id), self.links.as_deref_mut()) else { return };
        if !links.waiters.has_room_for(&arrived) {
            return self.turn_away(id, &arrived, "no node serves it yet, and as many wait for one as may be");
        }
        connection.phase = Phase::AwaitingRange;
        arrived.until = Some(until);
        links.waiters.push(wait, AwaitedRange { until, connection: id, arrived: Box::new(arrived) });
    }

    /// Refuses a client that cannot be heard on this node.
    fn turn_away(&mut self, id: ConnectionId, arrived: &ArrivedClient, text: &'static str) {
        if self.table.get(id).is_none() {
            return;
        }
        let reason = CloseReason::Unavailable;
        self.refuse_arrived(arrived, reason, text);
        let version = arrived.connect.get().version;
        self.linger_with(id, reason, |out| {
            ConnAck::new(ReasonCode::ServerUnavailable).encode(version, out);
        });
    }

    fn refuse_arrived(&mut self, arrived: &ArrivedClient, reason: CloseReason, text: &'static str) {
        let client_id = Some(arrived.client_id()).filter(|client_id| !client_id.is_empty()).map(Into::into);
        let refused = RefusedPeer { peer: arrived.peer, reason, text, level: None, client_id };
        self.refuse_peer(arrived.listener, refused);
    }
}
