//! The object: one shard's plane and connections, what happens on the one, and what the other wants done.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::conn::tls::Handshake;
use crate::conn::{
    Connections, ConnectionsConfig, Handover, KeptBuffer, ListenerLayers, Operation, ReceiveEnd, ShardTurn, UnderWayOn,
};
use crate::ids::{ConnectionId, ListenerId, ShardId};
use crate::limits;
use crate::ring::{
    Buffer, Durability, EndCause, ListenConfig, Plane, PlaneCounters, PlaneHandle, RingError, SharedUnixListener,
    SocketEvent, TcpKeepAlive, UnderWay, WriteAt,
};
use crate::settings::{ListenerSettings, Settings};
use crate::shard::Effects;
use crate::slab::Slab;
use crate::telemetry::TransportCounters;
use crate::time::{Deadline, Now};

/// Where to listen.
#[derive(Clone, Debug)]
pub enum ListenOn {
    /// At an address; every shard has a listener of its own on it.
    Ip(SocketAddr),
    /// At a path, which all shards share.
    Unix(SharedUnixListener),
}

impl fmt::Display for ListenOn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(out),
            Self::Unix(socket) => socket.path().display().fmt(out),
        }
    }
}

/// A listener of all shards.
#[derive(Clone, Debug)]
pub struct Listening {
    /// Where it listens.
    pub on: ListenOn,
    /// What holds for the connections that come by it.
    pub settings: Arc<ListenerSettings>,
    /// Those of them that there are at present, shared by all edges.
    pub connections: Arc<AtomicU32>,
    /// What their bytes pass.
    pub layers: ListenerLayers,
}

fn tcp_keep_alive(settings: &ListenerSettings) -> Option<TcpKeepAlive> {
    let &ListenerSettings { tcp_keepalive_idle_s, tcp_keepalive_interval_s, tcp_keepalive_count, .. } = settings;
    (tcp_keepalive_idle_s > 0).then(|| TcpKeepAlive {
        idle_s: tcp_keepalive_idle_s.into(),
        interval_s: tcp_keepalive_interval_s.into(),
        count: tcp_keepalive_count.into(),
    })
}

fn tcp_config(address: SocketAddr, settings: &ListenerSettings) -> ListenConfig {
    ListenConfig {
        // In MQTT, in TLS and in HTTP the client speaks first, and in the PROXY protocol the proxy.
        defer_accept_s: Some(limits::DEFER_ACCEPT_S),
        keep_alive: tcp_keep_alive(settings),
        user_timeout_ms: user_timeout_ms(settings),
        ..ListenConfig::new(address)
    }
}

fn user_timeout_ms(settings: &ListenerSettings) -> Option<u32> {
    (settings.tcp_user_timeout_s > 0).then(|| settings.tcp_user_timeout_s * 1_000)
}

/// A listener of this shard.
#[derive(Debug)]
struct OpenListener {
    id: ListenerId,
    /// Where, with its port.
    on: ListenOn,
    settings: Arc<ListenerSettings>,
    is_open: bool,
}

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
    /// The plane's names of the listeners, in the order of their indexes.
    listeners: Vec<OpenListener>,
    /// How to reach the other shards' planes, by shard.
    planes: Vec<PlaneHandle>,
    /// Buffers that wait until what is in them may be handled, by the number that `conn` knows them by.
    kept: Slab<Buffer>,
    /// Handshakes that somebody else is to run.
    handshakes: Vec<(ConnectionId, Box<Handshake>)>,
    /// Writes into files that have ended.
    written: VecDeque<EndedWrite>,
    /// When it may be said again that there are no descriptors, or no room for them.
    pub(super) next_shortage_report: Deadline,
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
            planes: Vec::new(),
            kept: Slab::new(),
            handshakes: Vec::new(),
            written: VecDeque::new(),
            next_shortage_report: Deadline(0),
        }
    }

    /// Starts listening. Returns where, which tells the port where 0 was asked for.
    pub fn listen(&mut self, listening: Listening) -> Result<ListenOn, RingError> {
        let Listening { on, settings, connections, layers } = listening;
        let settings = settings_under_test(settings);
        let (id, on) = match on {
            ListenOn::Ip(address) => {
                let (id, address) = self.plane.listen(&tcp_config(address, &settings))?;
                (id, ListenOn::Ip(address))
            }
            ListenOn::Unix(socket) => (self.plane.listen_unix(socket.clone()), ListenOn::Unix(socket)),
        };
        let open = OpenListener { id, on: on.clone(), settings: Arc::clone(&settings), is_open: true };
        self.listeners.push(open);
        self.connections.add_listener(settings, connections, layers_of(layers));
        Ok(on)
    }

    /// Tells how to reach every shard's plane, this one's included.
    pub fn set_planes(&mut self, planes: Vec<PlaneHandle>) {
        self.planes = planes;
    }

    /// Uses other settings from now on.
    pub fn set_settings(&mut self, settings: Arc<Settings>) {
        self.connections.set_settings(settings);
    }

    /// How others reach this plane.
    pub fn handle(&self) -> PlaneHandle {
        self.plane.handle()
    }

    /// Stops accepting.
    pub fn stop_listening(&mut self) {
        for listener in self.listeners.iter_mut().filter(|listener| listener.is_open) {
            self.plane.close_listener(listener.id);
            listener.is_open = false;
        }
    }

    /// Stops or starts accepting by one listener, by its index. Its connections stay. A path has one socket for all shards: it stays as it is.
    ///
    /// # Errors
    /// It cannot be listened at that address now.
    pub fn set_listener(&mut self, index: u8, is_open: bool) -> Result<(), RingError> {
        let Some(listener) = self.listeners.get_mut(usize::from(index)) else { return Ok(()) };
        match (&listener.on, is_open) {
            (ListenOn::Ip(_), false) if listener.is_open => self.plane.close_listener(listener.id),
            (ListenOn::Ip(address), true) if !listener.is_open => {
                self.plane.reopen_listener(listener.id, &tcp_config(*address, &listener.settings))?;
            }
            _ => return Ok(()),
        }
        listener.is_open = is_open;
        Ok(())
    }

    /// Closes the connections that have not sent CONNECT: the broker stops.
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
            self.write_log(&event);
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
                let index =
                    self.listeners.iter().position(|known| known.id == listener).expect("it was made by `listen`");
                self.connections.accepted(core.turn.now, index as u8, socket, peer.into());
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
            // The broker opens no connections and no datagram sockets.
            SocketEvent::Datagram { buffer, .. } => self.plane.give_back(buffer),
            SocketEvent::DatagramsEnded { .. }
            | SocketEvent::DatagramNotSent { .. }
            | SocketEvent::Connected { .. }
            | SocketEvent::Timeout => {}
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
                Operation::HandOver { socket, ticket, target } => {
                    plane.hand_over(socket, ticket, &self.planes[target.index()]);
                }
            }
        }
    }
}

/// What connections of a listener begin with: what it says, and under test what the test says.
fn layers_of(layers: ListenerLayers) -> ListenerLayers {
    #[cfg(feature = "test-layers")]
    match std::env::var("DUNLIN_TEST_LAYER").as_deref() {
        Ok("inverting") => return ListenerLayers::Inverting,
        Ok("inverting-twice") => return ListenerLayers::InvertingTwice,
        _ => {}
    }
    layers
}

/// Listeners speak WebSocket where a test says so, whatever their kind.
fn settings_under_test(settings: Arc<ListenerSettings>) -> Arc<ListenerSettings> {
    #[cfg(feature = "test-layers")]
    if std::env::var_os("DUNLIN_TEST_LAYER").is_some_and(|layer| layer == "websocket") {
        let kind = crate::settings::ListenerKind::WebSocket;
        return Arc::new(ListenerSettings { kind, ..(*settings).clone() });
    }
    settings
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
