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

use build::{CertificatesFound, SharedTickets};

use crate::config::Listener;
use crate::conn::ListenerLayers;
use crate::conn::tls::{ServerConfig, TlsListener};
use crate::settings::ListenerSettings;
use crate::shard::CertificatesEnd;
use crate::telemetry::log;

pub use problem::TlsProblem;

/// What the handshakes of each listener go by.
#[derive(Debug)]
pub(super) struct TlsListeners {
    /// In the order of the listeners; `None` where there is no TLS.
    listeners: Vec<Option<TlsListener>>,
    tickets: Mutex<SharedTickets>,
    /// When the first of all certificates ends, for `$SYS`.
    first_end: Arc<CertificatesEnd>,
}

impl TlsListeners {
    /// Reads the files of all listeners.
    pub(super) fn load(listeners: &[Listener]) -> Result<Self, Vec<TlsProblem>> {
        let (mut tickets, first_end) = (SharedTickets::default(), Arc::default());
        let loaded = load_all(listeners, &mut tickets, &first_end)?;
        let listeners = loaded.into_iter().map(|config| config.map(TlsListener::new)).collect();
        Ok(Self { listeners, tickets: Mutex::new(tickets), first_end })
    }

    /// When the first of all certificates ends, now and after each reload.
    pub(super) fn first_end(&self) -> Arc<CertificatesEnd> {
        Arc::clone(&self.first_end)
    }

    /// Reads them again. Handshakes that begin from now on go by what they hold now; with anything wrong nothing changes.
    pub(super) fn load_again(&self, listeners: &[Listener]) -> Result<(), Vec<TlsProblem>> {
        // One that panicked has left them whole.
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = load_all(listeners, &mut tickets, &self.first_end)?;
        for (listener, config) in self.listeners.iter().zip(loaded) {
            if let (Some(listener), Some(config)) = (listener, config) {
                listener.replace(config);
            }
        }
        Ok(())
    }

    /// What connections begin with, for each listener.
    pub(super) fn layers(&self) -> impl Iterator<Item = ListenerLayers> + '_ {
        self.listeners.iter().map(|listener| listener.clone().map_or(ListenerLayers::None, ListenerLayers::Tls))
    }
}

type Loaded = Vec<Option<ServerConfig>>;

fn load_all(
    listeners: &[Listener],
    tickets: &mut SharedTickets,
    first_end: &CertificatesEnd,
) -> Result<Loaded, Vec<TlsProblem>> {
    let (mut loaded, mut problems, mut found) = (Vec::new(), Vec::new(), CertificatesFound::default());
    for listener in listeners {
        let settings: &ListenerSettings = &listener.settings;
        if !settings.kind.has_tls() {
            loaded.push(None);
            continue;
        }
        match build::build(settings, tickets, &mut found) {
            Ok(config) => loaded.push(Some(config)),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    first_end.set(found.first_end_s);
    for warning in &found.warnings {
        log::event::config_warning(warning);
    }
    Ok(loaded)
}
