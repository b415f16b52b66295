//! To the shard that owns the client id, or hears the link.
//!
//! A connection is handed over at most once. Its socket goes straight from ring to ring; its CONNECT, what came behind it
//! and what its layers hold go over the mesh; a ticket joins the two, whichever comes first. A socket that could not be
//! sent is closed here, and the shard that was to have it, and nobody else, is told to expect it no longer.

use std::sync::atomic::Ordering;

use super::connection::{Connection, Phase};
use super::connections::{Connections, InputHandler};
use super::handed_over::{ArrivedClient, Half, HandedOver, Handover, Leaving};
use super::operation::Operation;
use crate::ids::{ConnectionId, ShardId, SocketId, Ticket};
use crate::telemetry::CloseReason;

impl Connections {
    /// What a connection has said shows where it belongs: it goes there, at once or when nothing is under way on its socket.
    pub(super) fn begin_handover(&mut self, id: ConnectionId, owner: ShardId, mut handed_over: HandedOver) {
        let Some(connection) = self.table.get_mut(id) else { return };
        connection.phase = Phase::HandingOver;
        if connection.rest_bytes > 0 {
            self.held_handovers.insert(id, (owner, handed_over));
            return;
        }
        handed_over.set_wire(std::mem::take(&mut connection.wire));
        self.tickets += 1;
        let ticket = Ticket::new(u64::from(self.config.own.0) << 48 | self.tickets);
        self.operations.push_back(Operation::HandOver { socket: connection.socket, ticket, target: owner });
        self.leaving.insert(ticket, Leaving { connection: id, to: owner, is_link: handed_over.is_link() });
        self.config.handovers[owner.index()].fetch_add(1, Ordering::Relaxed);
        self.outgoing.push((owner, Handover::Begun { ticket, connection: handed_over }));
    }

    /// The socket has taken what the connection's layers had said.
    pub(super) fn begin_held_handover(&mut self, id: ConnectionId) {
        if let Some((owner, handed_over)) = self.held_handovers.remove(&id) {
            self.begin_handover(id, owner, handed_over);
        }
    }

    /// Another shard hands a connection over, or could not. From one shard these come in their order.
    pub fn take_handover(&mut self, core: &mut impl InputHandler, handover: Handover) {
        match handover {
            Handover::Begun { ticket, connection } => match self.incoming.remove(&ticket) {
                Some(Half::Socket(socket)) => self.adopt(core, socket, connection),
                Some(Half::Message(_)) | None => {
                    self.incoming.insert(ticket, Half::Message(connection));
                }
            },
            Handover::Failed { ticket } => {
                self.incoming.remove(&ticket);
            }
            Handover::Datagram(datagram) => self.take_forwarded(core, &datagram),
            Handover::PeerGone(source) => self.sn.forget_elsewhere(source),
            Handover::PeerReplaced(source) => self.end_replaced(core, source),
        }
    }

    /// A socket that another shard handed over is here.
    pub fn adopted(&mut self, core: &mut impl InputHandler, ticket: Ticket, socket: SocketId) {
        match self.incoming.remove(&ticket) {
            Some(Half::Message(connection)) => self.adopt(core, socket, connection),
            Some(Half::Socket(_)) | None => {
                self.incoming.insert(ticket, Half::Socket(socket));
            }
        }
    }

    fn adopt(&mut self, core: &mut impl InputHandler, socket: SocketId, handed_over: HandedOver) {
        self.config.handovers[self.config.own.index()].fetch_sub(1, Ordering::Relaxed);
        match handed_over {
            HandedOver::Client(client) => self.adopt_client(core, socket, *client),
            HandedOver::Link(link) => self.adopt_link(core, socket, *link),
        }
    }

    fn adopt_client(&mut self, core: &mut impl InputHandler, socket: SocketId, mut handed_over: ArrivedClient) {
        let (listener, peer, wire) = (handed_over.listener, handed_over.peer, std::mem::take(&mut handed_over.wire));
        let mut connection = Connection::new(socket, Phase::Open, wire);
        connection.listener = listener;
        connection.peer = peer;
        let has_words = connection.has_words();
        let id = self.table.insert(connection);
        if has_words {
            self.mark_dirty(id);
        }
        if let Some(handed_over) = self.keep_own(core.now(), id, handed_over) {
            if core.is_full_for(handed_over.client_id(), listener) {
                self.await_place(core.now(), id, handed_over);
                return;
            }
            let ArrivedClient { connect, rest, assigned_client_id, .. } = handed_over;
            self.open(core, id, &connect, assigned_client_id.as_deref(), &rest);
        }
        self.finish_layers(core, id);
        self.receive_again(id);
    }

    /// A socket is the other shard's now.
    pub fn handed_over(&mut self, ticket: Ticket) {
        if let Some(leaving) = self.leaving.remove(&ticket) {
            self.table.remove(leaving.connection);
        }
    }

    /// The target has no room, or is gone: the socket is still ours, and whoever is at its other end is turned away.
    pub fn hand_over_failed(&mut self, ticket: Ticket, socket: SocketId) {
        let Some(Leaving { connection: id, to: owner, is_link }) = self.leaving.remove(&ticket) else { return };
        if is_link {
            self.refuse(id, CloseReason::LinkNoRoom, "the shard that hears it took no more sockets");
        } else {
            self.refuse(id, CloseReason::Resources, "the shard that has its session took no more sockets");
        }
        self.config.handovers[owner.index()].fetch_sub(1, Ordering::Relaxed);
        if let Some(connection) = self.table.get_mut(id) {
            connection.socket = socket;
        }
        self.close(id);
        self.outgoing.push((owner, Handover::Failed { ticket }));
    }
}
