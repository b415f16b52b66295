//! Starting the process's shards, and stopping them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

use super::accounts;
use super::authenticator::{self, AuthenticatorHandle, Questions};
use super::clock;
use super::disk::{DirectoryError, SurveyError};
use super::fatal::{End, fatal};
use super::file_watch::WatchedFiles;
use super::handshakes::Handshaker;
use super::mesh::{self, Port};
use super::pump::{Parts, Pump};
use super::reload::{Reached, ReloadWaiters, Reloader};
use super::restoring::Restoring;
use super::shard_logs::{BegunShard, ShardLog, ShardLogs, begin_shard};
use super::signals::{self, SignalsHeard};
use super::tls::{TlsListeners, TlsProblem};
use super::watchdog::{self, Heartbeat};
use crate::config::unix::UnixSocket;
use crate::config::{Config, Exit, ListenAddress, Listener};
use crate::conn::{ConnectRates, ConnectionsConfig, ListenerLayers};
use crate::ids::{HashKeys, NameKey, ShardId};
use crate::inbox::{self, Asker, InboxSender};
use crate::limits;
use crate::net::{Edge, ListenOn, Listening};
use crate::ring::probe::{self, Needs, Shortfall};
use crate::ring::{Plane, PlaneConfig, PlaneHandle, RingError, SharedUnixListener};
use crate::services::admin::{self, AdminHandle};
use crate::shard::{CertificatesEnd, Places, ProcessContext, StampClock};
use crate::telemetry::log;

/// Why the broker does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The machine lacks something.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Environment(Vec<Shortfall>),
    /// A listener's certificates, keys or lists are not usable.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Tls(Vec<TlsProblem>),
    /// Somebody else listens there.
    #[error("{0} is in use by another process; stop that, or choose another with --bind or --port")]
    AddressInUse(SocketAddr),
    /// Somebody else listens where the admin server is to.
    #[error(
        "{0} is in use by another process; stop that, choose another with --admin-port, or do without: --admin-port off"
    )]
    AdminAddressInUse(SocketAddr),
    /// Somebody else listens at a path.
    #[error("{} is in use by another process; stop that, or choose another path with --unix", .0.display())]
    PathInUse(PathBuf),
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] SurveyError),
    /// A user or a group that is to own a socket is not there.
    #[error("{0}")]
    Account(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {0}: {reason}", reason = why_not(.0, .1))]
    Listen(SocketAddr, io::Error),
    /// The system refused something at start.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A thread could not be started.
    #[error("cannot start {0}: {1}")]
    Thread(String, String),
}

impl RunError {
    /// The process's exit status.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::AddressInUse(_)
            | Self::AdminAddressInUse(_)
            | Self::PathInUse(_)
            | Self::Store(SurveyError::Directory(DirectoryError::InUse(_))) => Exit::AddressInUse,
            Self::Tls(_) => Exit::Config,
            _ => Exit::Environment,
        }
    }
}

/// Why an address cannot be listened on, and what to do about it.
fn why_not(address: &SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied if address.port() < 1024 => format!(
            "{error}; ports below 1024 need the capability CAP_NET_BIND_SERVICE: in a systemd unit \
             AmbientCapabilities=CAP_NET_BIND_SERVICE, by hand `setcap cap_net_bind_service=+ep` on the binary; or choose \
             another port with --port"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "{} is no address of this machine; `ip address` lists those that are, and {} is all of them",
            address.ip(),
            if address.is_ipv4() { "0.0.0.0" } else { "::" }
        ),
        _ if error.raw_os_error() == Some(libc::EAFNOSUPPORT) && address.is_ipv6() => {
            format!("{error}; this machine has no IPv6: --bind 0.0.0.0 is all of IPv4")
        }
        _ => error.to_string(),
    }
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
}

/// What a shard's thread tells when it can serve.
struct Ready {
    plane: PlaneHandle,
    inbox: InboxSender,
    addresses: Vec<ListenOn>,
}

type ShardThread = ExecutorJoinHandle<Option<Result<usize, RingError>>>;

/// Runs the broker until a signal stops it. `announce` is called once, with every address, when clients can connect.
pub fn run(config: &Config, log: log::LogControl, announce: impl FnOnce(&[ListenOn])) -> Result<(), RunError> {
    let begun = Instant::now();
    // Signals are caught first, and before threads exist: none is lost, none ends a broker that is only starting, and no
    // thread handles them on its own.
    let no_signals = |error: io::Error| RunError::Thread("the signal handler".into(), error.to_string());
    let signals = signals::catch().map_err(no_signals)?;
    let shards = config.settings.shards;
    log::event::starting(
        env!("CARGO_PKG_VERSION"),
        &config.settings.node_name,
        shards as u64,
        std::process::id().into(),
    );
    refuse_huge_pages();
    probe::probe(needs(config)).map_err(RunError::Environment)?;
    if let Some(text) = descriptor_warning(config, probe::open_files_limit().0) {
        log::event::config_warning(&text);
    }
    let tls = Arc::new(TlsListeners::load(&config.listeners).map_err(RunError::Tls)?);
    let listening = config.listeners.iter().zip(tls.layers()).map(|(listener, layers)| listening_of(listener, layers));
    let listening = listening.collect::<Result<Vec<_>, _>>()?;
    let admin_listener = config.admin.address().map(listen_for_admin).transpose()?;
    // Last of what may be refused: it makes a directory, and counts the start in it.
    let mut logs = ShardLogs::open(config, random, clock::now())?;
    let stop = Arc::new(AtomicBool::new(false));
    let heartbeats: Vec<Arc<Heartbeat>> = (0..shards).map(|_| Arc::default()).collect();
    let (asker, questions) = config.access.asks().then(authenticator::questions).unzip();
    let certificates_end = tls.first_end();
    let shared = SharedByShards { stop: &stop, heartbeats: &heartbeats, asker, certificates_end };
    let Started { threads, planes, inboxes, addresses, restored } =
        start_shards(config, listening, &shared, logs.as_mut())?;
    let authenticator = match questions {
        Some(questions) => Some(start_authenticator(config, questions, inboxes.clone())?),
        None => None,
    };
    let admin = admin_listener.map(|listener| start_admin(config, listener, inboxes.clone())).transpose()?;
    let files = Arc::new(WatchedFiles::new(config.files()));
    let waiters = ReloadWaiters::default();
    let reached = Reached { inboxes, authenticator, admin: admin.clone() };
    let reloader = Reloader { config: config.clone(), log, reached, tls, files, waiters: waiters.clone() };
    let SignalsHeard { stop: told_to_stop, reload } = signals::start(signals, reloader).map_err(no_signals)?;
    if let Some(admin) = admin {
        admin.reload_by(Box::new(move |then| {
            waiters.add(then);
            reload.ask();
        }));
    }
    watchdog::start(heartbeats).map_err(|error| RunError::Thread("the watchdog".into(), error.to_string()))?;
    // Every shard tells once; one that ends before has ended the process.
    restored.iter().take(shards).for_each(drop);
    for (address, listener) in addresses.iter().zip(&config.listeners) {
        log::event::listening(address, &listener.settings.name, shards as u64, listener.settings.admits_anonymous());
    }
    announce(&addresses);
    log::event::ready(begun.elapsed().as_millis() as u64);
    let signal = told_to_stop.recv().expect("the thread that hears signals stays");
    log::event::stopping(signal, config.process.shutdown_timeout_s.into());
    stop.store(true, Ordering::SeqCst);
    planes.iter().for_each(PlaneHandle::wake);
    let undrained = join(threads)?;
    log::event::stopped(undrained as u64, begun.elapsed().as_secs());
    Ok(())
}

/// Transparent huge pages turn every corner of the heap that is touched into 2 MiB: at 15,000 clients that was half of
/// the resident memory. See docs/measurements, "Where the bytes go".
fn refuse_huge_pages() {
    // SAFETY: sets a flag of this process; no pointers are passed.
    let result = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    debug_assert_eq!(result, 0, "every kernel that the probe admits knows the flag");
}

/// What the process cannot start without. Sockets are not in it: rings are added as connections come, and a table that
/// is full turns connections away and says so.
fn needs(config: &Config) -> Needs {
    let shards = config.settings.shards as u64;
    Needs {
        open_files: OPEN_FILES_BASE + shards * OPEN_FILES_PER_SHARD,
        memlock_bytes: MEMLOCK_BASE_BYTES + shards * 3 * GLOMMIO_IO_BYTES as u64,
        memlock_always_bytes: MEMLOCK_BASE_BYTES,
    }
}

/// What a low limit on open files will lead to one day, if it is too low for the connections that are allowed.
fn descriptor_warning(config: &Config, open_files: u64) -> Option<String> {
    let (shards, rings) = (config.settings.shards as u64, limits::RINGS_MAX as u64);
    let connections_max = u64::from(config.process.connections_max);
    let room_of_ring = |open_files: u64| open_files.min(limits::RING_DESCRIPTORS_MAX.into());
    let room = shards * rings * room_of_ring(open_files);
    let needed = connections_max.div_ceil(shards * rings);
    (room < connections_max).then(|| {
        format!(
            "{open_files} open files are allowed, with which {shards} shards take {room} connections together; [node] \
             max_connections (--max-connections) allows {connections_max}, and those beyond the {room} would hear nothing; to \
             mend it: ulimit -n {needed} (systemd: LimitNOFILE={needed}; docker: --ulimit nofile={needed}), or allow fewer"
        )
    })
}

/// Every shard's listener shares its address with the others (`SO_REUSEPORT`), and would share it with another broker of
/// the same user as well. So one socket that does not share is bound first.
fn check_free(address: SocketAddr) -> Result<(), RunError> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(RunError::AddressInUse(address)),
        Err(error) => Err(RunError::Listen(address, error)),
    }
}

/// What a listener of the configuration is to the shards: free to listen on, and bound where they share it.
fn listening_of(listener: &Listener, layers: ListenerLayers) -> Result<Listening, RunError> {
    let on = match &listener.address {
        ListenAddress::Ip(address) => {
            check_free(*address)?;
            ListenOn::Ip(*address)
        }
        ListenAddress::Unix(socket) => ListenOn::Unix(bind_unix(socket)?),
    };
    let settings = accounts::with_user_names(&listener.settings);
    Ok(Listening { on, settings, connections: Arc::default(), layers })
}

fn bind_unix(socket: &UnixSocket) -> Result<SharedUnixListener, RunError> {
    let access = accounts::access(socket).map_err(RunError::Account)?;
    SharedUnixListener::bind(&socket.path, access, limits::LISTEN_BACKLOG).map_err(|error| match error.errno() {
        libc::EADDRINUSE => RunError::PathInUse(socket.path.clone()),
        _ => RunError::Ring(error),
    })
}

/// The shards that were started.
struct Started {
    threads: Vec<ShardThread>,
    /// How to wake them.
    planes: Vec<PlaneHandle>,
    /// How to put commands to them.
    inboxes: Vec<InboxSender>,
    /// What they listen on.
    addresses: Vec<ListenOn>,
    /// Each says here when its clients can be served.
    restored: mpsc::Receiver<()>,
}

fn start_authenticator(
    config: &Config,
    questions: Questions,
    inboxes: Vec<InboxSender>,
) -> Result<AuthenticatorHandle, RunError> {
    let mut key = [0; 32];
    key.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&random().to_ne_bytes()));
    authenticator::start(questions, key, authenticator::inputs(config), inboxes)
        .map_err(|error| RunError::Thread("the authenticator".into(), error.to_string()))
}

/// A socket for the admin server. It is bound before anything else has happened, so that one that is in use changes nothing.
fn listen_for_admin(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => RunError::AdminAddressInUse(address),
        _ => RunError::Listen(address, error),
    })
}

fn start_admin(config: &Config, listener: TcpListener, inboxes: Vec<InboxSender>) -> Result<AdminHandle, RunError> {
    let no_thread = |error: io::Error| RunError::Thread("the admin server".into(), error.to_string());
    let address = listener.local_addr().map_err(no_thread)?;
    let first_password = config.admin_users().is_none().then(|| format!("{:016x}{:016x}", random(), random()));
    let handle = admin::start(listener, config, first_password.as_deref(), inboxes).map_err(no_thread)?;
    log::event::admin_listening(&address);
    if let Some(password) = first_password {
        log::event::admin_password("admin", &password);
    }
    Ok(handle)
}

/// What all shards are given alike, beside their settings.
struct SharedByShards<'a> {
    stop: &'a Arc<AtomicBool>,
    heartbeats: &'a [Arc<Heartbeat>],
    /// Where questions go, if any listener asks.
    asker: Option<Asker>,
    /// When the first certificate of a listener ends.
    certificates_end: Arc<CertificatesEnd>,
}

fn start_shards(
    config: &Config,
    mut listening: Vec<Listening>,
    shared: &SharedByShards<'_>,
    mut logs: Option<&mut ShardLogs>,
) -> Result<Started, RunError> {
    let instance = random();
    let process = process_context(config, logs.as_deref(), &shared.certificates_end);
    let restoring = Arc::new(Restoring::new(config.settings.shards));
    let (tell_restored, restored) = mpsc::channel();
    let connections = Arc::new(AtomicU32::new(0));
    let rates = Arc::new(connect_rates(&config.listeners));
    let handovers: Arc<[AtomicU32]> = (0..config.settings.shards).map(|_| AtomicU32::new(0)).collect();
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let mut threads = Vec::new();
    let mut planes = Vec::new();
    let mut inboxes = Vec::new();
    let mut starters = Vec::new();
    for ((index, port), heartbeat) in mesh::ports(config.settings.shards).into_iter().enumerate().zip(shared.heartbeats)
    {
        let (ready, is_ready) = mpsc::channel();
        let (give_planes, take_planes) = mpsc::channel();
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
            stop: Arc::clone(shared.stop),
            heartbeat: Arc::clone(heartbeat),
            asker: shared.asker.clone(),
            log: logs.as_deref_mut().and_then(|logs| logs.take(ShardId(index as u8))),
            restoring: Arc::clone(&restoring),
            ready,
            planes: take_planes,
            restored: tell_restored.clone(),
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
    }
    if let Some(logs) = &logs {
        logs.begin(&planes);
    }
    for starter in starters {
        // A shard that is gone meanwhile has reported by its own exit.
        let _ = starter.send(planes.clone());
    }
    let addresses = listening.into_iter().map(|listening| listening.on).collect();
    Ok(Started { threads, planes, inboxes, addresses, restored })
}

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
fn process_context(
    config: &Config,
    logs: Option<&ShardLogs>,
    certificates_end: &Arc<CertificatesEnd>,
) -> ProcessContext {
    let names = logs.map_or_else(|| NameKey { first: random(), second: random() }, |logs| logs.names);
    let keys = HashKeys { tables: random(), names };
    let now = clock::now();
    let listeners_max = config.listeners.iter().map(|listener| listener.settings.connections_max);
    ProcessContext {
        places: Arc::new(Places::new(config.process.connections_max, listeners_max)),
        rules: config.access.rules().cloned(),
        tells_clients_apart: config.tells_clients_apart(),
        listeners: config.listeners.iter().map(|listener| Arc::clone(&listener.settings)).collect(),
        profiles: config.access.profiles().cloned(),
        certificates_end: Arc::clone(certificates_end),
        stamps: StampClock::new(now, logs.map_or(0, |logs| logs.last_stamp_ns)),
        ..ProcessContext::new((*config.settings).clone(), keys, now)
    }
}

/// How often peers connect, counted under a key that nobody knows.
fn connect_rates(listeners: &[Listener]) -> ConnectRates {
    let per_address = listeners.iter().any(|listener| listener.settings.connect_rate_per_address_max > 0);
    ConnectRates::new(listeners.len(), NameKey { first: random(), second: random() }, per_address)
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
        stop,
        heartbeat,
        asker,
        log,
        restoring,
        ready,
        planes,
        restored,
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
    let opened = Plane::new(plane_config(config.process.connections_max)).and_then(|plane| {
        let mut edge = Edge::new(connections_config, plane);
        let addresses: Result<Vec<ListenOn>, RingError> =
            listening.into_iter().map(|listening| edge.listen(listening)).collect();
        Ok((edge, addresses?))
    });
    let (mut edge, addresses) = match opened {
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
    let has_log = log.is_some();
    let BegunShard { shard, fx, store, durable } = begin_shard(own, &process, clock::now(), log);
    let shutdown_timeout_s = config.process.shutdown_timeout_s;
    let parts = Parts { edge, shard, fx, store, durable, port, inbox, stop, shutdown_timeout_s, heartbeat, handshaker };
    let mut pump = Pump::new(parts);
    let begun = if has_log { pump.restore(&restoring) } else { Ok(()) };
    let _ = restored.send(());
    let result = begun.and_then(|()| pump.run());
    if let Err(error) = &result {
        // Without its ring a shard serves nobody, and its share of the clients would find the port open and silent.
        fatal(&format_args!("shard {}: {error}", own.0), End::Exit(Exit::Environment));
    }
    Some(result)
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

fn join(threads: Vec<ShardThread>) -> Result<usize, RunError> {
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

/// A number that nobody outside can guess: std keys its hash maps from the system's random source.
pub(super) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// Standard streams, log, listeners, signal pipe.
const OPEN_FILES_BASE: u64 = 64;
/// glommio's three rings and its eventfds, the plane's rings and eventfd, and a slot in each ring's table for a start.
const OPEN_FILES_PER_SHARD: u64 = 32;
/// What glommio insists on before it makes an executor.
const MEMLOCK_BASE_BYTES: u64 = 512 * 1024;
/// Memory that glommio registers for its own files, per executor and ring.
const GLOMMIO_IO_BYTES: usize = 64 * 1024;
/// The executors' preempt timer: practically never.
///
/// glommio 0.9.0 (fixed upstream, not released) loses a wake-up when the timer fires between its look for completions and
/// the first task queue: then the executor parks on top of a task that is ready to run. A pump has its executor to itself and
/// needs no preemption. See `docs/decisions/2026-11-22-preempt-timer.md`.
pub const PREEMPT_TIMER: Duration = Duration::from_secs(24 * 3600);
/// Depth of glommio's own rings.
const GLOMMIO_RING_DEPTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_refused_for_the_whole_process() {
        refuse_huge_pages();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let enabled = status.lines().find_map(|line| line.strip_prefix("THP_enabled:")).map(str::trim);
        assert_eq!(enabled, Some("0"));
    }

    #[test]
    fn one_shard_has_room_for_every_connection_that_was_asked_for() {
        for connections_max in [10, limits::CONNECTIONS_DEFAULT, limits::CONNECTIONS_DEFAULT + 1000] {
            assert!(plane_config(connections_max).sockets_max > connections_max);
        }
    }

    #[test]
    fn what_keeps_it_from_listening_comes_with_a_remedy() {
        let table = [
            ("192.0.2.1:1883", libc::EADDRNOTAVAIL, "192.0.2.1 is no address of this machine; `ip address` lists"),
            ("[2001:db8::1]:1883", libc::EADDRNOTAVAIL, "and :: is all of them"),
            ("0.0.0.0:80", libc::EACCES, "AmbientCapabilities=CAP_NET_BIND_SERVICE"),
            ("[::1]:1883", libc::EAFNOSUPPORT, "this machine has no IPv6: --bind 0.0.0.0"),
        ];
        for (address, number, remedy) in table {
            let error = RunError::Listen(address.parse().unwrap(), io::Error::from_raw_os_error(number)).to_string();
            assert!(error.starts_with(&format!("cannot listen on {address}: ")) && error.contains(remedy), "{error}");
        }
        let other = RunError::Listen("0.0.0.0:1883".parse().unwrap(), io::Error::from_raw_os_error(libc::EACCES));
        assert!(!other.to_string().contains("1024"), "{other}");
    }

    #[test]
    fn an_address_that_somebody_shares_is_in_use_all_the_same() {
        let mut plane = Plane::new(PlaneConfig::default()).unwrap();
        let config = crate::ring::ListenConfig::new(([127, 0, 0, 1], 0).into());
        let (_, address) = plane.listen(&config).unwrap();
        assert!(matches!(check_free(address), Err(RunError::AddressInUse(at)) if at == address));
    }
}
