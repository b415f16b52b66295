//! The shards' threads: what each is given, what it does first, and its end.
//!
//! Always holds: a shard is ready when it listens, and heard when all know what the sessions of all are subscribed to.

use std::iter;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

use super::clock;
use super::fatal::{End, fatal};
use super::handshakes::Handshaker;
use super::listeners::{ListenerOrder, ListenerParts, OpenedListener};
use super::mesh::{self, Port};
use super::pump::{Parts, Pump};
use super::random::random;
use super::restoring::Restoring;
use super::run_error::RunError;
use super::shard_logs::{BegunShard, ShardLog, ShardLogs, begin_shard};
use super::watchdog::Heartbeat;
use crate::auth::{BannedAddresses, operator_bans::OperatorBans};
use crate::config::{Config, Exit, Listener};
use crate::conn::{ConnectRates, ConnectionsConfig, ListenerLayers};
use crate::ids::{HashKeys, NameKey, ShardId};
use crate::inbox::{self, Asker, InboxSender};
use crate::limits;
use crate::net::{Edge, ListenOn, Listening};
use crate::ring::{Plane, PlaneConfig, PlaneHandle, RingError};
use crate::shard::{CertificatesEnd, Places, ProcessContext, StampClock};

/// The shards that were started.
pub(super) struct Started {
    pub(super) threads: Vec<ShardThread>,
    /// How to put commands to them.
    pub(super) inboxes: Vec<InboxSender>,
    /// What they listen on, in the order of the configuration.
    pub(super) opened: Vec<OpenedListener>,
    /// What is needed to change that.
    pub(super) listener_parts: ListenerParts,
    /// Each says here when its clients can be served.
    pub(super) restored: mpsc::Receiver<()>,
}

/// What all shards are given alike, beside their settings.
pub(super) struct SharedByShards<'a> {
    pub(super) stop: &'a Arc<AtomicBool>,
    pub(super) heartbeats: &'a [Arc<Heartbeat>],
    /// Where questions go, if any listener asks.
    pub(super) asker: Option<Asker>,
    /// When the first certificate of a listener ends.
    pub(super) certificates_end: Arc<CertificatesEnd>,
    /// Whom operators have banned.
    pub(super) bans: Option<Arc<OperatorBans>>,
    /// Whom failed logins ban.
    pub(super) banned: Arc<BannedAddresses>,
}

pub(super) fn start_shards(
    config: &Config,
    mut listening: Vec<Listening>,
    shared: &SharedByShards<'_>,
    mut logs: Option<&mut ShardLogs>,
) -> Result<Started, RunError> {
    let instance = random();
    let process = process_context(config, logs.as_deref(), shared);
    let restoring = Arc::new(Restoring::new(config.settings.shards));
    let (tell_restored, restored) = mpsc::channel();
    let connections = Arc::new(AtomicU32::new(0));
    let rates = Arc::new(connect_rates(&config.listeners));
    let places = Arc::clone(&process.places);
    let handovers: Arc<[AtomicU32]> = (0..config.settings.shards).map(|_| AtomicU32::new(0)).collect();
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let mut threads = Vec::new();
    let mut planes = Vec::new();
    let mut inboxes = Vec::new();
    let mut starters = Vec::new();
    let mut orders = Vec::new();
    for ((index, port), heartbeat) in mesh::ports(config.settings.shards).into_iter().enumerate().zip(shared.heartbeats)
    {
        let (ready, is_ready) = mpsc::channel();
        let (give_planes, take_planes) = mpsc::channel();
        let (give_orders, listener_orders) = unbounded();
        let assignment = Assignment {
            own: ShardId(index as u8),
            config: config.clone(),
            listening: listening.clone(),
            port,
            process: process.clone(),
            instance,
            connections: Arc::clone(&connections),
            handovers: Arc::clone(&handovers),
            rates: Arc::clone(&rates),
            banned: Arc::clone(&shared.banned),
            stop: Arc::clone(shared.stop),
            heartbeat: Arc::clone(heartbeat),
            asker: shared.asker.clone(),
            log: logs.as_deref_mut().and_then(|logs| logs.take(ShardId(index as u8))),
            restoring: Arc::clone(&restoring),
            ready,
            planes: take_planes,
            restored: tell_restored.clone(),
            listener_orders,
        };
        let thread = spawn_shard(index, &cores, assignment)?;
        threads.push(thread);
        let ended = |_| RunError::Thread(format!("shard-{index}"), "it ended before it was ready".into());
        let Ready { plane, inbox, addresses } = is_ready.recv().map_err(ended)??;
        // Where port 0 was asked for, the first shard learns the port and the others share it.
        for (listening, address) in listening.iter_mut().zip(addresses) {
            listening.on = address;
        }
        planes.push(plane);
        inboxes.push(inbox);
        starters.push(give_planes);
        orders.push(give_orders);
    }
    if let Some(logs) = &logs {
        logs.begin(&planes);
    }
    for starter in starters {
        // A shard that is gone meanwhile has reported by its own exit.
        let _ = starter.send(planes.clone());
    }
    let listener_parts = ListenerParts { orders, planes, places, rates };
    Ok(Started { threads, inboxes, opened: opened_of(config, listening), listener_parts, restored })
}

/// The listeners of the configuration as the shards have them.
fn opened_of(config: &Config, listening: Vec<Listening>) -> Vec<OpenedListener> {
    let opened = config.listeners.iter().cloned().zip(listening).map(|(listener, listening)| {
        let Listening { on, connections, layers, .. } = listening;
        let tls = if let ListenerLayers::Tls(tls) = layers { Some(tls) } else { None };
        OpenedListener { listener, on, tls, connections }
    });
    opened.collect()
}

/// What each shard's thread is given.
struct Assignment {
    own: ShardId,
    config: Config,
    listening: Vec<Listening>,
    port: Port,
    process: ProcessContext,
    /// Random; for names that clients see.
    instance: u64,
    connections: Arc<AtomicU32>,
    handovers: Arc<[AtomicU32]>,
    rates: Arc<ConnectRates>,
    banned: Arc<BannedAddresses>,
    stop: Arc<AtomicBool>,
    heartbeat: Arc<Heartbeat>,
    /// Where questions go, if any listener asks.
    asker: Option<Asker>,
    /// What it goes on with, if there is a data directory.
    log: Option<ShardLog>,
    restoring: Arc<Restoring>,
    ready: mpsc::Sender<Result<Ready, RingError>>,
    planes: mpsc::Receiver<Vec<PlaneHandle>>,
    /// Told when it can be served.
    restored: mpsc::Sender<()>,
    listener_orders: Receiver<ListenerOrder>,
}

/// What a shard's thread tells when it can serve.
struct Ready {
    plane: PlaneHandle,
    inbox: InboxSender,
    addresses: Vec<ListenOn>,
}

pub(super) type ShardThread = ExecutorJoinHandle<Option<Result<usize, RingError>>>;

/// Starts a shard's thread.
fn spawn_shard(index: usize, cores: &[core_affinity::CoreId], assignment: Assignment) -> Result<ShardThread, RunError> {
    let name = format!("shard-{index}");
    let is_pinned = assignment.config.process.pin && !cores.is_empty();
    let core = if is_pinned { Some(cores[index % cores.len()].id) } else { None };
    LocalExecutorBuilder::new(core.map_or(Placement::Unbound, Placement::Fixed))
        .name(&name)
        // The disk and the sleeping are all that goes through glommio's own rings.
        .io_memory(GLOMMIO_IO_BYTES)
        .ring_depth(GLOMMIO_RING_DEPTH)
        .preempt_timer(PREEMPT_TIMER)
        .spawn(move || async move { run_shard(assignment) })
        .map_err(|error| RunError::Thread(name.clone(), error.to_string()))
}

/// What all shards share.
fn process_context(config: &Config, logs: Option<&ShardLogs>, shared: &SharedByShards<'_>) -> ProcessContext {
    let names = logs.map_or_else(|| NameKey { first: random(), second: random() }, |logs| logs.names);
    let keys = HashKeys { tables: random(), names };
    let now = clock::now();
    let listeners_max = config.listeners.iter().map(|listener| listener.settings.connections_max);
    // A reload may add some.
    let listeners_max = listeners_max.chain(iter::repeat(u32::MAX)).take(limits::LISTENER_INDEXES_MAX);
    ProcessContext {
        places: Arc::new(Places::new(config.process.connections_max, listeners_max)),
        rules: config.access.rules().cloned(),
        tells_clients_apart: config.tells_clients_apart(),
        listeners: config.listeners.iter().map(|listener| Arc::clone(&listener.settings)).collect(),
        profiles: config.access.profiles().cloned(),
        bans: shared.bans.clone(),
        ban_list: config.access.ban_list().cloned(),
        certificates_end: Arc::clone(&shared.certificates_end),
        stamps: StampClock::new(now, logs.map_or(0, |logs| logs.last_stamp_ns)),
        ..ProcessContext::new((*config.settings).clone(), keys, now)
    }
}

/// How often peers connect, counted under a key that nobody knows.
fn connect_rates(listeners: &[Listener]) -> ConnectRates {
    let rates = ConnectRates::new(limits::LISTENER_INDEXES_MAX, NameKey { first: random(), second: random() });
    if listeners.iter().any(|listener| listener.settings.connect_rate_per_address_max > 0) {
        rates.count_addresses();
    }
    rates
}

/// One shard's plane has room for every connection of the broker: which shard a client belongs to, its identifier says.
fn plane_config(connections_max: u32) -> PlaneConfig {
    PlaneConfig { sockets_max: connections_max.saturating_add(limits::SOCKETS_OVER_LIMIT), ..PlaneConfig::default() }
}

/// One shard's thread. `None` when the start was called off.
fn run_shard(assignment: Assignment) -> Option<Result<usize, RingError>> {
    let Assignment {
        own,
        config,
        listening,
        port,
        process,
        instance,
        connections,
        handovers,
        rates,
        banned,
        stop,
        heartbeat,
        asker,
        log,
        restoring,
        ready,
        planes,
        restored,
        listener_orders,
    } = assignment;
    let connections_config = ConnectionsConfig {
        own,
        shards: config.settings.shards,
        connections_max: config.process.connections_max,
        connections,
        handovers,
        rates,
        settings: Arc::clone(&process.settings),
        instance,
    };
    let (mut edge, addresses) = match open_edge(connections_config, listening, &process, banned) {
        Ok(opened) => opened,
        Err(error) => {
            let _ = ready.send(Err(error));
            return None;
        }
    };
    let handshaker = start_handshaker(own, &config, &edge);
    let (sender, inbox) = inbox::lane(edge.handle(), asker.map(|asker| (own, asker)));
    ready.send(Ok(Ready { plane: edge.handle(), inbox: sender, addresses })).ok()?;
    let planes = planes.recv().ok()?;
    edge.set_planes(planes);
    heartbeat.set_asleep(true);
    let BegunShard { shard, fx, store, durable, restored: from_log } = begin_shard(own, &process, clock::now(), log);
    let mut pump = Pump::new(Parts {
        edge,
        shard,
        fx,
        store,
        durable,
        port,
        inbox,
        stop,
        shutdown_timeout_s: config.process.shutdown_timeout_s,
        heartbeat,
        handshaker,
        listener_orders,
    });
    let begun = from_log.map_or(Ok(()), |log| pump.restore(&restoring, &log));
    let _ = restored.send(());
    let result = begun.and_then(|()| pump.run());
    if let Err(error) = &result {
        // Without its ring a shard serves nobody, and its share of the clients would find the port open and silent.
        fatal(&format_args!("shard {}: {error}", own.0), End::Exit(Exit::Environment));
    }
    Some(result)
}

/// A shard's edge, and where it listens.
fn open_edge(
    config: ConnectionsConfig,
    listening: Vec<Listening>,
    process: &ProcessContext,
    banned: Arc<BannedAddresses>,
) -> Result<(Edge, Vec<ListenOn>), RingError> {
    let plane = Plane::new(plane_config(config.connections_max))?;
    let mut edge = Edge::new(config, plane);
    edge.use_bans(process.bans.clone());
    edge.use_ban_list(process.ban_list.clone());
    edge.watch_banned(banned);
    let addresses: Result<_, RingError> = listening.into_iter().map(|listening| edge.listen(listening)).collect();
    Ok((edge, addresses?))
}

/// Where a listener has TLS.
fn start_handshaker(own: ShardId, config: &Config, edge: &Edge) -> Option<Handshaker> {
    let has_tls = config.listeners.iter().any(|listener| listener.settings.kind.has_tls());
    has_tls.then(|| {
        Handshaker::start(own, edge.handle()).unwrap_or_else(|error| {
            fatal(&format_args!("cannot start a thread for TLS handshakes: {error}"), End::Exit(Exit::Environment))
        })
    })
}

/// Tells the shards to stop, and waits for them. Returns how many connections did not take their last words in time.
pub(super) fn stop_all(
    stop: &AtomicBool,
    planes: &[PlaneHandle],
    threads: Vec<ShardThread>,
) -> Result<usize, RunError> {
    stop.store(true, Ordering::SeqCst);
    planes.iter().for_each(PlaneHandle::wake);
    let mut undrained = 0;
    for thread in threads {
        match thread.join() {
            Ok(Some(result)) => undrained += result?,
            Ok(None) => {}
            Err(error) => return Err(RunError::Thread("a shard".into(), error.to_string())),
        }
    }
    Ok(undrained)
}

/// The executors' preempt timer: practically never.
///
/// glommio 0.9.0 (fixed upstream, not released) loses a wake-up when the timer fires between its look for completions and
/// the first task queue: then the executor parks on top of a task that is ready to run. A pump has its executor to itself and
/// needs no preemption. See `docs/decisions/2026-11-22-preempt-timer.md`.
pub const PREEMPT_TIMER: Duration = Duration::from_secs(24 * 3600);

/// Depth of glommio's own rings.
const GLOMMIO_RING_DEPTH: usize = 64;
/// Memory that glommio registers for its own files, per executor and ring.
pub(super) const GLOMMIO_IO_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shard_has_room_for_every_connection_that_was_asked_for() {
        for connections_max in [10, limits::CONNECTIONS_DEFAULT, limits::CONNECTIONS_DEFAULT + 1000] {
            assert!(plane_config(connections_max).sockets_max > connections_max);
        }
    }
}
