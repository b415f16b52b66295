//! The listeners of the process, by index, and what a reload makes of them.
//!
//! Owns: which indexes are whose, and each shard's end of the way that changes go.
//! Always holds: all or nothing: whatever a reload adds is bound for every shard before anything changes. A listener is the same one as before
//! if it has its place and its kind, whatever it is called; then its socket stays, and who is connected sees nothing of it. Who came by one that goes
//! stays connected, and its index is nobody else's until they have gone. One that an operator has stopped stays so, also when it changes its kind or its place.
//! Leaves to others: binding (`binding`), carrying out (`net::listening`), what may change at all (`config::reload`).

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crossbeam_channel::Sender;

use super::accounts;
use super::binding::{bind_for_shards, listening_of};
use super::handshakes::Handshaker;
use super::run_error::RunError;
use crate::config::{ListenAddress, Listener};
use crate::conn::tls::{ServerConfig, TlsListener};
use crate::conn::{ConnectRates, ListenerLayers};
use crate::ids::ShardId;
use crate::limits::LISTENER_INDEXES_MAX;
use crate::net::{ListenOn, ListenerChange, Listening};
use crate::ring::PlaneHandle;
use crate::services::admin::AdminListener;
use crate::shard::Places;
use crate::telemetry::log;

/// What one shard is to make of its listeners.
pub(super) struct ListenerOrder {
    /// In this order.
    pub(super) changes: Vec<ListenerChange>,
    /// Runs the handshakes of the shard's first listener with TLS.
    pub(super) handshaker: Option<Handshaker>,
}

/// What is beside the shards of a process that has started.
pub(super) struct ListenerParts {
    /// One a shard, in their order.
    pub(super) orders: Vec<Sender<ListenerOrder>>,
    /// Likewise.
    pub(super) planes: Vec<PlaneHandle>,
    pub(super) places: Arc<Places>,
    pub(super) rates: Arc<ConnectRates>,
}

/// A listener of every shard.
struct Slot {
    listener: Listener,
    tls: Option<TlsListener>,
    admin: Arc<AdminListener>,
    /// Whether the configuration has it. Otherwise it has closed.
    is_listed: bool,
}

impl Slot {
    fn new(index: u8, opened: OpenedListener) -> Self {
        let OpenedListener { listener, on, tls, connections } = opened;
        let admin = Arc::new(AdminListener {
            index,
            name: listener.settings.name.clone(),
            place: on.to_string(),
            address: if let ListenOn::Ip(address) = on { Some(address) } else { None },
            kind: listener.settings.kind,
            connections,
            is_open: AtomicBool::new(true),
        });
        Self { listener, tls, admin, is_listed: true }
    }

    fn is(&self, listener: &Listener) -> bool {
        let is_kind = self.listener.settings.kind == listener.settings.kind;
        self.is_listed && is_kind && self.listener.address == listener.address
    }

    /// It is called otherwise from now on.
    fn rename(&mut self, name: &str) {
        let AdminListener { index, ref place, address, kind, ref connections, ref is_open, .. } = *self.admin;
        self.admin = Arc::new(AdminListener {
            index,
            name: name.into(),
            place: place.clone(),
            address,
            kind,
            connections: Arc::clone(connections),
            is_open: AtomicBool::new(is_open.load(Ordering::Relaxed)),
        });
    }

    fn is_free(&self) -> bool {
        !self.is_listed && self.admin.connections.load(Ordering::Relaxed) == 0
    }
}

/// A listener that the shards have.
pub(super) struct OpenedListener {
    pub(super) listener: Listener,
    /// Where, with its port.
    pub(super) on: ListenOn,
    pub(super) tls: Option<TlsListener>,
    /// Connections that came by it and are open.
    pub(super) connections: Arc<AtomicU32>,
}

/// See the module's text.
pub(super) struct ProcessListeners {
    slots: Vec<Slot>,
    parts: ListenerParts,
    has_handshakers: bool,
}

/// What a reload comes to: bound already, and nothing changed yet.
pub(super) struct ListenerPlan {
    /// For each listener of the configuration.
    listed: Vec<Planned>,
    /// Indexes of those that go.
    closed: Vec<u8>,
    /// One a shard, if the first listener with TLS comes.
    handshakers: Vec<Handshaker>,
}

enum Planned {
    Kept { index: u8, listener: Listener },
    New { index: u8, listener: Listener, listening: Box<Listening>, sockets: Vec<OwnedFd> },
}

impl ListenerPlan {
    /// Whether one comes or goes.
    pub(super) fn opens_or_closes(&self) -> bool {
        !self.closed.is_empty() || self.listed.iter().any(|planned| matches!(planned, Planned::New { .. }))
    }
}

impl ProcessListeners {
    /// Those that the broker has started with, in the order of the configuration.
    pub(super) fn new(opened: Vec<OpenedListener>, parts: ListenerParts) -> Self {
        let slots: Vec<Slot> = (0..).zip(opened).map(|(index, opened)| Slot::new(index, opened)).collect();
        let has_handshakers = slots.iter().any(|slot| slot.tls.is_some());
        Self { slots, parts, has_handshakers }
    }

    /// As the admin server knows them, in the order of the configuration.
    pub(super) fn for_admin(&self, listeners: &[Listener]) -> Vec<Arc<AdminListener>> {
        let mut left: Vec<&Slot> = self.slots.iter().collect();
        let known = |listener| {
            let at = left.iter().position(|slot| slot.is(listener))?;
            Some(Arc::clone(&left.remove(at).admin))
        };
        listeners.iter().filter_map(known).collect()
    }

    /// Binds what comes. Nothing has changed when it fails.
    pub(super) fn prepare(&self, listeners: &[Listener]) -> Result<ListenerPlan, String> {
        let mut kept = vec![false; self.slots.len()];
        let mut free = self.free_indexes();
        let mut listed = Vec::new();
        for listener in listeners {
            let same = (0..self.slots.len()).find(|index| !kept[*index] && self.slots[*index].is(listener));
            if let Some(index) = same {
                kept[index] = true;
                listed.push(Planned::Kept { index: index as u8, listener: listener.clone() });
                continue;
            }
            let index = free.next().ok_or_else(|| {
                format!(
                    "{}: {LISTENER_INDEXES_MAX} listeners have clients, with those that there are no more; try again when some of these have \
                     gone, or start the broker anew",
                    listener.address
                )
            })?;
            listed.push(self.bind(index, listener).map_err(|error| error.to_string())?);
        }
        let closed = (0..).zip(&self.slots).filter(|(index, slot)| slot.is_listed && !kept[usize::from(*index)]);
        let closed = closed.map(|(index, _)| index).collect();
        let handshakers = self.start_handshakers(listeners).map_err(|error| error.to_string())?;
        Ok(ListenerPlan { listed, closed, handshakers })
    }

    fn free_indexes(&self) -> impl Iterator<Item = u8> {
        let used = (0..).zip(&self.slots).filter(|(_, slot)| slot.is_free()).map(|(index, _)| index);
        let free: Vec<u8> = used.chain(self.slots.len() as u8..LISTENER_INDEXES_MAX as u8).collect();
        free.into_iter()
    }

    fn bind(&self, index: u8, listener: &Listener) -> Result<Planned, RunError> {
        // The address of one that goes, or changes, is ours to share until it has gone.
        let port_of = |listener: &Listener| match listener.address {
            ListenAddress::Ip(address) => Some((address.port(), listener.settings.kind.has_datagrams())),
            ListenAddress::Unix(_) => None,
        };
        let port = port_of(listener);
        let is_ours = port.is_some() && self.slots.iter().any(|slot| slot.is_listed && port_of(&slot.listener) == port);
        let (on, sockets) = bind_for_shards(listener, self.parts.orders.len(), is_ours)?;
        let listening = listening_of(listener, on, ListenerLayers::None);
        Ok(Planned::New { index, listener: listener.clone(), listening: Box::new(listening), sockets })
    }

    fn start_handshakers(&self, listeners: &[Listener]) -> Result<Vec<Handshaker>, RunError> {
        if self.has_handshakers || !listeners.iter().any(|listener| listener.settings.kind.has_tls()) {
            return Ok(Vec::new());
        }
        let planes = (0..).zip(&self.parts.planes);
        let start = |(shard, plane): (u8, &PlaneHandle)| Handshaker::start(ShardId(shard), plane.clone());
        let started: Result<Vec<_>, _> = planes.map(start).collect();
        started.map_err(|error| RunError::Thread("a thread for TLS handshakes".to_owned(), error.to_string()))
    }

    /// Makes it so, up to telling the shards: each has its order, and carries it out when it is asked to. `tls` is what handshakes
    /// go by, for each listener of the configuration. Returns whether there is anything to do for shards.
    pub(super) fn carry_out(&mut self, plan: ListenerPlan, tls: Vec<Option<ServerConfig>>) -> bool {
        let ListenerPlan { listed, closed, handshakers } = plan;
        let mut orders = Orders(self.parts.orders.iter().map(|_| Vec::new()).collect());
        let stopped = self.stopped(&closed);
        for (planned, tls) in listed.into_iter().zip(tls) {
            match planned {
                Planned::Kept { index, listener } => self.configure(index, listener, tls, &mut orders),
                Planned::New { index, listener, listening, sockets } => {
                    let layers = tls.map(TlsListener::new);
                    let listening = Listening { layers: layers_with(layers.as_ref()), ..*listening };
                    let opened = OpenedListener {
                        listener,
                        on: listening.on.clone(),
                        tls: layers,
                        connections: Arc::clone(&listening.connections),
                    };
                    let is_stopped = stopped.iter().any(|gone| is_successor(&opened.listener, gone));
                    self.open(index, opened, &listening, sockets, &mut orders);
                    if is_stopped {
                        self.slots[usize::from(index)].admin.is_open.store(false, Ordering::Relaxed);
                        orders.add(|_| ListenerChange::Stop { index });
                    }
                }
            }
        }
        for index in closed {
            let slot = &mut self.slots[usize::from(index)];
            slot.is_listed = false;
            let left = slot.admin.connections.load(Ordering::Relaxed);
            log::event::listening_ended(&slot.admin.place, &slot.admin.name, left.into());
            orders.add(|_| ListenerChange::Close { index });
        }
        self.has_handshakers |= !handshakers.is_empty();
        self.give(orders, handshakers)
    }

    /// Those of them that an operator has stopped.
    fn stopped(&self, closed: &[u8]) -> Vec<Listener> {
        let slots = closed.iter().map(|index| &self.slots[usize::from(*index)]);
        let stopped = slots.filter(|slot| !slot.admin.is_open.load(Ordering::Relaxed));
        stopped.map(|slot| slot.listener.clone()).collect()
    }

    fn configure(&mut self, index: u8, listener: Listener, tls: Option<ServerConfig>, orders: &mut Orders) {
        let slot = &mut self.slots[usize::from(index)];
        if let (Some(known), Some(tls)) = (&slot.tls, tls) {
            known.replace(tls);
        }
        if slot.listener.settings != listener.settings {
            let settings = accounts::with_user_names(&listener.settings);
            orders.add(|_| ListenerChange::Configure { index, settings: Arc::clone(&settings) });
        }
        if slot.admin.name != listener.settings.name {
            slot.rename(&listener.settings.name);
        }
        slot.listener = listener;
        self.limit(index);
    }

    fn open(
        &mut self,
        index: u8,
        opened: OpenedListener,
        listening: &Listening,
        sockets: Vec<OwnedFd>,
        orders: &mut Orders,
    ) {
        let settings = &opened.listener.settings;
        log::event::listening(&opened.on, &settings.name, self.parts.orders.len() as u64, settings.admits_anonymous());
        let slot = Slot::new(index, opened);
        match self.slots.get_mut(usize::from(index)) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        self.limit(index);
        let mut sockets = sockets.into_iter();
        orders.add(|_| ListenerChange::Open { index, listening: listening.clone(), socket: sockets.next() });
    }

    /// How many may come by it, and how fast.
    fn limit(&self, index: u8) {
        let settings = &self.slots[usize::from(index)].listener.settings;
        self.parts.places.set_max(index, settings.connections_max);
        if settings.connect_rate_per_address_max > 0 {
            self.parts.rates.count_addresses();
        }
    }

    fn give(&self, orders: Orders, handshakers: Vec<Handshaker>) -> bool {
        let mut handshakers = handshakers.into_iter();
        let mut is_any = false;
        for (to, changes) in self.parts.orders.iter().zip(orders.0) {
            let order = ListenerOrder { changes, handshaker: handshakers.next() };
            is_any |= !order.changes.is_empty() || order.handshaker.is_some();
            // A shard that has stopped ends the process by itself.
            let _ = to.send(order);
        }
        is_any
    }
}

/// Whether it comes in the place of one that goes: what an operator has stopped stays stopped, of whatever kind it is from now on.
fn is_successor(listener: &Listener, gone: &Listener) -> bool {
    listener.address == gone.address || listener.settings.name == gone.settings.name
}

/// What becomes of the listeners, for each shard.
struct Orders(Vec<Vec<ListenerChange>>);

impl Orders {
    fn add(&mut self, mut change: impl FnMut(usize) -> ListenerChange) {
        for (shard, changes) in self.0.iter_mut().enumerate() {
            changes.push(change(shard));
        }
    }
}

/// What the connections of a listener begin with.
pub(super) fn layers_with(tls: Option<&TlsListener>) -> ListenerLayers {
    tls.cloned().map_or(ListenerLayers::None, ListenerLayers::Tls)
}
