//! What all requests share.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::ReloadAsker;
use super::logins::Logins;
use super::shards::Shards;
use crate::auth::admin_users::AdminUsers;
use crate::auth::password::{SALT_BYTES, Scheme, StoredPassword};
use crate::config::{Config, MetricsAccess, SettingInEffect};
use crate::inbox::InboxSender;

/// What requests read and change.
pub(super) struct AdminState {
    pub(super) shards: Shards,
    /// Changes with a reload.
    pub(super) known: ArcSwap<Known>,
    /// Whoever is where no file names anybody.
    fallback: Option<Arc<AdminUsers>>,
    pub(super) started: Instant,
    /// Set once every shard is heard.
    pub(super) reload: OnceLock<ReloadAsker>,
    /// Locked for moments, never while something is waited for.
    logins: Mutex<Logins>,
}

/// What the configuration says, as of the last reload.
pub(super) struct Known {
    /// Nobody may use the API without.
    pub(super) users: Option<Arc<AdminUsers>>,
    /// Who is shown metrics.
    pub(super) metrics: MetricsAccess,
    /// The broker's name.
    pub(super) node: String,
    /// Each setting, with where its value comes from.
    pub(super) settings: Vec<SettingInEffect>,
}

impl AdminState {
    pub(super) fn new(config: &Config, first_password: Option<&str>, inboxes: Vec<InboxSender>) -> Self {
        let fallback = first_password.map(|password| {
            // The password is random and long: a salt would add nothing.
            let stored = StoredPassword::new(Scheme::Argon2id, password.as_bytes(), [0; SALT_BYTES]);
            Arc::new(AdminUsers::single("admin", stored))
        });
        let known = ArcSwap::from_pointee(known(config, fallback.as_ref()));
        let logins = Mutex::new(Logins::default());
        Self { shards: Shards::new(inboxes), known, fallback, started: Instant::now(), reload: OnceLock::new(), logins }
    }

    pub(super) fn use_config(&self, config: &Config) {
        self.known.store(Arc::new(known(config, self.fallback.as_ref())));
    }

    /// Who is logged in.
    pub(super) fn with_logins<T>(&self, then: impl FnOnce(&mut Logins) -> T) -> T {
        then(&mut self.logins.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn known(config: &Config, fallback: Option<&Arc<AdminUsers>>) -> Known {
    Known {
        users: config.admin_users().or(fallback).cloned(),
        metrics: config.admin.admin_metrics,
        node: config.settings.node_name.to_string(),
        settings: config.settings_in_effect(),
    }
}
