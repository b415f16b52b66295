//! N pure shards and everything around them, moved one random step at a time.
//!
//! The edge's part is played as `net` and the pump play it: what sockets bring goes through `dunlin::conn`, its operations
//! are carried out, a turn ends with what was deferred and with one flush.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dunlin::auth::Policy;
use dunlin::conn::{ConnectRates, Connections, ConnectionsConfig, Handover, ListenerLayers};
use dunlin::ids::{ConnectionId, HashKeys, ShardId, Ticket};
use dunlin::settings::ListenerSettings;
use dunlin::shard::{Effects, Input, MeshBatch, MeshMessage, Places, ProcessContext, Settings, Shard, StampClock};
use dunlin::store::{LogKeeping, LogStart, Position};
use dunlin::telemetry::{Counters, TransportCounters};
use dunlin::time::Now;

use crate::authenticator::Authenticator;
use crate::bodies::Bodies;
use crate::canary::{Cage, Canary};
use crate::client::Client;
use crate::conn::{Conn, Place};
use crate::disks::{Disks, Opened};
use crate::durable::Store;
use crate::edge::Sockets;
use crate::hostile::Hostile;
use crate::operator::Operator;
use crate::oracle::{Check, Oracle};
use crate::orders::{Orders, rules};
use crate::plan::Plan;
use crate::rates::Rates;
use crate::rng::Rng;
use crate::silent::{CONNECT_TIMEOUT_S, SilentPeers};
use crate::trace::Trace;

/// One direction between two shards, in batches of one message.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    /// In the channel, which holds so many.
    pub(crate) sent: VecDeque<MeshBatch>,
    /// With the sender, which keeps what does not fit.
    pub(crate) kept: VecDeque<MeshBatch>,
}

pub(crate) struct World {
    seed: u64,
    /// Where the logs are, if not in the air.
    pub(crate) disks: Option<Disks>,
    pub(crate) listeners: Vec<Arc<ListenerSettings>>,
    /// What processes counted that have died.
    pub(crate) past: Counters,
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    /// What sockets do by chance: from a source of its own, so that the rest of a run stays what it was without it.
    pub(crate) edge_rng: Rng,
    pub(crate) now: Now,
    pub(crate) shards: Vec<Shard>,
    pub(crate) fx: Effects,
    /// What shards want of their connections, as canaries have left it.
    pub(crate) out: Effects,
    /// By shard; none while it is in a call.
    pub(crate) connections: Vec<Option<Connections>>,
    pub(crate) sockets: Vec<Sockets>,
    /// What is on its way from each shard's connections to each other's.
    pub(crate) handovers: Vec<Vec<VecDeque<Handover>>>,
    /// Whose sockets were handed over, by ticket.
    pub(crate) tickets: BTreeMap<Ticket, usize>,
    /// Whose CONNECT a shard will hear next: of a connection that is adopted, or received from.
    pub(crate) adopting: Option<usize>,
    /// Connections whose CONNECT waits for a place, by shard, listener and client id: each listener has a queue of its own.
    pub(crate) awaiting_place: RefCell<BTreeMap<(usize, u8, String), VecDeque<usize>>>,
    pub(crate) receiving: Option<usize>,
    /// By what their shards call them: connections that were listened to before they were known.
    pub(crate) received_from: BTreeMap<(usize, ConnectionId), usize>,
    /// Connections of all shards, as they count them.
    pub(crate) connections_count: Arc<AtomicU32>,
    pub(crate) handovers_counts: Arc<[AtomicU32]>,
    /// Those of each listener, without a layer and with one.
    listener_counts: Vec<[Arc<AtomicU32>; 2]>,
    pub(crate) channels: Vec<Vec<Channel>>,
    pub(crate) stores: Vec<Store>,
    /// Connections whose CONNACK waits for its shard's store, and the packet.
    pub(crate) held: BTreeMap<(usize, ConnectionId), Option<Vec<u8>>>,
    pub(crate) conns: BTreeMap<usize, Conn>,
    /// Connections that a shard knows.
    pub(crate) by_name: BTreeMap<(usize, ConnectionId), usize>,
    /// The same, and those that it has closed and that have not gone.
    pub(crate) names: BTreeMap<(usize, ConnectionId), usize>,
    pub(crate) next_conn: usize,
    pub(crate) clients: Vec<Client>,
    pub(crate) hostiles: Vec<Hostile>,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Trace,
    pub(crate) cage: Cage,
    pub(crate) bodies: Bodies,
    pub(crate) authenticator: Authenticator,
    pub(crate) operator: Operator,
    pub(crate) orders: Orders,
    pub(crate) rates: Rates,
    pub(crate) silents: SilentPeers,
    /// Of the process that runs, for clients.
    pub(crate) places: Arc<Places>,
    /// Topic aliases that the broker gave out, by connection.
    pub(crate) aliases: BTreeMap<(usize, u16), String>,
    /// Topic aliases of clients, by connection.
    pub(crate) aliases_in: BTreeMap<(usize, u16), String>,
    /// Bytes of the index of a shard that has seen nothing.
    pub(crate) fresh_index_bytes: usize,
}

impl World {
    /// With disks or without, or as the seed has it.
    pub(crate) fn new(seed: u64, canary: Canary, disks: Option<bool>) -> Self {
        let mut rng = Rng::new(seed);
        let mut plan = Plan::new(&mut rng);
        plan.disks = disks.unwrap_or(plan.disks);
        if canary.is_found_by_a_crash() {
            plan.rots = canary == Canary::TruncateOnRot; // it is not for something else to be found
        }
        let now = Now { mono_ns: 1_000_000_000 + seed % 1_000, unix_ms: UNIX_MS_AT_ZERO };
        let clients = plan.clients.iter().cloned().enumerate().map(|(n, plan)| Client::new(n, plan)).collect();
        let names = HashKeys::from(seed).names;
        let mut world = Self {
            seed,
            disks: plan.disks.then(|| Disks::new(seed, plan.settings.shards, names, now, canary)),
            listeners: listeners(),
            past: Counters::default(),
            oracle: Oracle::new(plan.settings.inflight_max, plan.tight, plan.settings.subscribers_per_turn < 100),
            hostiles: (0..plan.hostiles).map(Hostile::new).collect(),
            fresh_index_bytes: 0,
            connections: Vec::new(),
            sockets: Vec::new(),
            handovers: Vec::new(),
            tickets: BTreeMap::new(),
            adopting: None,
            awaiting_place: RefCell::default(),
            receiving: None,
            received_from: BTreeMap::new(),
            connections_count: Arc::default(),
            handovers_counts: Arc::default(),
            listener_counts: Vec::new(),
            rng,
            edge_rng: Rng::new(!seed),
            now,
            shards: Vec::new(),
            fx: Effects::default(),
            out: Effects::default(),
            channels: Vec::new(),
            stores: Vec::new(),
            held: BTreeMap::new(),
            conns: BTreeMap::new(),
            by_name: BTreeMap::new(),
            names: BTreeMap::new(),
            next_conn: 0,
            clients,
            trace: Trace::new(),
            cage: Cage::new(canary),
            authenticator: Authenticator::new(seed),
            bodies: Bodies::new(seed),
            operator: Operator::new(seed),
            orders: Orders::new(seed),
            rates: Rates::default(),
            silents: SilentPeers::new(seed),
            places: Arc::new(Places::unlimited()),
            aliases: BTreeMap::new(),
            aliases_in: BTreeMap::new(),
            plan,
        };
        world.oracle.sees_no_store = canary.is_found_by_a_crash();
        let shards = world.plan.settings.shards;
        let opened = world.disks.as_mut().map(|disks| disks.open(shards, 0, now).expect("there is nothing to be read"));
        let begun = world.begin_process(opened.map(|opened| (opened, BTreeMap::new())));
        begun.expect("nothing has happened yet");
        world
    }

    /// A process begins: with what was read back, if it has disks.
    pub(crate) fn begin_process(&mut self, opened: Option<(Opened, BTreeMap<usize, u64>)>) -> Check {
        let (seed, now, count) = (self.seed, self.now, self.plan.settings.shards);
        self.places = Arc::new(Places::new(self.plan.connections_max, []));
        let last_stamp_ns = opened.as_ref().map_or(0, |(opened, _)| opened.last_stamp_ns);
        let process = ProcessContext {
            places: Arc::clone(&self.places),
            rules: self.plan.orders.then(rules),
            tells_clients_apart: self.plan.orders,
            profiles: self.plan.orders.then(|| self.profiles()),
            listeners: self.listeners.clone().into(),
            stamps: StampClock::new(now, last_stamp_ns),
            ..ProcessContext::new(self.plan.settings.clone(), seed, now)
        };
        let start = |n: usize| {
            let last = self.disks.as_ref().map_or(Position(0), |disks| disks.appended(n));
            LogStart { keeping: LogKeeping::Disk, last }
        };
        self.shards = (0..count).map(|n| Shard::new(ShardId(n as u8), &process, now, start(n))).collect();
        self.fresh_index_bytes = self.shards[0].holdings().index_bytes;
        self.connections_count = Arc::new(AtomicU32::new(0));
        self.listener_counts = self.listeners.iter().map(|_| [(); 2].map(|()| Arc::default())).collect();
        self.handovers_counts = (0..count).map(|_| AtomicU32::new(0)).collect();
        self.connections = (0..count).map(|own| Some(self.begin_connections(own, &process.settings))).collect();
        self.sockets = (0..count).map(|_| Sockets::default()).collect();
        self.handovers = (0..count).map(|_| (0..count).map(|_| VecDeque::new()).collect()).collect();
        self.channels = (0..count).map(|_| (0..count).map(|_| Channel::default()).collect()).collect();
        self.stores = (0..count).map(|_| Store::default()).collect();
        (self.adopting, self.receiving) = (None, None);
        self.tickets.clear();
        self.received_from.clear();
        self.awaiting_place.borrow_mut().clear();
        self.held.clear();
        self.by_name.clear();
        self.names.clear();
        (self.fx, self.out) = (Effects::default(), Effects::default());
        self.authenticator.forget();
        self.bodies.begin(count);
        self.operator.forget();
        self.orders.forget();
        self.rates = Rates::default();
        match opened {
            Some((opened, serials)) => self.hand_over_logs(opened.logs, &serials),
            None => Ok(()),
        }
    }

    fn begin_connections(&self, own: usize, settings: &Arc<Settings>) -> Connections {
        let mut connections = Connections::new(ConnectionsConfig {
            own: ShardId(own as u8),
            shards: settings.shards,
            connections_max: self.plan.connections_max,
            connections: Arc::clone(&self.connections_count),
            rates: Arc::new(ConnectRates::none()),
            handovers: Arc::clone(&self.handovers_counts),
            settings: Arc::clone(settings),
            instance: self.seed,
        });
        for (listener, [plain, inverting]) in self.listeners.iter().zip(&self.listener_counts) {
            connections.add_listener(Arc::clone(listener), Arc::clone(plain), ListenerLayers::None);
            connections.add_listener(Arc::clone(listener), Arc::clone(inverting), ListenerLayers::Inverting);
        }
        connections
    }

    /// One random step, and what must hold after it.
    pub(crate) fn step(&mut self) -> Check {
        self.trace.step += 1;
        let jump_us = match self.rng.below(4_000) {
            0..=8 if self.plan.dense => self.rng.between(1, 300),
            0..8 => self.rng.between(100_000, 3_000_000),
            8 => self.rng.between(5_000_000, 70_000_000),
            _ => self.rng.between(1, 300),
        };
        if jump_us >= LONG_US {
            self.mesh_arrives()?;
        }
        self.pass_us(jump_us);
        match self.rng.below(100) {
            0..30 => self.some_bytes_arrive()?,
            30..55 => self.somebody_reads()?,
            55..68 => self.mesh_delivers()?,
            68..74 => self.store_confirms()?,
            74..90 => self.somebody_acts(),
            _ => {}
        }
        for _ in 0..self.edge_rng.below(3) {
            self.something_happens()?;
        }
        self.somebody_decides()?;
        self.some_bodies_come()?;
        self.operator_acts()?;
        self.operator_orders()?;
        self.silent_peers_act();
        self.disks_misbehave()?;
        self.something_breaks()?;
        self.remove_finished();
        for shard in 0..self.shards.len() {
            if self.edge_rng.percent(30) {
                self.keep_time(shard)?;
            }
            let due = self.shards[shard].next_deadline().is_some_and(|due| due.is_due(self.now));
            // A shard whose messages pile up does nothing of its own accord, as in the runtime.
            if (due || self.shards[shard].has_work()) && !self.is_paused(shard) && self.rng.percent(30) {
                self.turn(shard, Input::Tick { transport: &TransportCounters::default() })?;
            } else if self.shards[shard].delivers_to_many() && self.edge_rng.percent(30) {
                self.turn(shard, Input::Deliver)?;
            }
        }
        if self.trace.step.is_multiple_of(16) {
            let is_at_it = self.shards.iter().any(|shard| shard.holdings().ended_sessions > 0);
            self.oracle.stats.taking_down += u64::from(is_at_it);
        }
        self.check_patience()?;
        self.check()
    }

    pub(crate) fn pass_us(&mut self, us: usize) {
        self.now.mono_ns += us as u64 * 1_000;
        self.now.unix_ms = UNIX_MS_AT_ZERO + self.now.ms();
        self.oracle.pass(self.trace.step, self.now);
        self.excuse_paused();
    }

    /// One input, its effects, and the flush that ends a turn.
    pub(crate) fn turn(&mut self, shard: usize, input: Input<'_>) -> Check {
        self.begin_turn(shard);
        self.tell_shard(shard, input)?;
        self.end_turn(shard)
    }

    /// One input that no connection led to, and its effects.
    fn tell_shard(&mut self, shard: usize, input: Input<'_>) -> Check {
        self.with(shard, |_, told| told.failed = told.world.handle(shard, input))
    }

    /// One message of the mesh arrives, or a few.
    fn mesh_delivers(&mut self) -> Check {
        let count = self.shards.len();
        let waiting: Vec<(usize, usize)> = (0..count * count)
            .map(|n| (n / count, n % count))
            .filter(|&(from, to)| !self.channels[from][to].sent.is_empty())
            .collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let (from, to) = *self.rng.pick(&waiting);
        for _ in 0..self.rng.between(1, 6) {
            self.deliver_mesh(from, to)?;
        }
        self.end_turn(to)
    }

    /// Everything between shards arrives: none of it is on its way for longer than the watchdog lets a shard stand still.
    fn mesh_arrives(&mut self) -> Check {
        let count = self.shards.len();
        while let Some((from, to)) = (0..count * count)
            .map(|n| (n / count, n % count))
            .find(|&(from, to)| !self.channels[from][to].sent.is_empty())
        {
            self.deliver_mesh(from, to)?;
            self.end_turn(to)?;
        }
        Ok(())
    }

    pub(crate) fn deliver_mesh(&mut self, from: usize, to: usize) -> Check {
        let channel = &mut self.channels[from][to];
        let Some(mut single) = channel.sent.pop_front() else { return Ok(()) };
        channel.sent.extend(channel.kept.pop_front());
        let message = single.messages.pop().expect("a batch of one message");
        self.trace.note(&format!("mesh {from}->{to} {}", kind(&message)));
        if let Some(number) = self.cage.ignores(&message) {
            single.messages.push(MeshMessage::Applied { number });
            self.send_to_shard(to, from, single);
            return Ok(());
        }
        self.tell_shard(to, Input::Mesh { from: ShardId(from as u8), message, bytes: &single.bytes })
    }

    /// A store makes some of what it was given durable.
    fn store_confirms(&mut self) -> Check {
        let shard = self.rng.below(self.shards.len());
        if self.disks.is_some() {
            return self.disk_writes(shard);
        }
        let store = &self.stores[shard];
        let waiting = store.waiting();
        if waiting == 0 {
            return Ok(());
        }
        let position = store.end_of(self.rng.between(1, waiting) - 1);
        self.confirm(shard, position)?;
        self.nothing_is_ahead()
    }

    pub(crate) fn confirm(&mut self, shard: usize, position: Position) -> Check {
        let store = &mut self.stores[shard];
        let mut told = position;
        if matches!(self.cage.canary, Canary::StoreLies | Canary::AckBeforeDisk) {
            told = store.appended;
        }
        store.durable = told;
        store.make_durable(position, self.cage.canary);
        while store.owed.front().is_some_and(|&(at, ..)| at <= position) {
            let (_, client, key) = store.owed.pop_front().expect("just seen");
            self.oracle.written.insert((client, key));
        }
        self.trace.note(&format!("store {shard} durable {}", told.0));
        self.turn(shard, Input::Durable { position: told })
    }

    /// A shard whose messages to others pile up is not given more by its clients.
    pub(crate) fn is_paused(&self, shard: usize) -> bool {
        self.channels[shard].iter().any(|channel| channel.kept.len() > self.plan.mesh_pause)
    }

    /// What must hold between any two steps.
    pub(crate) fn check(&self) -> Check {
        Shard::assert_invariants_of_all(&self.shards);
        for (number, shard) in self.shards.iter().enumerate() {
            shard.assert_invariants();
            let connected = shard.gauges().clients_connected as usize;
            let is_held = |index: &usize, conn: &Conn| {
                conn.at.is_some_and(|(at, _)| at == number) && !conn.left && !self.authenticator.is_waiting(*index)
            };
            let held: Vec<usize> =
                self.conns.iter().filter(|(index, conn)| is_held(index, conn)).map(|(index, _)| *index).collect();
            if held.len() != connected {
                return Err(format!("shard {number} counts {connected} connections, the edge has {held:?}"));
            }
        }
        let open =
            self.conns.values().filter(|conn| matches!(conn.place, Place::Socket(..) | Place::Between(_))).count();
        let counted = self.connections_count.load(Ordering::Relaxed);
        let by_listener: u32 = self.listener_counts.iter().flatten().map(|count| count.load(Ordering::Relaxed)).sum();
        if by_listener != counted {
            return Err(format!("{counted} connections are counted, and {by_listener} by their listeners"));
        }
        if counted as usize != open {
            return Err(format!("{counted} connections are counted, and there are {open}"));
        }
        let stopped = self.conns.iter().find(|(_, conn)| {
            let since = conn.stopped.filter(|_| !conn.left && !conn.is_closed());
            since.is_some_and(|since| since + RESUME_STEPS < self.trace.step)
        });
        if let Some((index, _)) = stopped {
            return Err(format!("receiving from connection {index} was stopped and never resumed"));
        }
        self.check_places()?;
        let kept_max = self.plan.mesh_pause + TURN_MESSAGES;
        for (from, channels) in self.channels.iter().enumerate() {
            if let Some(channel) = channels.iter().find(|channel| channel.kept.len() > kept_max) {
                return Err(format!("shard {from} keeps {} messages for another", channel.kept.len()));
            }
        }
        for client in &self.clients {
            let owner = crate::conn::Owner::Client(client.index);
            let open = self.conns.iter().filter(|(index, conn)| {
                conn.owner == owner && conn.at.is_some() && !conn.left && !self.authenticator.is_waiting(**index)
            });
            if open.count() > 1 {
                return Err(format!("client {} has two connections", client.index));
            }
        }
        Ok(())
    }

    /// Of all processes.
    pub(crate) fn counters(&self) -> Counters {
        let mut sum = self.counters_now();
        sum.add(&self.past);
        sum
    }

    pub(crate) fn counters_now(&self) -> Counters {
        self.shards.iter().fold(Counters::default(), |mut sum, shard| {
            sum.add(shard.counters());
            sum
        })
    }
}

/// Clients that are let in by the first are admitted; about those of the second somebody is asked.
fn listeners() -> Vec<Arc<ListenerSettings>> {
    let listener = |(name, policy): (&str, Policy)| {
        Arc::new(ListenerSettings {
            name: name.into(),
            policy,
            connect_timeout_s: CONNECT_TIMEOUT_S,
            ..ListenerSettings::default()
        })
    };
    [("admits", Policy::Admit), ("asks", Policy::Ask)].map(listener).into()
}

/// What the wall clock said when the monotonic one began.
pub(crate) const UNIX_MS_AT_ZERO: u64 = 1_700_000_000_000;

/// A time that passes at once and is long: several of them are more than a deleted retained message is remembered for.
const LONG_US: usize = 5_000_000;

/// Steps within which a stopped receive goes on: what was deferred is handled a turn at a time, and turns are by chance.
pub(crate) const RESUME_STEPS: u64 = 2_000;

/// Messages that one turn may add for one other shard to those that had its shard paused: an info's packets.
const TURN_MESSAGES: usize = 4_096;

pub(crate) const fn kind(message: &MeshMessage) -> &'static str {
    match message {
        MeshMessage::Publish { .. } => "Publish",
        MeshMessage::Barrier { .. } => "Barrier",
        MeshMessage::Stored { .. } => "Stored",
        MeshMessage::Interest { .. } => "Interest",
        MeshMessage::Applied { .. } => "Applied",
        MeshMessage::GroupRoom { .. } => "GroupRoom",
        MeshMessage::RetainedDeleted { .. } => "RetainedDeleted",
        MeshMessage::LogRoom { .. } => "LogRoom",
        MeshMessage::Report(_) => "Report",
        MeshMessage::View(_) => "View",
        MeshMessage::PeerInterest { .. } => "PeerInterest",
        MeshMessage::PeerApplied { .. } => "PeerApplied",
        MeshMessage::PeerRoom { .. } => "PeerRoom",
        MeshMessage::PeerStored { .. } => "PeerStored",
        MeshMessage::TellInterest { .. } => "TellInterest",
        MeshMessage::ToldInterest { .. } => "ToldInterest",
        MeshMessage::ForgetSlot { .. } => "ForgetSlot",
        MeshMessage::SlotForgotten { .. } => "SlotForgotten",
        MeshMessage::Synced => "Synced",
        MeshMessage::Counted => "Counted",
    }
}
