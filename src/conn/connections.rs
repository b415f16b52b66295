//! The object: the connections of one shard, what bounds them, and the events that concern all of them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::budget::{Budgets, Deferred};
use super::connection::{Connection, Fin, Phase};
use super::handed_over::{AwaitingPlace, Half, HandedOver, Handover, Leaving};
use super::layers::ListenerLayers;
use super::nodes::NodeLinks;
use super::operation::{Operation, Operations, UnderWayOn};
use super::outbox::Outbox;
use super::packet_bounds::PacketBounds;
use super::peer::{Peer, RefusedPeer};
use super::rates::ConnectRates;
use super::sn_peers::SnPeers;
use crate::auth::{Ask, PeerIdentity, Question};
#[cfg(feature = "tls")]
use crate::auth::{BanList, BannedAddresses, operator_bans::OperatorBans};
use crate::codec::Version;
use crate::ids::{ConnectionId, INTERNAL_LISTENER, PacketId, PeerAddress, Qos, ShardId, SocketId, Ticket};
use crate::limits;
use crate::settings::{ListenerKind, ListenerSettings, Settings};
use crate::shard::command::EdgeFacts;
use crate::shard::{Input, Shard, Turn};
use crate::slab::GenerationalSlab;
use crate::telemetry::{CloseReason, TransportCounters};
use crate::time::{Deadline, Now};

/// Who takes the inputs that events lead to: a shard, with the time of the turn.
pub trait InputHandler {
    /// The time of the turn.
    fn now(&self) -> Now;
    /// Whether this client, which came by `listener`, would be refused now for want of a place.
    fn is_full_for(&self, client_id: &str, listener: u8) -> bool;
    /// Takes one input.
    fn handle(&mut self, input: Input<'_>);
    /// Whether it has just asked somebody else about the CONNECT of this connection.
    fn has_asked_about(&self, connection: ConnectionId) -> bool;
    /// Whether the packet that it was just given takes several turns, and nothing behind it is to be heard before
    /// [`Effect::Resume`](crate::shard::Effect::Resume). Asked once after each packet.
    fn holds_sender(&mut self) -> bool;
    /// What [`Effects::deliveries`](crate::shard::Effects::deliveries) has come to.
    fn deliveries(&self) -> u32;
    /// Whether nothing that may bring another message is to be heard for now.
    fn is_overloaded(&self) -> bool;
    /// Whether anything is left that could be sent to the client of a connection, or that it has not acknowledged.
    fn has_more_for(&self, connection: ConnectionId) -> bool;
    /// Whether a message of QoS 1 or 2 that a client publishes would be taken. Otherwise its connection would end.
    fn has_room_for(&self, connection: ConnectionId, packet_id: PacketId, qos: Qos) -> bool;
}

/// A shard as connections reach it: with the time that holds now, and room for what follows.
#[derive(Debug)]
pub struct ShardTurn<'a> {
    /// Whose clients these are.
    pub shard: &'a mut Shard,
    /// The time, and where effects go.
    pub turn: Turn<'a>,
}

impl InputHandler for ShardTurn<'_> {
    #[inline]
    fn now(&self) -> Now {
        self.turn.now
    }

    fn is_full_for(&self, client_id: &str, listener: u8) -> bool {
        self.shard.is_full_for(client_id, listener)
    }

    #[inline]
    fn handle(&mut self, input: Input<'_>) {
        self.shard.handle(&mut self.turn, input);
    }

    #[inline]
    fn has_asked_about(&self, connection: ConnectionId) -> bool {
        let is_about = |ask: &Ask| ask.connection == connection && matches!(ask.question, Question::Connect(_));
        self.turn.fx.asks.last().is_some_and(is_about)
    }

    #[inline]
    fn holds_sender(&mut self) -> bool {
        std::mem::take(&mut self.turn.fx.holds_sender)
    }

    #[inline]
    fn deliveries(&self) -> u32 {
        self.turn.fx.deliveries
    }

    fn is_overloaded(&self) -> bool {
        self.shard.is_overloaded()
    }

    fn has_more_for(&self, connection: ConnectionId) -> bool {
        self.shard.has_more_for(connection)
    }

    fn has_room_for(&self, connection: ConnectionId, packet_id: PacketId, qos: Qos) -> bool {
        self.shard.has_room_for(connection, packet_id, qos)
    }
}

/// What the connections of a shard are made with.
#[derive(Clone, Debug)]
pub struct ConnectionsConfig {
    /// The shard that these belong to, and that client ids are compared with.
    pub own: ShardId,
    /// Shards of the process.
    pub shards: usize,
    /// Clients that may be connected to the whole process: so many connections there may be, and some more.
    pub connections_max: u32,
    /// Connections of the whole process at present, shared by all shards.
    pub connections: Arc<AtomicU32>,
    /// Connections on their way to each shard, by shard: sent off, and not yet adopted. Shared by all shards.
    pub handovers: Arc<[AtomicU32]>,
    /// How often peers have connected, shared by all shards.
    pub rates: Arc<ConnectRates>,
    /// What the core was given, too: the size of a packet is checked before the core sees it.
    pub settings: Arc<Settings>,
    /// Random, the same for all shards: makes assigned client ids unique. Clients see it, so nothing is keyed with it.
    pub instance: u64,
}

/// A listener, as its connections know it. The same ones in the same order on every shard.
#[derive(Debug)]
pub(super) struct ListenerEntry {
    pub(super) settings: Arc<ListenerSettings>,
    /// Its connections on all shards at present.
    connections: Arc<AtomicU32>,
    pub(super) layers: ListenerLayers,
    /// Connections that have not sent CONNECT, in the order in which their time runs out.
    pub(super) awaiting_connect: VecDeque<(Deadline, ConnectionId)>,
    /// Those of them whose TLS handshakes may not be done, by when they have to be.
    pub(super) shaking: VecDeque<(Deadline, ConnectionId)>,
    /// Those of them whose TLS handshakes are not done.
    pub(super) half_open: BTreeSet<ConnectionId>,
    /// Clients that wait for a place.
    pub(super) awaiting_place: AwaitingPlace,
    /// Whether somebody may become a client by it who has no socket that it has accepted: in datagrams, or forwarded by another node.
    pub(super) takes_strangers: bool,
}

impl ListenerEntry {
    fn new(settings: Arc<ListenerSettings>, connections: Arc<AtomicU32>, layers: ListenerLayers) -> Self {
        Self {
            settings,
            connections,
            layers,
            awaiting_connect: VecDeque::new(),
            shaking: VecDeque::new(),
            half_open: BTreeSet::new(),
            awaiting_place: AwaitingPlace::default(),
            takes_strangers: true,
        }
    }

    /// That of the broker's own services. What counts its connections counts for nobody.
    fn internal() -> Self {
        Self::new(Arc::new(ListenerSettings::internal()), Arc::default(), ListenerLayers::None)
    }

    /// Whether clients of this version may come by it.
    pub(super) fn lets_in(&self, version: Version) -> bool {
        if self.settings.kind.has_datagrams() {
            return true; // what a translator says is no choice of the client's
        }
        let versions = self.settings.mqtt_versions;
        match version {
            Version::V31 => versions.v31,
            Version::V311 => versions.v311,
            Version::V5 => versions.v5,
        }
    }

    /// The client id of a client whose certificate says it.
    pub(super) fn client_id(&self, identity: Option<&PeerIdentity>) -> Option<Box<str>> {
        let name = self.settings.auth.certificate_client_id.of(identity?);
        name.filter(|name| !name.is_empty() && !name.contains('\0')).map(Into::into)
    }

    /// What a peer is called, where the system says it, or its certificate.
    pub(super) fn user_name(&self, peer: Peer, identity: Option<&PeerIdentity>) -> Option<Box<str>> {
        match (&self.settings.user_names, peer) {
            (Some(names), Peer::Unix(peer)) => Some(names.name_of(peer.user_id).into()),
            _ => self.settings.certificate_user.of(identity?).filter(|name| !name.is_empty()).map(Into::into),
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Connections {
    pub(super) config: ConnectionsConfig,
    pub(super) listeners: Vec<ListenerEntry>,
    /// Of the broker's own services.
    pub(super) internal: ListenerEntry,
    pub(super) table: GenerationalSlab<Connection>,
    pub(super) counters: TransportCounters,
    pub(super) operations: Operations,
    /// Connections with something to send.
    pub(super) dirty: Vec<ConnectionId>,
    /// Outboxes that nobody has.
    #[expect(clippy::vec_box, reason = "they are lent to connections, which have room for a pointer")]
    pub(super) pool: Vec<Box<Outbox>>,
    /// Connections that are to take the next step of closing.
    pub(super) lingering: Vec<ConnectionId>,
    /// Connections that have waited for a verdict, or for the work of a packet, and are to be heard again.
    pub(super) resumed: VecDeque<ConnectionId>,
    /// Peers that the shard never knew, for the log.
    pub(super) refused: Vec<RefusedPeer>,
    /// Connections whose peers have had their time to read the last words, in the order of their deadlines.
    pub(super) linger_deadlines: VecDeque<(Deadline, ConnectionId)>,
    /// Connections whose receive ended for want of buffers.
    pub(super) out_of_buffers: Vec<ConnectionId>,
    /// What was received while receiving was paused.
    pub(super) held: VecDeque<Deferred>,
    /// What was received of connections that had used up their budget.
    pub(super) budgets: Budgets,
    /// How large packets of some clients may be.
    pub(super) packet_bounds: PacketBounds,
    pub(super) is_paused: bool,
    /// When to look again whether the other shards have adopted what is on its way to them.
    accept_again: Option<Deadline>,
    /// When to look again whether there are places for those who wait, while anybody does.
    pub(super) place_again: Option<Deadline>,
    /// Halves of handovers to this shard, by ticket: the socket or the message, whichever came first.
    pub(super) incoming: HashMap<Ticket, Half>,
    /// Connections whose sockets were sent off, and where to.
    pub(super) leaving: HashMap<Ticket, Leaving>,
    /// Connections that are to be handed over as soon as their sockets have taken what their layers said.
    pub(super) held_handovers: HashMap<ConnectionId, (ShardId, HandedOver)>,
    /// Messages about them for other shards.
    pub(super) outgoing: Vec<(ShardId, Handover)>,
    pub(super) tickets: u64,
    pub(super) assigned_ids: u64,
    /// Whom operators have banned.
    #[cfg(feature = "tls")]
    pub(super) bans: Option<Arc<OperatorBans>>,
    /// Whom a file bans.
    #[cfg(feature = "tls")]
    pub(super) ban_list: Option<Arc<BanList>>,
    /// Addresses that are banned for their failed logins.
    #[cfg(feature = "tls")]
    pub(super) banned: Arc<BannedAddresses>,
    /// Handshakes that are to be run.
    #[cfg(feature = "tls")]
    pub(super) handshakes: super::handshakes::Handshakes,
    /// What layers open and seal, kept for its memory.
    pub(super) plain: Vec<u8>,
    /// Clients that come in datagrams.
    pub(super) sn: SnPeers,
    /// Of a node of a cluster.
    pub(super) links: Option<Box<NodeLinks>>,
}

impl Connections {
    /// No connections and no listeners yet.
    pub fn new(config: ConnectionsConfig) -> Self {
        Self {
            config,
            listeners: Vec::new(),
            internal: ListenerEntry::internal(),
            table: GenerationalSlab::new(),
            counters: TransportCounters::default(),
            operations: Operations::default(),
            dirty: Vec::new(),
            pool: Vec::new(),
            lingering: Vec::new(),
            resumed: VecDeque::new(),
            refused: Vec::new(),
            linger_deadlines: VecDeque::new(),
            out_of_buffers: Vec::new(),
            held: VecDeque::new(),
            budgets: Budgets::default(),
            packet_bounds: PacketBounds::default(),
            is_paused: false,
            accept_again: None,
            place_again: None,
            incoming: HashMap::new(),
            leaving: HashMap::new(),
            held_handovers: HashMap::new(),
            outgoing: Vec::new(),
            tickets: 0,
            assigned_ids: 0,
            #[cfg(feature = "tls")]
            bans: None,
            #[cfg(feature = "tls")]
            ban_list: None,
            #[cfg(feature = "tls")]
            banned: Arc::default(),
            #[cfg(feature = "tls")]
            handshakes: super::handshakes::Handshakes::default(),
            plain: Vec::new(),
            sn: SnPeers::default(),
            links: None,
        }
    }

    /// Adds a listener and returns its index, for [`Self::accepted`]. Every shard has the same ones under the same indexes:
    /// a connection that is handed over keeps its index. `connections` counts those of the listener over all shards.
    pub fn add_listener(
        &mut self,
        settings: Arc<ListenerSettings>,
        connections: Arc<AtomicU32>,
        layers: ListenerLayers,
    ) -> u8 {
        self.listeners.push(ListenerEntry::new(settings, connections, layers));
        u8::try_from(self.listeners.len() - 1).expect("LISTENER_INDEXES_MAX is far below")
    }

    /// Has another listener under the index of one that has closed and that no connection is left of.
    pub fn replace_listener(
        &mut self,
        index: u8,
        settings: Arc<ListenerSettings>,
        connections: Arc<AtomicU32>,
        layers: ListenerLayers,
    ) {
        self.listeners[usize::from(index)] = ListenerEntry::new(settings, connections, layers);
        self.counters.begin_listener(index);
    }

    /// Uses other settings for the connections that come by a listener from now on. While some of those before have not sent CONNECT, a
    /// shorter time for it counts from when theirs has passed.
    pub fn set_listener_settings(&mut self, index: u8, settings: Arc<ListenerSettings>) {
        self.listeners[usize::from(index)].settings = settings;
    }

    /// Uses other settings from now on.
    pub fn set_settings(&mut self, settings: Arc<Settings>) {
        self.config.settings = settings;
    }

    /// What was made of the configuration.
    pub const fn config(&self) -> &ConnectionsConfig {
        &self.config
    }

    /// Connections that have not closed.
    pub const fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether all have closed.
    pub const fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// What has happened on the sockets.
    pub const fn counters(&self) -> &TransportCounters {
        &self.counters
    }

    /// Who is at the other end of a connection, as far as it is known.
    pub fn peer(&self, id: ConnectionId) -> Peer {
        self.table.get(id).map_or(Peer::Unknown, |connection| connection.peer)
    }

    /// Whether there is something to do with sockets.
    #[inline]
    pub fn has_operations(&self) -> bool {
        !self.operations.is_empty()
    }

    /// The next thing to do with a socket.
    #[inline]
    pub fn next_operation(&mut self) -> Option<Operation> {
        self.operations.pop_front()
    }

    /// Handovers that have begun and not ended, from here or to here.
    pub fn handovers_pending(&self) -> usize {
        self.incoming.len() + self.leaving.len() + self.held_handovers.len()
    }

    /// Messages to other shards about connections that go there.
    pub fn handovers(&mut self) -> impl Iterator<Item = (ShardId, Handover)> + '_ {
        self.outgoing.drain(..)
    }

    /// Gives every connection its budget anew; to be called when a turn begins.
    pub const fn begin_turn(&mut self) {
        self.budgets.begin_turn();
    }

    /// Stops handling what peers send, or goes on. Meanwhile buffers are kept, and TCP slows the peers.
    pub const fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Whether receiving is paused.
    pub const fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Whether more connections may be accepted, unless those that have come must be served first: a connection waits
    /// better in the kernel than here, where it has cost a descriptor and others that were served before it.
    pub fn may_accept(&mut self, now: Now) -> bool {
        self.accept_again = None;
        if self.is_paused {
            return false; // the turn in which it ends asks again
        }
        #[cfg(feature = "tls")]
        if self.handshakes.is_full() {
            return false; // as does the turn in which one of them ends
        }
        let mut handovers = self.config.handovers.iter().map(|to| to.load(Ordering::Relaxed));
        if handovers.any(|to| to > limits::HANDOVERS_MAX) {
            self.accept_again = Some(now.after_ms(limits::ACCEPT_AGAIN_MS));
            return false;
        }
        true
    }

    /// A peer has connected by a listener.
    pub fn accepted(&mut self, now: Now, listener: u8, socket: SocketId, peer: Peer) {
        self.counters.sockets += 1;
        self.counters.sockets_by_listener.count(listener);
        if self.listeners[usize::from(listener)].settings.kind == ListenerKind::Cluster {
            self.accepted_link(now, listener, socket, peer);
            return;
        }
        if let Err((reason, text)) = self.admit(now, listener, peer) {
            self.operations.push_back(Operation::Abort { socket, under_way: UnderWayOn::Nothing });
            self.refuse_peer(listener, RefusedPeer { peer, reason, text, level: None, client_id: None });
            return;
        }
        let entry = &mut self.listeners[usize::from(listener)];
        let mut connection = Connection::new(socket, Phase::AwaitingConnect, entry.layers.begin(&entry.settings, peer));
        connection.listener = listener;
        connection.peer = peer;
        let id = self.table.insert(connection);
        let deadline = now.after_s(entry.settings.connect_timeout_s.into());
        entry.awaiting_connect.push_back((deadline, id));
        if entry.settings.kind.has_tls() {
            entry.shaking.push_back((now.after_s(entry.settings.tls_handshake_timeout_s.into()), id));
            entry.half_open.insert(id);
            #[cfg(feature = "tls")]
            self.bound_half_open(listener);
        }
        self.operations.push_back(Operation::ReceiveOnce { socket, connection: id });
    }

    /// Counts a connection that has come, unless it is one too many or from where nobody may come.
    pub(super) fn admit(&self, now: Now, listener: u8, peer: Peer) -> Result<(), (CloseReason, &'static str)> {
        let entry = &self.listeners[usize::from(listener)];
        let has_header = entry.settings.proxy_protocol && !entry.settings.kind.has_datagrams();
        if has_header && !entry.settings.is_proxy(peer.ip()) {
            let text = "it may send no PROXY header, which this listener asks for: its address is not in proxy_from";
            return Err((CloseReason::ProxyHeader, text));
        }
        self.admit_forwarded(now, listener, peer)
    }

    /// The same of one that another node has forwarded: a proxy has had its say there.
    pub(super) fn admit_forwarded(
        &self,
        now: Now,
        listener: u8,
        peer: Peer,
    ) -> Result<(), (CloseReason, &'static str)> {
        let entry = &self.listeners[usize::from(listener)];
        // Its address first, so that one that connects all the time does not use up what all others may.
        self.admit_source(now, listener, peer)?;
        self.admit_connection(now, listener)?;
        let of_all = self.config.connections.fetch_add(1, Ordering::Relaxed);
        let of_listener = entry.connections.fetch_add(1, Ordering::Relaxed);
        let limits = [(of_all, self.config.connections_max), (of_listener, entry.settings.connections_max)];
        if limits.iter().any(|(before, max)| *before >= max.saturating_add(limits::SOCKETS_WITHOUT_PLACE_MAX)) {
            self.uncount(listener);
            return Err((CloseReason::ConnectionsFull, "more connections are open than may be, and it is not heard"));
        }
        Ok(())
    }

    /// A connection was lost on its way in, or none could be taken.
    pub const fn accept_failed(&mut self) {
        self.counters.closed(CloseReason::Resources);
    }

    /// Ends what has taken too long, and lets those in who waited for a place.
    pub fn handle_deadlines(&mut self, core: &mut impl InputHandler) {
        let now = core.now();
        for listener in 0..self.listeners.len() {
            while let Some(id) = pop_due(&mut self.listeners[listener].awaiting_connect, now) {
                if self.is_awaiting_connect(id) {
                    let is_silent = self.table.get(id).is_some_and(|connection| connection.partial.is_empty());
                    let text = if is_silent { "it said nothing in time" } else { "its CONNECT was not whole in time" };
                    self.refuse(id, CloseReason::ConnectTimeout, text);
                    self.close(id);
                }
            }
        }
        #[cfg(feature = "tls")]
        self.end_handshakes(now);
        self.handle_sn_deadlines(core);
        if self.links.is_some() {
            self.keep_links(now);
        }
        while let Some(id) = pop_due(&mut self.linger_deadlines, now) {
            self.end_lingering(id);
        }
        if !self.is_paused {
            if self.links.is_some() {
                self.let_on_waiters(core);
            }
            self.open_waiting(core);
        }
    }

    /// Closes connections whose TLS handshakes are not done in time.
    #[cfg(feature = "tls")]
    fn end_handshakes(&mut self, now: Now) {
        for listener in 0..self.listeners.len() {
            while let Some(id) = pop_due(&mut self.listeners[listener].shaking, now) {
                if self.table.get(id).is_some_and(|connection| connection.wire.is_shaking()) {
                    let text = "its TLS handshake was not done within --tls-handshake-timeout";
                    self.refuse(id, CloseReason::ConnectTimeout, text);
                    self.close(id);
                }
            }
        }
    }

    /// What a connection in TLS has agreed on with its peer.
    #[cfg(feature = "tls")]
    pub fn agreed_tls(&self, id: ConnectionId) -> Option<super::tls::TlsParameters> {
        self.table.get(id)?.wire.agreed_tls()
    }

    /// When [`Self::handle_deadlines`] or [`Self::may_accept`] is due.
    pub fn next_deadline(&self) -> Option<Deadline> {
        let connects = self.listeners.iter().filter_map(|listener| listener.awaiting_connect.front());
        let connects = connects.chain(self.listeners.iter().filter_map(|listener| listener.shaking.front()));
        let deadlines = connects.chain(self.linger_deadlines.front()).map(|&(due, _)| due);
        let place_again = self.place_again.filter(|_| !self.is_paused);
        let links = self.links.as_deref().and_then(NodeLinks::next_deadline);
        let ranges = self.links.as_deref().filter(|_| !self.is_paused).and_then(NodeLinks::next_waiter_at);
        let deadlines = deadlines.chain(self.accept_again).chain(place_again).chain(self.sn.next_deadline());
        deadlines.chain(links).chain(ranges).min()
    }

    /// Whether there is something to do, besides sending, before the shard may sleep.
    #[inline]
    pub fn has_work(&self) -> bool {
        let has_deferred = !self.held.is_empty() || !self.budgets.is_empty() || !self.resumed.is_empty();
        let has_links = self.links.as_deref().is_some_and(NodeLinks::has_more);
        !self.lingering.is_empty() || self.sn.has_work() || has_deferred && !self.is_paused || has_links
    }

    /// A socket that a listener accepted which there is no more.
    pub fn accepted_by_nobody(&mut self, socket: SocketId) {
        self.counters.closed(CloseReason::Resources);
        self.operations.push_back(Operation::Abort { socket, under_way: UnderWayOn::Nothing });
    }

    /// Closes the connections that have not sent CONNECT, and those to other nodes: the broker stops.
    pub fn close_awaiting_connect(&mut self) {
        if self.links.is_some() {
            self.close_links();
        }
        for listener in 0..self.listeners.len() {
            for (_, id) in std::mem::take(&mut self.listeners[listener].awaiting_connect) {
                if self.is_awaiting_connect(id) {
                    self.close(id);
                }
            }
        }
    }

    /// Whether it has not come as far as the shard that owns its client id, and nothing else bounds its time.
    fn is_awaiting_connect(&self, id: ConnectionId) -> bool {
        let phase = self.table.get(id).map(|connection| connection.phase);
        phase == Some(Phase::AwaitingConnect) || self.held_handovers.contains_key(&id)
    }

    /// Closes a connection and forgets it: at once, or as soon as the FIN that is under way has been sent.
    pub(super) fn close(&mut self, id: ConnectionId) {
        let Some(connection) = self.table.get_mut(id) else { return };
        if matches!(connection.fin, Fin::UnderWay | Fin::UnderWayThenClose) {
            connection.fin = Fin::UnderWayThenClose;
            return;
        }
        if let Some(mut connection) = self.table.remove(id) {
            match connection.phase {
                Phase::HandingOver => {
                    self.held_handovers.remove(&id);
                }
                Phase::Dialling | Phase::AwaitingPeer | Phase::Link => self.forget_link(id, connection.phase),
                _ => {}
            }
            self.uncount(connection.listener);
            self.note_shaken(connection.listener, id);
            self.forget_peer(id, &connection);
            let under_way = connection.under_way(id);
            self.operations.push_back(Operation::Close { socket: connection.socket, under_way });
            if let Some(outbox) = connection.outbox.take() {
                self.release(outbox);
            }
        }
    }

    /// A connection that came by this listener is no more.
    pub(super) fn uncount(&self, listener: u8) {
        if listener == INTERNAL_LISTENER {
            return;
        }
        self.config.connections.fetch_sub(1, Ordering::Relaxed);
        self.listeners[usize::from(listener)].connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// The TLS handshake of a connection that came by this listener is done, or will never be.
    pub(super) fn note_shaken(&mut self, listener: u8, id: ConnectionId) {
        if let Some(entry) = self.listeners.get_mut(usize::from(listener))
            && !entry.half_open.is_empty()
        {
            entry.half_open.remove(&id);
        }
    }

    /// Where too many TLS handshakes of a listener are half open, the oldest make way.
    #[cfg(feature = "tls")]
    fn bound_half_open(&mut self, listener: u8) {
        let at = usize::from(listener);
        let max = (self.listeners[at].settings.tls_half_open_max as usize).div_ceil(self.config.shards);
        while self.listeners[at].half_open.len() > max {
            let Some((_, oldest)) = self.listeners[at].shaking.pop_front() else { return };
            if !self.listeners[at].half_open.remove(&oldest) {
                continue; // it was done long ago
            }
            if self.table.get(oldest).is_some_and(|connection| connection.wire.is_shaking()) {
                let text =
                    "its TLS handshake made way for a newer one: as many are half open as may be (--tls-half-open-max)";
                self.refuse(oldest, CloseReason::TlsHalfOpen, text);
            }
            self.close(oldest);
        }
    }

    /// Gives an outbox back.
    pub(super) fn release(&mut self, mut outbox: Box<Outbox>) {
        if self.pool.len() < limits::OUTBOX_POOL {
            outbox.clear();
            self.pool.push(outbox);
        }
    }

    /// Notes that a connection has something to send.
    pub(super) fn mark_dirty(&mut self, id: ConnectionId) {
        if let Some(connection) = self.table.get_mut(id)
            && !connection.is_dirty
        {
            connection.is_dirty = true;
            self.dirty.push(id);
        }
    }
}

impl EdgeFacts for Connections {
    fn transport(&self) -> &TransportCounters {
        &self.counters
    }

    fn peer(&self, connection: ConnectionId) -> Option<PeerAddress> {
        self.peer(connection).address()
    }

    fn listener(&self, connection: ConnectionId) -> Option<&str> {
        let listener = self.table.get(connection)?.listener;
        Some(&self.entry(listener).settings.name)
    }

    #[cfg(feature = "tls")]
    fn tls(&self, connection: ConnectionId) -> Option<(&'static str, String)> {
        self.agreed_tls(connection).map(|agreed| (agreed.version(), agreed.suite()))
    }

    #[cfg(not(feature = "tls"))]
    fn tls(&self, _: ConnectionId) -> Option<(&'static str, String)> {
        None
    }
}

/// Takes the first off a list that is in the order of deadlines, if its has passed.
pub(super) fn pop_due(deadlines: &mut VecDeque<(Deadline, ConnectionId)>, now: Now) -> Option<ConnectionId> {
    let &(due, id) = deadlines.front()?;
    if !due.is_due(now) {
        return None;
    }
    deadlines.pop_front();
    Some(id)
}
