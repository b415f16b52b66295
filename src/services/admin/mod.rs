//! The admin server: health, metrics and the API, over HTTP.
//!
//! Owns: one thread with an executor of its own, the routes, who is logged in.
//! Always holds: whoever asks is known before anything is done, but for health, metrics where they are open, and logging in; a
//! connection, a request's head, its body and its time are bounded; the thread gives way to shards (nice).
//! Leaves to others: the users' file (`auth::admin_users`, `config`), what shards do (`shard::Command`).
//!
//! Reading order: this file, `server`, `state`, `shards`, `access` (who asks), `asked`, `problem`; then one file for each kind of
//! thing that can be asked: `health`, `metrics`, `broker`, `clients`, `messages`; `description` (`OpenAPI`).

mod access;
mod asked;
mod broker;
mod clients;
mod cursor;
mod description;
mod health;
mod logins;
mod messages;
mod metrics;
mod problem;
mod process;
mod server;
mod shards;
mod stalled;
mod state;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use crate::config::{Changes, Config};
use crate::inbox::InboxSender;
use state::AdminState;

/// Is told what a reload has come to: the changes, or why nothing changed.
pub(crate) type ReloadThen = Box<dyn FnOnce(Result<Changes, String>) + Send>;
/// Asks for a reload.
pub(crate) type ReloadAsker = Box<dyn Fn(ReloadThen) + Send + Sync>;

/// Tells the admin server of new settings.
#[derive(Clone)]
pub(crate) struct AdminHandle(Arc<AdminState>);

impl AdminHandle {
    /// From now on these hold.
    pub(crate) fn replace(&self, config: &Config) {
        self.0.use_config(config);
    }

    /// All shards are heard from now on, and whoever may can ask for a reload.
    pub(crate) fn serves_from_now_on(&self, asker: ReloadAsker) {
        let is_first = self.0.reload.set(asker).is_ok();
        assert!(is_first, "the broker starts once");
    }
}

/// Starts the server on a socket that listens. `first_password` is that of the user `admin` where there is no file of users.
pub(crate) fn start(
    listener: TcpListener,
    config: &Config,
    first_password: Option<&str>,
    inboxes: Vec<InboxSender>,
) -> io::Result<AdminHandle> {
    let state = Arc::new(AdminState::new(config, first_password, inboxes));
    let handle = AdminHandle(Arc::clone(&state));
    server::start(listener, description::router(state))?;
    Ok(handle)
}
