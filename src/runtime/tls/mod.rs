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

use crate::config::Listener;
use crate::conn::ListenerLayers;
use crate::conn::tls::{ServerConfig, TlsListener};
use crate::settings::ListenerSettings;
use crate::telemetry::log;

pub use problem::TlsProblem;

/// What the handshakes of each listener go by, in the order of the listeners; `None` where there is no TLS.
#[derive(Debug)]
pub(super) struct TlsListeners(Vec<Option<TlsListener>>);

impl TlsListeners {
    /// Reads the files of all listeners.
    pub(super) fn load(listeners: &[Listener]) -> Result<Self, Vec<TlsProblem>> {
        let loaded = load_all(listeners)?;
        Ok(Self(loaded.into_iter().map(|config| config.map(TlsListener::new)).collect()))
    }

    /// Reads them again. Handshakes that begin from now on go by what they hold now; with anything wrong nothing changes.
    pub(super) fn load_again(&self, listeners: &[Listener]) -> Result<(), Vec<TlsProblem>> {
        let loaded = load_all(listeners)?;
        for (listener, config) in self.0.iter().zip(loaded) {
            if let (Some(listener), Some(config)) = (listener, config) {
                listener.replace(config);
            }
        }
        Ok(())
    }

    /// What connections begin with, for each listener.
    pub(super) fn layers(&self) -> impl Iterator<Item = ListenerLayers> + '_ {
        self.0.iter().map(|listener| listener.clone().map_or(ListenerLayers::None, ListenerLayers::Tls))
    }
}

type Loaded = Vec<Option<ServerConfig>>;

fn load_all(listeners: &[Listener]) -> Result<Loaded, Vec<TlsProblem>> {
    let (mut loaded, mut problems, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for listener in listeners {
        let settings: &ListenerSettings = &listener.settings;
        if !settings.kind.has_tls() {
            loaded.push(None);
            continue;
        }
        match build::build(settings, &mut warnings) {
            Ok(config) => loaded.push(Some(config)),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    for warning in &warnings {
        log::event::config_warning(warning);
    }
    Ok(loaded)
}
