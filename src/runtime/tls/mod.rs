//! Certificates, keys, authorities and revocation lists: from files to what handshakes go by.
//!
//! Owns: what each TLS listener's handshakes go by at present.
//! Always holds: all or nothing: nothing is replaced before every file of every listener was read and found right. What
//! is wrong is told with setting, file, line where there is one, and how to mend it. Secrets are in no message.
//! Leaves to others: handshakes (`conn::tls`), when to read again.
//!
//! Reading order: `build` (one listener), `files`, `keys`, `resolver`, `problem`.

mod build;
mod files;
mod keys;
mod problem;
mod resolver;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use build::{CertificatesFound, SharedTickets};

use crate::config::Config;
use crate::conn::ListenerLayers;
use crate::conn::tls::{ServerConfig, TlsListener};
use crate::services::admin::{AdminCertificate, AdminCertificates, AdminTls};
use crate::settings::ListenerSettings;
use crate::shard::CertificatesEnd;
use crate::telemetry::log;

pub use problem::TlsProblem;

/// What the handshakes of each listener go by.
#[derive(Debug)]
pub(super) struct TlsListeners {
    /// In the order of the listeners; `None` where there is no TLS.
    listeners: Vec<Option<TlsListener>>,
    /// What the admin server's go by, where it has a certificate.
    admin: Option<AdminTls>,
    tickets: Mutex<SharedTickets>,
    /// When the first of all certificates ends, for `$SYS`.
    first_end: Arc<CertificatesEnd>,
    /// When each of them ends, for the admin server.
    ends: AdminCertificates,
}

impl TlsListeners {
    /// Reads the files of all listeners, and of the admin server.
    pub(super) fn load(config: &Config) -> Result<Self, Vec<TlsProblem>> {
        let (mut tickets, first_end) = (SharedTickets::default(), Arc::default());
        let Loaded { listeners, admin, ends } = load_all(config, &mut tickets, &first_end)?;
        let listeners = listeners.into_iter().map(|config| config.map(TlsListener::new)).collect();
        let admin = admin.map(|config| Arc::new(ArcSwap::from_pointee(config)));
        Ok(Self {
            listeners,
            admin,
            tickets: Mutex::new(tickets),
            first_end,
            ends: Arc::new(ArcSwap::from_pointee(ends)),
        })
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

    /// Reads them again. Handshakes that begin from now on go by what they hold now; with anything wrong nothing changes.
    pub(super) fn load_again(&self, config: &Config) -> Result<(), Vec<TlsProblem>> {
        // One that panicked has left them whole.
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = load_all(config, &mut tickets, &self.first_end)?;
        for (listener, config) in self.listeners.iter().zip(loaded.listeners) {
            if let (Some(listener), Some(config)) = (listener, config) {
                listener.replace(config);
            }
        }
        self.ends.store(Arc::new(loaded.ends));
        if let (Some(admin), Some(config)) = (&self.admin, loaded.admin) {
            admin.store(Arc::new(config));
        }
        Ok(())
    }

    /// What connections begin with, for each listener.
    pub(super) fn layers(&self) -> impl Iterator<Item = ListenerLayers> + '_ {
        self.listeners.iter().map(|listener| listener.clone().map_or(ListenerLayers::None, ListenerLayers::Tls))
    }
}

/// What all files come to.
struct Loaded {
    listeners: Vec<Option<ServerConfig>>,
    admin: Option<ServerConfig>,
    ends: Vec<AdminCertificate>,
}

fn load_all(
    config: &Config,
    tickets: &mut SharedTickets,
    first_end: &CertificatesEnd,
) -> Result<Loaded, Vec<TlsProblem>> {
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
    if !problems.is_empty() {
        return Err(problems);
    }
    first_end.set(found.first_end_s);
    for warning in &found.warnings {
        log::event::config_warning(warning);
    }
    Ok(Loaded { listeners, admin, ends: found.ends })
}
