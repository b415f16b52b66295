//! Certificates, keys, authorities and revocation lists: from files to what handshakes go by.
//!
//! Owns: what was made of the files when they were last read.
//! Always holds: all or nothing: nothing is replaced before every file of every listener was read and found right. What
//! is wrong is told with setting, file, line where there is one, and how to mend it. Secrets are in no message.
//! Leaves to others: handshakes (`conn::tls`), when to read again.
//!
//! Reading order: `build` (one listener), `files`, `keys`, `resolver`, `revocation`, `ends`, `problem`; `links` (those between nodes).

mod build;
mod ends;
mod files;
mod keys;
mod links;
mod problem;
mod resolver;
mod revocation;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{io, thread};

use arc_swap::ArcSwap;

use build::{CertificatesFound, SharedTickets};
use ends::FileEnd;

use crate::config::Config;
use crate::conn::tls::ServerConfig;
use crate::services::admin::{AdminCertificates, AdminTls};
use crate::settings::ListenerSettings;
use crate::shard::CertificatesEnd;
use crate::telemetry::log;

pub use links::LinkSecurity;
pub use problem::TlsProblem;

/// Reads the files of all listeners and of the admin server as a start would. Returns what is worth a warning.
///
/// # Errors
/// Everything that is wrong with them.
pub fn check_tls(config: &Config) -> Result<Vec<String>, Vec<TlsProblem>> {
    load_all(config, &mut SharedTickets::default()).map(|read| read.found.warnings(now_s()))
}

/// What handshakes go by that is not a listener's own.
#[derive(Debug)]
pub(super) struct TlsFiles {
    /// What the admin server's go by, where it has a certificate.
    admin: Option<AdminTls>,
    tickets: Mutex<SharedTickets>,
    /// When the first of all certificates ends, for `$SYS`.
    first_end: Arc<CertificatesEnd>,
    /// When each of them ends, for the admin server.
    ends: AdminCertificates,
    /// When which file ends, for whoever tells it before.
    all_ends: FileEnds,
}

/// What all files come to. Nothing goes by it yet.
pub(super) struct TlsRead {
    /// In the order of the listeners; `None` where there is no TLS.
    pub(super) listeners: Vec<Option<ServerConfig>>,
    admin: Option<ServerConfig>,
    found: CertificatesFound,
}

impl TlsFiles {
    /// Reads the files of all listeners, and of the admin server.
    pub(super) fn load(config: &Config) -> Result<(Self, Vec<Option<ServerConfig>>), Vec<TlsProblem>> {
        let (mut tickets, first_end) = (SharedTickets::default(), Arc::default());
        let mut read = load_all(config, &mut tickets)?;
        let admin = read.admin.take().map(|config| Arc::new(ArcSwap::from_pointee(config)));
        let files =
            Self { admin, tickets: Mutex::new(tickets), first_end, ends: Arc::default(), all_ends: Arc::default() };
        let of_listeners = files.take_over(read);
        Ok((files, of_listeners))
    }

    /// What the admin server's handshakes go by, now and after each reload.
    pub(super) fn admin(&self) -> Option<AdminTls> {
        self.admin.clone()
    }

    /// When the first of all certificates ends, now and after each reload.
    pub(super) fn first_end(&self) -> Arc<CertificatesEnd> {
        Arc::clone(&self.first_end)
    }

    /// When each of them ends, now and after each reload.
    pub(super) fn ends(&self) -> AdminCertificates {
        Arc::clone(&self.ends)
    }

    /// Says so, from now on, when one of them comes near its end.
    pub(super) fn watch_ends(&self) -> io::Result<()> {
        let ends = Arc::clone(&self.all_ends);
        thread::Builder::new().name("expiry-watch".into()).spawn(move || watch(&ends))?;
        Ok(())
    }

    /// Reads them again; with anything wrong nothing changes, and nothing changes before [`Self::take_over`].
    pub(super) fn read_again(&self, config: &Config) -> Result<TlsRead, Vec<TlsProblem>> {
        // One that panicked has left them whole.
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        load_all(config, &mut tickets)
    }

    /// What was read holds from now on. What the listeners' handshakes are to go by comes back.
    pub(super) fn take_over(&self, read: TlsRead) -> Vec<Option<ServerConfig>> {
        if let (Some(admin), Some(config)) = (&self.admin, read.admin) {
            admin.store(Arc::new(config));
        }
        let found = read.found;
        self.ends.store(Arc::new(found.certificates()));
        self.first_end.set(found.first_end_s(false));
        self.first_end.set_lists(found.first_end_s(true));
        for warning in &found.warnings(now_s()) {
            log::event::config_warning(warning);
        }
        self.all_ends.store(Arc::new(found.ends));
        read.listeners
    }
}

/// When which file ends, now and after each reload.
type FileEnds = Arc<ArcSwap<Vec<FileEnd>>>;
/// Others are read at a reload, and the clock may be set.
const LOOK_AGAIN_S: i64 = 60 * 60;

fn watch(ends: &FileEnds) {
    let mut before_s = now_s();
    loop {
        let next_s = ends.load().iter().filter_map(|end| end.next_mark_s(before_s)).min();
        let wait_s = next_s.map_or(LOOK_AGAIN_S, |next_s| (next_s - now_s()).clamp(1, LOOK_AGAIN_S));
        thread::sleep(Duration::from_secs(wait_s.unsigned_abs()));
        let now_s = now_s();
        for text in ends.load().iter().filter_map(|end| end.due(before_s, now_s)) {
            log::event::expiry_warning(&text);
        }
        before_s = now_s;
    }
}

fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}

fn load_all(config: &Config, tickets: &mut SharedTickets) -> Result<TlsRead, Vec<TlsProblem>> {
    let (mut problems, mut found) = (Vec::new(), CertificatesFound::default());
    let mut load = |settings: &ListenerSettings| {
        let built = settings.kind.has_tls().then(|| build::build(settings, tickets, &mut found)).transpose();
        built.unwrap_or_else(|problem| {
            problems.push(problem);
            None
        })
    };
    let listeners = config.listeners.iter().map(|listener| load(&listener.settings)).collect();
    let admin = config.admin_address().and_then(|_| config.admin.tls()).and_then(|settings| load(&settings));
    if problems.is_empty() { Ok(TlsRead { listeners, admin, found }) } else { Err(problems) }
}
