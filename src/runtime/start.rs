//! Starting the broker, and stopping it.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::authenticator::{self, AuthOutputs, AuthenticatorHandle, Questions};
use super::binding::{listen_for_admin, listen_for_admin_at, listening_of, place_of};
use super::clock;
use super::emptying;
use super::file_watch::WatchedFiles;
use super::kept_bans::KeptBans;
use super::listeners::{ProcessListeners, layers_with};
use super::needs::{descriptor_warning, needs, refuse_huge_pages};
use super::random::random;
use super::reload::{Reached, ReloadWaiters, Reloader};
use super::run_error::RunError;
use super::service_manager::ServiceManager;
use super::shard_logs::ShardLogs;
use super::shard_threads::{ShardThread, SharedByShards, Started, start_shards, stop_all};
use super::signals::{self, Errand, SignalsHeard};
use super::tls::TlsFiles;
use super::watchdog::{self, Heartbeat};
use crate::auth::{BannedAddresses, operator_bans::OperatorBans};
use crate::config::{Config, Storage};
use crate::conn::tls::{ServerConfig, TlsListener};
use crate::inbox::InboxSender;
use crate::net::{ListenOn, Listening};
use crate::ring::probe;
use crate::ring::{PlaneHandle, SharedUnixListener};
use crate::services::admin::{self, AdminHandle, AdminKept, AdminSockets, BanKeeper, ReloadAsker};
use crate::services::connectors::ConnectorsHandle;
use crate::services::local::LocalDoor;
use crate::services::otlp::{self, SpansPlan};
use crate::telemetry::log;
use crate::time::Timestamp;

/// Runs the broker until a signal stops it. `announce` is called once, with every address, when clients can connect.
pub fn run(config: &Config, log: log::LogControl, announce: impl FnOnce(&[ListenOn])) -> Result<(), RunError> {
    let begun = Instant::now();
    // Signals are caught first, and before threads exist: none is lost, none ends a broker that is only starting, and no
    // thread handles them on its own.
    let signals = signals::catch().map_err(|error| no_signals(&error))?;
    let shards = config.settings.shards;
    let manager = ServiceManager::find();
    check_machine(config)?;
    let (tls, listening) = bind_all(config)?;
    let admin_listener = admin_listener(config)?;
    // The file goes when this does, at the end of the process.
    let admin_path = admin_path(config)?;
    // Last of what may be refused: it makes a directory, and counts the start in it.
    let mut logs = open_logs(config, &manager)?;
    let (bans, keep_bans) = kept_of_operators(config)?;
    let stop = Arc::new(AtomicBool::new(false));
    let heartbeats: Vec<Arc<Heartbeat>> = (0..shards).map(|_| Arc::default()).collect();
    let (asker, questions) = config.access.asks().then(authenticator::questions).unzip();
    let shared = SharedByShards {
        stop: &stop,
        heartbeats: &heartbeats,
        asker,
        certificates_end: tls.first_end(),
        bans: shared_bans(&bans),
        banned: Arc::default(),
    };
    let Started { threads, inboxes, opened, listener_parts, restored } =
        start_shards(config, listening, &shared, logs.as_mut())?;
    SpansPlan::prepare(config, random).map_err(|error| no_spans(&error))?.carry_out();
    let planes = listener_parts.planes.clone();
    let addresses: Vec<_> = opened.iter().map(|opened| opened.on.clone()).collect();
    let listeners = ProcessListeners::new(opened, listener_parts);
    let authenticator = start_authenticator(config, questions, &inboxes, &shared.banned)?;
    let admin_sockets = admin_sockets(&tls, admin_listener, admin_path.as_ref());
    let connectors = ConnectorsHandle::new(LocalDoor::new(inboxes.clone()));
    let kept = AdminKept { certificates_end: tls.first_end(), bans, keep_bans, connectors: connectors.clone() };
    let admin = start_admin(config, admin_sockets, inboxes.clone(), kept)?;
    start_connectors(&connectors, config)?;
    let waiters = ReloadWaiters::default();
    let reached =
        Reached { inboxes: inboxes.clone(), authenticator, admin: admin.clone(), connectors: connectors.clone() };
    let admin_listeners = listeners.for_admin(&config.listeners);
    let reloader = Reloader {
        config: config.clone(),
        log,
        reached,
        tls,
        listeners,
        files: Arc::new(WatchedFiles::new(config.files())),
        waiters: waiters.clone(),
        manager: manager.clone(),
    };
    let SignalsHeard { stop: told_to_stop, reload } =
        signals::start(signals, reloader).map_err(|error| no_signals(&error))?;
    watchdog::start(heartbeats).map_err(|error| RunError::Thread("the watchdog".into(), error.to_string()))?;
    // Every shard tells once; one that ends before has ended the process.
    restored.iter().take(shards).enumerate().for_each(|(done, ())| manager.is_restoring(done + 1, shards));
    if let Some(admin) = &admin {
        admin.serves_from_now_on(reload_asker(waiters, reload), admin_listeners);
    }
    tell_listening(config, addresses, announce);
    manager.is_ready(inboxes.clone()).map_err(|error| no_status(&error))?;
    log::event::ready(begun.elapsed().as_millis() as u64);
    let signal = told_to_stop.recv().expect("the thread that hears signals stays");
    tell_stop(&manager, admin.as_ref(), signal, config);
    empty(config, &connectors, &inboxes, &manager, admin.as_ref());
    let undrained = end(&stop, &planes, threads)?;
    log::event::stopped(undrained as u64, begun.elapsed().as_secs());
    Ok(())
}

/// Says that it stops, to whoever may send clients here, too.
fn tell_stop(manager: &ServiceManager, admin: Option<&AdminHandle>, signal: &str, config: &Config) {
    manager.is_stopping();
    admin.into_iter().for_each(AdminHandle::stops);
    log::event::stopping(signal, config.process.shutdown_timeout_s.into(), config.process.shutdown_drain_s.into());
}

/// Ends what is a client of the broker's own, and asks the others to go, if that is to take a while: to where the operator said who had the
/// broker emptied already, or the configuration says.
fn empty(
    config: &Config,
    connectors: &ConnectorsHandle,
    inboxes: &[InboxSender],
    manager: &ServiceManager,
    admin: Option<&AdminHandle>,
) {
    connectors.end();
    let named = admin.and_then(AdminHandle::server_of_drain);
    let server = named.or_else(|| config.process.shutdown_server.get().map(str::to_owned));
    emptying::empty(inboxes, manager, config.process.shutdown_drain_s, server.as_deref());
}

/// Ends the shards, and lets the last spans go. Returns how many connections were not drained.
fn end(stop: &AtomicBool, planes: &[PlaneHandle], threads: Vec<ShardThread>) -> Result<usize, RunError> {
    let undrained = stop_all(stop, planes, threads)?;
    otlp::finish();
    Ok(undrained)
}

/// Where the admin server listens, and what its handshakes go by.
fn admin_sockets<'a>(
    tls: &TlsFiles,
    network: Option<TcpListener>,
    local: Option<&'a SharedUnixListener>,
) -> AdminSockets<'a> {
    AdminSockets { network, tls: tls.admin(), certificates: tls.ends(), local }
}

/// Has whoever waits for a reload told of the next one, and asks for it.
fn reload_asker(waiters: ReloadWaiters, reload: Errand) -> ReloadAsker {
    Box::new(move |then| {
        waiters.add(then);
        reload.ask();
    })
}

fn no_signals(error: &io::Error) -> RunError {
    RunError::Thread("the signal handler".into(), error.to_string())
}

fn no_status(error: &io::Error) -> RunError {
    RunError::Thread("the service's status".into(), error.to_string())
}

fn no_spans(error: &io::Error) -> RunError {
    RunError::Thread("the exporter of spans".into(), error.to_string())
}

fn start_connectors(connectors: &ConnectorsHandle, config: &Config) -> Result<(), RunError> {
    connectors.prepare(config).map_err(|error| no_connectors(&error))?;
    connectors.replace(config);
    Ok(())
}

fn no_connectors(error: &io::Error) -> RunError {
    RunError::Thread("what connects the broker to others".into(), error.to_string())
}

/// Every listener of the configuration, bound where the shards share it, with what its handshakes go by.
fn bind_all(config: &Config) -> Result<(TlsFiles, Vec<Listening>), RunError> {
    let (files, of_listeners) = TlsFiles::load(config).map_err(RunError::Tls)?;
    let no_thread = |error: io::Error| RunError::Thread("the watch of certificates".into(), error.to_string());
    files.watch_ends().map_err(no_thread)?;
    let bind = |(listener, tls): (_, Option<ServerConfig>)| {
        let tls = tls.map(TlsListener::new);
        Ok(listening_of(listener, place_of(listener)?, layers_with(tls.as_ref())))
    };
    let listening: Result<_, RunError> = config.listeners.iter().zip(of_listeners).map(bind).collect();
    Ok((files, listening?))
}

/// Says where clients can connect. Whoever listens at a path lets go of it when a reload takes it away: nothing else holds it.
fn tell_listening(config: &Config, addresses: Vec<ListenOn>, announce: impl FnOnce(&[ListenOn])) {
    let shards = config.settings.shards as u64;
    for (address, listener) in addresses.iter().zip(&config.listeners) {
        log::event::listening(address, &listener.settings.name, shards, listener.settings.admits_anonymous());
    }
    announce(&addresses);
    drop(addresses);
}

/// Says what begins, and refuses to on a machine that does not suffice.
fn check_machine(config: &Config) -> Result<(), RunError> {
    log::event::starting(
        env!("CARGO_PKG_VERSION"),
        &config.settings.node_name,
        config.settings.shards as u64,
        std::process::id().into(),
    );
    refuse_huge_pages();
    probe::probe(needs(config)).map_err(RunError::Environment)?;
    if let Some(text) = descriptor_warning(config, probe::open_files_limit().0) {
        log::event::config_warning(&text);
    }
    Ok(())
}

/// Opens the data directory, while the service manager is told how far that has come.
fn open_logs(config: &Config, manager: &ServiceManager) -> Result<Option<ShardLogs>, RunError> {
    let progress = Arc::default();
    let _told = if config.store.storage == Storage::Disk {
        manager.is_reading(&progress).map_err(|error| no_status(&error))?
    } else {
        None
    };
    Ok(ShardLogs::open(config, random, clock::now(), &progress)?)
}

/// Whom operators have banned, and how changes are written down, where anything is kept.
fn kept_of_operators(config: &Config) -> Result<(OperatorBans, Option<BanKeeper>), RunError> {
    let kept = config.data_dir().map(KeptBans::of);
    let bans = kept.as_ref().map(|kept| kept.read(Timestamp(clock::now().unix_ms))).transpose()?.unwrap_or_default();
    Ok((bans, kept.map(keep_bans)))
}

/// As shards are given them.
fn shared_bans(bans: &OperatorBans) -> Option<Arc<OperatorBans>> {
    (!bans.is_empty()).then(|| Arc::new(bans.clone()))
}

/// Writes them down for whoever changes them.
fn keep_bans(kept: KeptBans) -> BanKeeper {
    Arc::new(move |bans| kept.write(bans, Timestamp(clock::now().unix_ms)).map_err(|error| error.to_string()))
}

/// Who finds out whether clients may come in, where any listener asks.
fn start_authenticator(
    config: &Config,
    questions: Option<Questions>,
    inboxes: &[InboxSender],
    banned: &Arc<BannedAddresses>,
) -> Result<Option<AuthenticatorHandle>, RunError> {
    let Some(questions) = questions else { return Ok(None) };
    let outputs = AuthOutputs { inboxes: inboxes.to_vec(), banned: Arc::clone(banned) };
    let mut key = [0; 32];
    key.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&random().to_ne_bytes()));
    authenticator::start(questions, key, authenticator::inputs(config), outputs)
        .map(Some)
        .map_err(|error| RunError::Thread("the authenticator".into(), error.to_string()))
}

/// The admin server's place in the file system, if it is to have one.
fn admin_path(config: &Config) -> Result<Option<SharedUnixListener>, RunError> {
    let path = config.admin.admin_socket.path(|name| std::env::var_os(name));
    path.map(|path| listen_for_admin_at(&path)).transpose()
}

/// The admin server's socket, if it is to have one. A port that nobody has chosen may be another broker's: then there is none.
fn admin_listener(config: &Config) -> Result<Option<TcpListener>, RunError> {
    let Some(address) = config.admin_address() else { return Ok(None) };
    match listen_for_admin(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(RunError::AdminAddressInUse(_)) if !config.is_admin_chosen() => {
            log::event::admin_not_started(&address);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn start_admin(
    config: &Config,
    sockets: AdminSockets<'_>,
    inboxes: Vec<InboxSender>,
    kept: AdminKept,
) -> Result<Option<AdminHandle>, RunError> {
    if sockets.network.is_none() && sockets.local.is_none() {
        return Ok(None);
    }
    let no_thread = |error: io::Error| RunError::Thread("the admin server".into(), error.to_string());
    let address = sockets.network.as_ref().map(TcpListener::local_addr).transpose().map_err(no_thread)?;
    let sockets_path = sockets.local.map(|socket| socket.path().to_owned());
    let handle = admin::start(sockets, config, inboxes, kept).map_err(no_thread)?;
    if let Some(socket) = sockets_path {
        log::event::admin_listening_at(&socket.display());
    }
    if let Some(address) = address {
        log::event::admin_listening(&address);
        handle.tell_first_password().map_err(no_thread)?;
    }
    Ok(Some(handle))
}
