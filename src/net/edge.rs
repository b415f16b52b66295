//! The object: one shard's plane and connections, what happens on the one, and what the other wants done.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::listener::{ListenerSocket, OpenListener};
use super::spans;
use crate::auth::{BanList, BannedAddresses, operator_bans::OperatorBans};
use crate::cluster::{ClusterView, NodeId};
use crate::conn::tls::Handshake;
use crate::conn::{
    Connections, ConnectionsConfig, Handover, KeptBuffer, LinkNews, LinkTerms, Operation, ReceiveEnd, ShardTurn,
    UnderWayOn,
};
use crate::ids::{ConnectionId, DatagramSocketId, ShardId, SocketId};
use crate::ring::{
    Buffer, Completeness, Durability, EndCause, Plane, PlaneCounters, PlaneHandle, RingError, SocketEvent, UnderWay,
    WriteAt,
};
use crate::settings::Settings;
use crate::shard::{Effects, Event, LogRoom, MeshOut};
use crate::slab::Slab;
use crate::telemetry::TransportCounters;
use crate::time::{Deadline, Now};

/// A write into a file that has ended.
#[derive(Debug)]
pub struct EndedWrite {
    /// The allocation that held the bytes.
    pub bytes: Vec<u8>,
    /// How many of them are durable, or the system's error number.
    pub result: Result<usize, i32>,
}

/// See the module's text.
pub struct Edge {
    pub(super) plane: Plane,
    pub(super) connections: Connections,
    /// The listeners by their indexes; `None` where one is gone, of which there may still be connections.
    pub(super) listeners: Vec<Option<OpenListener>>,
    /// Sockets of listeners that are no more, until their last clients have been told.
    pub(super) closing: Vec<(u8, DatagramSocketId)>,
    /// Sockets that receive no more, for want of buffers.
    datagrams_ended: Vec<DatagramSocketId>,
    /// How to reach the other shards' planes, by shard.
    planes: Vec<PlaneHandle>,
    /// Buffers that wait until what is in them may be handled, by the number that `conn` knows them by.
    kept: Slab<Buffer>,
    /// Handshakes that somebody else is to run.
    handshakes: Vec<(ConnectionId, Box<Handshake>)>,
    /// Sockets that are being connected.
    pub(super) dialling: HashMap<ConnectionId, SocketId>,
    /// Writes into files that have ended.
    written: VecDeque<EndedWrite>,
    /// When it may be said again that a connection was lost on its way in.
    pub(super) next_accept_report: Deadline,
    /// When it may be said again that there is no room for connections.
    pub(super) next_room_report: Deadline,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Edge").field("connections", &self.connections).finish_non_exhaustive()
    }
}

impl Edge {
    /// An edge over a plane, listening nowhere yet.
    pub fn new(config: ConnectionsConfig, plane: Plane) -> Self {
        Self {
            plane,
            connections: Connections::new(config),
            listeners: Vec::new(),
            closing: Vec::new(),
            datagrams_ended: Vec::new(),
            planes: Vec::new(),
            kept: Slab::new(),
            handshakes: Vec::new(),
            dialling: HashMap::new(),
            written: VecDeque::new(),
            next_accept_report: Deadline(0),
            next_room_report: Deadline(0),
        }
    }

    /// Tells how to reach every shard's plane, this one's included.
    pub fn set_planes(&mut self, planes: Vec<PlaneHandle>) {
        self.planes = planes;
    }

    /// Uses other settings from now on.
    pub fn set_settings(&mut self, settings: Arc<Settings>) {
        self.connections.set_settings(settings);
    }

    /// Whom operators have banned, from now on.
    pub fn use_bans(&mut self, bans: Option<Arc<OperatorBans>>) {
        self.connections.use_bans(bans);
    }

    /// Whom a file bans, from now on.
    pub fn use_ban_list(&mut self, list: Option<Arc<BanList>>) {
        self.connections.use_ban_list(list);
    }

    /// Where whoever counts failed logins says which addresses are banned for them.
    pub fn watch_banned(&mut self, addresses: Arc<BannedAddresses>) {
        self.connections.watch_banned(addresses);
    }

    /// How others reach this plane.
    pub fn handle(&self) -> PlaneHandle {
        self.plane.handle()
    }

    /// Closes the connections that have not sent CONNECT, and those to other nodes: the broker stops.
    pub fn close_awaiting_connect(&mut self) {
        self.connections.close_awaiting_connect();
        self.carry_out();
    }

    /// Connections that have not closed.
    pub const fn connections(&self) -> usize {
        self.connections.len()
    }

    /// What is known of connections.
    pub const fn facts(&self) -> &Connections {
        &self.connections
    }

    /// What has happened on the sockets.
    pub const fn counters(&self) -> &TransportCounters {
        self.connections.counters()
    }

    /// What the plane's rings have done.
    pub const fn plane_counters(&self) -> PlaneCounters {
        self.plane.counters()
    }

    // --- a turn, in the order of its steps -------------------------------------------------------------------------

    /// Gives every connection its budget again.
    pub const fn begin_turn(&mut self) {
        self.connections.begin_turn();
    }

    /// Takes the next thing that has happened on the plane. Returns whether there was one.
    pub fn take_event(&mut self, core: &mut ShardTurn<'_>) -> bool {
        let Some(event) = self.plane.next_event() else { return false };
        self.handle_event(core, event);
        self.carry_out();
        true
    }

    /// Collects what has arrived since the last entry into the kernel. Returns whether there are events now.
    pub fn collect(&mut self) -> Result<bool, RingError> {
        self.plane.collect()
    }

    /// Takes the next of what was deferred, if the turn has time for it: when all other events have been taken. Returns
    /// whether there was one.
    pub fn take_deferred(&mut self, core: &mut ShardTurn<'_>) -> bool {
        if self.connections.hear_resumed(core) {
            self.carry_out();
            return true;
        }
        let Some(deferred) = self.connections.next_deferred() else { return false };
        let buffer = deferred.buffer().and_then(|KeptBuffer(slot)| self.kept.remove(slot));
        let bytes = buffer.as_ref().map_or(&[][..], |buffer| self.plane.bytes(buffer));
        self.connections.handle_deferred(core, deferred, bytes);
        if let Some(buffer) = buffer {
            self.plane.give_back(buffer);
        }
        self.carry_out();
        true
    }

    /// Takes what another shard says about a connection that it hands over.
    pub fn take_handover(&mut self, core: &mut ShardTurn<'_>, handover: Handover) {
        self.connections.take_handover(core, handover);
        self.carry_out();
    }

    /// This broker is a node of a cluster from now on: it may dial others, and be dialled by listeners of [`ListenerKind::Cluster`].
    ///
    /// [`ListenerKind::Cluster`]: crate::settings::ListenerKind::Cluster
    pub fn use_links(&mut self, terms: LinkTerms) {
        self.connections.use_links(terms);
    }

    /// What this node knows of the cluster from now on, and which member it is.
    pub fn use_view(&mut self, now: Now, node: Option<NodeId>, view: Arc<ClusterView>) {
        self.connections.use_view(now, node, view);
        self.carry_out();
    }

    /// Gives links what this shard has said to other nodes: once a turn.
    pub fn take_links(&mut self, now: Now, mesh: &mut MeshOut) {
        self.connections.take_links(now, mesh);
    }

    /// The next peer whose link is behind from now on, or has room again.
    pub fn next_link_room(&mut self) -> Option<(ShardId, LogRoom)> {
        self.connections.next_link_room()
    }

    /// What was found out about other nodes since this was last asked.
    pub fn link_news(&mut self) -> Vec<LinkNews> {
        self.connections.link_news()
    }

    /// Takes in a connection of one of the broker's own services. One that there is no room for is closed, and comes again.
    pub fn take_internal(&mut self, socket: OwnedFd) {
        match self.plane.take_in(socket) {
            Ok(socket) => self.connections.accepted_internal(socket),
            Err(_) => self.connections.accept_failed(),
        }
        self.carry_out();
    }

    /// Handshakes that are to be run by a thread that is no shard's: each comes back by [`Self::take_handshake`].
    pub fn handshakes(&mut self) -> impl Iterator<Item = (ConnectionId, Box<Handshake>)> + '_ {
        self.handshakes.drain(..)
    }

    /// Takes back a handshake that was run.
    pub fn take_handshake(&mut self, core: &mut ShardTurn<'_>, connection: ConnectionId, handshake: Handshake) {
        self.connections.handshaken(core, connection, handshake);
        self.carry_out();
    }

    /// Ends what has taken too long, and lets those in who waited for a place.
    pub fn handle_deadlines(&mut self, core: &mut ShardTurn<'_>) {
        self.connections.handle_deadlines(core);
        self.carry_out();
    }

    /// Carries out what the shard asked of its connections. Mesh messages and records are the pump's and stay.
    pub fn apply(&mut self, fx: &mut Effects) {
        // Lines for the log first: they name connections that may close below.
        for event in fx.events.drain(..) {
            match event {
                Event::Span(span) => spans::note(span),
                event => self.write_log(&event),
            }
        }
        self.connections.apply(fx); // sockets hear of it with the next flush
    }

    /// Messages for other shards about connections that go there.
    pub fn handovers(&mut self) -> impl Iterator<Item = (ShardId, Handover)> + '_ {
        self.connections.handovers()
    }

    /// Lets the connections receive again that were without buffers, as far as there are buffers now.
    pub fn receive_with_freed_buffers(&mut self) {
        let plane = &self.plane;
        self.connections.buffers_freed(|socket| plane.buffers_free(socket) > 0);
        for socket in std::mem::take(&mut self.datagrams_ended) {
            self.receive_datagrams_again(socket);
        }
        self.carry_out();
    }

    /// Writes bytes into a file, durably, with the next entry into the kernel: [`Self::next_written`] gives them back.
    pub fn write_durable(&mut self, file: Arc<OwnedFd>, offset: u64, bytes: Vec<u8>, range: Range<usize>) {
        let at = WriteAt { offset, durability: Durability::WriteThenSync };
        self.plane.write_durable(file, at, bytes, range);
    }

    /// The next of such writes that has ended.
    pub fn next_written(&mut self) -> Option<EndedWrite> {
        self.written.pop_front()
    }

    /// Makes another shard's pump look around.
    pub fn wake(&mut self, shard: ShardId) {
        self.plane.wake(&self.planes[shard.index()]);
    }

    /// Stops handling what peers send, or goes on in the next turn.
    pub const fn set_paused(&mut self, is_paused: bool) {
        self.connections.set_paused(is_paused);
    }

    /// Whether receiving is paused.
    pub const fn is_paused(&self) -> bool {
        self.connections.is_paused()
    }

    /// Takes in more connections, unless those that have come must be served first.
    pub fn accept_more(&mut self, now: Now) {
        if self.connections.may_accept(now) {
            self.plane.accept_more();
            self.report_no_room(now);
        }
    }

    /// When [`Self::handle_deadlines`] or [`Self::accept_more`] is due.
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.connections.next_deadline()
    }

    /// Whether there is something to do, besides sending, before the pump may sleep.
    #[inline]
    pub fn has_work(&self) -> bool {
        self.connections.has_work()
    }

    // --- sleeping --------------------------------------------------------------------------------------------------

    /// Wishes to be awake at `deadline`.
    pub fn set_timeout(&mut self, deadline: Deadline) {
        self.plane.set_timeout(deadline.0.saturating_mul(1_000_000));
    }

    /// Enters the kernel if there is a reason to.
    pub fn submit(&mut self) -> Result<(), RingError> {
        self.plane.submit()
    }

    // --- events in, operations out ---------------------------------------------------------------------------------

    fn handle_event(&mut self, core: &mut ShardTurn<'_>, event: SocketEvent) {
        match event {
            SocketEvent::Received { connection, buffer, more } => self.handle_received(core, connection, buffer, more),
            SocketEvent::ReceiveEnded { connection, cause } => {
                self.connections.receive_ended(core, connection, end_of(cause));
            }
            SocketEvent::Accepted { listener, socket, peer } => {
                match self.index_of(ListenerSocket::Accepts(listener)) {
                    Some(index) => self.connections.accepted(core.turn.now, index, socket, peer.into()),
                    None => self.connections.accepted_by_nobody(socket),
                }
            }
            SocketEvent::AcceptFailed { errno, .. } => {
                self.connections.accept_failed();
                self.report_accept_failed(core.turn.now, errno);
            }
            SocketEvent::Sent { connection, error, .. } => self.connections.sent(core, connection, error.is_some()),
            SocketEvent::Adopted { ticket, socket } => self.connections.adopted(core, ticket, socket),
            SocketEvent::HandedOver { ticket } => self.connections.handed_over(ticket),
            SocketEvent::HandOverFailed { ticket, socket, .. } => self.connections.hand_over_failed(ticket, socket),
            SocketEvent::Finished { connection } => self.connections.finished(connection),
            SocketEvent::Written { bytes, result } => self.written.push_back(EndedWrite { bytes, result }),
            SocketEvent::Datagram { socket, from, buffer, completeness, more } => {
                self.handle_datagram(core, (socket, from), buffer, completeness);
                if !more {
                    self.receive_datagrams_again(socket);
                }
            }
            SocketEvent::DatagramsEnded { socket, cause } => match cause {
                EndCause::Eof => self.receive_datagrams_again(socket),
                EndCause::Cancelled => {}
                EndCause::OutOfBuffers | EndCause::Error(_) => self.datagrams_ended.push(socket),
            },
            SocketEvent::Connected { connection, error } => self.handle_connected(connection, error),
            // Datagrams that did not leave are counted, and sent again if they must arrive.
            SocketEvent::DatagramNotSent { .. } | SocketEvent::Timeout => {}
        }
    }

    /// What [`Operation::Dial`] began has ended, unless it was given up.
    fn handle_connected(&mut self, connection: ConnectionId, error: Option<i32>) {
        let Some(socket) = self.dialling.remove(&connection) else { return };
        if error.is_some() {
            self.plane.close(socket, UnderWay::Nothing);
        }
        self.tell_connected(connection, error.map_or(Ok(socket), Err));
    }

    fn tell_connected(&mut self, connection: ConnectionId, result: Result<SocketId, i32>) {
        self.connections.connected(connection, result);
        // One that failed leads to no operation.
        self.connections.refused().for_each(Self::write_refused);
    }

    fn dial(&mut self, to: SocketAddr, connection: ConnectionId) {
        match self.plane.connect(to, None, connection) {
            Ok(socket) => {
                self.dialling.insert(connection, socket);
            }
            Err(error) => self.tell_connected(connection, Err(error.errno())),
        }
    }

    fn index_of(&self, socket: ListenerSocket) -> Option<u8> {
        let is_it = |known: &Option<OpenListener>| known.as_ref().is_some_and(|known| known.socket == socket);
        self.listeners.iter().position(is_it).map(|index| index as u8)
    }

    fn handle_datagram(
        &mut self,
        core: &mut ShardTurn<'_>,
        (socket, from): (DatagramSocketId, SocketAddr),
        buffer: Buffer,
        completeness: Completeness,
    ) {
        if let Some(index) = self.index_of(ListenerSocket::Receives(socket)) {
            match completeness {
                Completeness::Whole => self.connections.datagram(core, index, from, self.plane.bytes(&buffer)),
                Completeness::Truncated => self.connections.datagram_too_long(),
            }
        }
        self.plane.give_back(buffer);
    }

    fn receive_datagrams_again(&mut self, socket: DatagramSocketId) {
        if self.index_of(ListenerSocket::Receives(socket)).is_some() {
            self.plane.receive_datagrams(socket);
        }
    }

    #[inline]
    fn handle_received(&mut self, core: &mut ShardTurn<'_>, id: ConnectionId, buffer: Buffer, more: bool) {
        let Self { plane, connections, kept, .. } = self;
        let bytes = plane.bytes(&buffer);
        let mut buffer = Some(buffer);
        connections.received(core, id, bytes, more, || {
            let buffer = buffer.take().expect("a buffer is kept once");
            KeptBuffer(kept.insert(buffer))
        });
        if let Some(buffer) = buffer {
            plane.give_back(buffer);
        }
    }

    /// Queues what `conn` wants done: mostly nothing.
    #[inline]
    pub(super) fn carry_out(&mut self) {
        if self.connections.has_operations() {
            self.queue_operations();
        }
    }

    fn queue_operations(&mut self) {
        // Each of them leads to an operation.
        self.connections.refused().for_each(Self::write_refused);
        while let Some(operation) = self.connections.next_operation() {
            let plane = &mut self.plane;
            match operation {
                Operation::ReceiveOnce { socket, connection } => plane.receive_once(socket, connection),
                Operation::Receive { socket, connection } => plane.receive_multi(socket, connection),
                Operation::StopReceiving { socket, connection } => plane.stop_receiving(socket, connection),
                Operation::Send { socket, connection, bytes } => plane.send_rest(socket, connection, bytes),
                Operation::FinishSending { socket, connection } => plane.finish_sending(socket, connection),
                Operation::Close { socket, under_way } => plane.close(socket, under_way_of(under_way)),
                Operation::Abort { socket, under_way } => plane.abort(socket, under_way_of(under_way)),
                Operation::Handshake { connection, handshake } => self.handshakes.push((connection, handshake)),
                Operation::Dial { to, connection } => self.dial(to, connection),
                Operation::GiveUpDial { connection } => {
                    if let Some(socket) = self.dialling.remove(&connection) {
                        plane.close(socket, UnderWay::Connect(connection));
                    }
                }
                Operation::HandOver { socket, ticket, target } => {
                    plane.hand_over(socket, ticket, &self.planes[target.index()]);
                }
            }
        }
    }
}

const fn end_of(cause: EndCause) -> ReceiveEnd {
    match cause {
        EndCause::Eof | EndCause::Error(_) => ReceiveEnd::PeerGone,
        EndCause::OutOfBuffers => ReceiveEnd::OutOfBuffers,
        EndCause::Cancelled => ReceiveEnd::Stopped,
    }
}

const fn under_way_of(under_way: UnderWayOn) -> UnderWay {
    match under_way {
        UnderWayOn::Nothing => UnderWay::Nothing,
        UnderWayOn::Receive(connection) => UnderWay::Receive(connection),
        UnderWayOn::Anything => UnderWay::Anything,
    }
}
