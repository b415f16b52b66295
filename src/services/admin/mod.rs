//! The admin server: health, metrics and the API, over HTTP.
//!
//! Owns: one thread with an executor of its own, the routes, who is logged in.
//! Always holds: whoever asks is known before anything is done, but for health, metrics where they are open, and logging in; a
//! connection, a request's head, its body and its time are bounded; the thread gives way to shards (nice).
//! Leaves to others: the users' file (`auth::admin_users`, `config`), what shards do (`shard::Command`).
//!
//! Reading order: this file, `server` with `places`, `state`, `shards`, `hosts` (which server is meant, and which page asks), `access` (who asks), `asked`, `problem`; then one file for each kind of
//! thing that can be asked: `health`, `metrics`, `broker`, `clients` with `client_by_query`, `subscriptions`, `messages`, `traffic`, `listeners`, `connectors` with `connector_figures`, `bridges`, `sinks` and `sources`, `draining`, `bans`, `traces`,
//! `tail`, `history` with `samples`, `certificates`, `log_lines`; `dashboard` (the page for people); `description` (`OpenAPI`).

mod access;
#[cfg(test)]
mod api_document;
mod asked;
mod bans;
mod bridges;
mod broker;
mod certificates;
mod client_by_query;
mod clients;
mod connector_figures;
mod connectors;
mod cursor;
mod dashboard;
mod description;
mod draining;
#[cfg(test)]
mod failing_shards;
mod first_password;
mod health;
mod history;
mod hosts;
mod listeners;
mod log_lines;
mod logins;
mod messages;
mod metrics;
mod operated;
mod origin;
mod places;
mod problem;
mod process;
mod properties;
mod samples;
mod server;
mod shards;
mod sinks;
mod sources;
mod stalled;
mod state;
mod subscriptions;
mod tail;
mod traces;
mod traffic;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::auth::operator_bans::OperatorBans;
use crate::config::{Changes, Config};
use crate::inbox::InboxSender;
use crate::limits::ADMIN_FIRST_PASSWORD_S;
use crate::ring::SharedUnixListener;
use crate::services::connectors::ConnectorsHandle;
use crate::shard::CertificatesEnd;
use crate::telemetry::log;
pub(crate) use operated::{AdminCertificate, AdminCertificates, AdminListener};
use state::AdminState;

/// Is told what a reload has come to: the changes, or why nothing changed.
pub(crate) type ReloadThen = Box<dyn FnOnce(Result<Changes, String>) + Send>;
/// Asks for a reload.
pub(crate) type ReloadAsker = Box<dyn Fn(ReloadThen) + Send + Sync>;

/// What TLS handshakes of the admin server go by: whoever reads its certificate again replaces it.
pub(crate) type AdminTls = Arc<ArcSwap<rustls::ServerConfig>>;

/// Writes the bans of operators where they outlive the process, or says why not. It may take as long as a disk does.
pub(crate) type BanKeeper = Arc<dyn Fn(&OperatorBans) -> Result<(), String> + Send + Sync>;

/// What it goes on with, and where it keeps what is to outlive the process.
pub(crate) struct AdminKept {
    /// When the first certificate of a listener ends.
    pub(crate) certificates_end: Arc<CertificatesEnd>,
    /// Those that the shards have.
    pub(crate) bans: OperatorBans,
    /// None where nothing outlives the process.
    pub(crate) keep_bans: Option<BanKeeper>,
    /// Bridges and the like.
    pub(crate) connectors: ConnectorsHandle,
}

/// Where it listens already.
pub(crate) struct AdminSockets<'a> {
    /// For whoever can reach its address.
    pub(crate) network: Option<TcpListener>,
    /// What is spoken there first, if not HTTP at once.
    pub(crate) tls: Option<AdminTls>,
    /// When which certificate ends.
    pub(crate) certificates: AdminCertificates,
    /// By a path, for this machine.
    pub(crate) local: Option<&'a SharedUnixListener>,
}

/// Tells the admin server of new settings.
#[derive(Clone)]
pub(crate) struct AdminHandle(Arc<AdminState>);

impl AdminHandle {
    /// From now on these hold.
    pub(crate) fn replace(&self, config: &Config) {
        self.0.use_config(config);
    }

    /// Where no file says who may use the API, a password is made for one login, and told in the log.
    pub(crate) fn tell_first_password(&self) -> io::Result<()> {
        if self.0.has_users_file() {
            return Ok(());
        }
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("the system gives no random numbers"))?;
        let password = self.0.first_password.make(Instant::now(), random);
        log::event::admin_password(first_password::FIRST_USER, &password, ADMIN_FIRST_PASSWORD_S);
        Ok(())
    }

    /// All shards are heard from now on, and whoever may can ask for a reload.
    pub(crate) fn serves_from_now_on(&self, asker: ReloadAsker, listeners: Vec<Arc<AdminListener>>) {
        self.0.serves(asker, listeners);
    }

    /// Keeps others from changing listeners for as long as what it returns is there. Not for the server's own thread.
    pub(crate) fn change_listeners(&self) -> impl Sized + '_ {
        self.0.changes.blocking_lock()
    }

    /// The broker stops from now on, and is not ready.
    pub(crate) fn stops(&self) {
        self.0.stops();
    }

    /// Where clients are told to go, if an operator has the broker emptied.
    pub(crate) fn server_of_drain(&self) -> Option<String> {
        self.0.with_drain(|drain| drain.as_ref().and_then(|drain| drain.server_reference.clone()))
    }

    /// Whether the broker is being emptied.
    pub(crate) fn is_draining(&self) -> bool {
        self.0.with_drain(|drain| drain.is_some())
    }

    /// These are the listeners from now on.
    pub(crate) fn use_listeners(&self, listeners: Vec<Arc<AdminListener>>) {
        self.0.listeners.store(Arc::new(listeners));
    }
}

/// Starts the server on sockets that listen.
pub(crate) fn start(
    sockets: AdminSockets<'_>,
    config: &Config,
    inboxes: Vec<InboxSender>,
    kept: AdminKept,
) -> io::Result<AdminHandle> {
    let state = Arc::new(AdminState::new(config, inboxes, kept, Arc::clone(&sockets.certificates)));
    let handle = AdminHandle(Arc::clone(&state));
    server::start(sockets, state)?;
    Ok(handle)
}
