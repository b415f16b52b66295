//! What all requests share.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::ReloadAsker;
use super::first_password::FirstPassword;
use super::logins::Logins;
use super::operated::{AdminCertificates, AdminListener, DrainUnderWay, TracesUnderWay};
use super::samples::History;
use super::shards::Shards;
use crate::auth::admin_users::AdminUsers;
use crate::auth::operator_bans::OperatorBans;
use crate::config::{Config, MetricsAccess, SettingInEffect};
use crate::inbox::InboxSender;

/// What requests read and change.
pub(super) struct AdminState {
    pub(super) shards: Shards,
    /// Changes with a reload.
    pub(super) known: ArcSwap<Known>,
    /// Of whoever is where no file names anybody.
    pub(super) first_password: FirstPassword,
    pub(super) started: Instant,
    /// Set once every shard is heard.
    pub(super) reload: OnceLock<ReloadAsker>,
    /// The broker's listeners, in the order of the configuration; none before every shard is heard.
    pub(super) listeners: ArcSwap<Vec<Arc<AdminListener>>>,
    /// When which certificate ends.
    pub(super) certificates: AdminCertificates,
    /// Locked for moments.
    history: Mutex<History>,
    /// Held while listeners or bans are changed: one change is told to all shards before the next.
    pub(super) changes: tokio::sync::Mutex<()>,
    /// Locked for moments, as are the next two.
    drain: Mutex<Option<DrainUnderWay>>,
    bans: Mutex<OperatorBans>,
    traces: Mutex<TracesUnderWay>,
    /// Locked for moments, never while something is waited for.
    logins: Mutex<Logins>,
}

/// What the configuration says, as of the last reload.
pub(super) struct Known {
    /// Whom a file names.
    users: Option<Arc<AdminUsers>>,
    /// Who is shown metrics.
    pub(super) metrics: MetricsAccess,
    /// The broker's name.
    pub(super) node: String,
    /// Each setting, with where its value comes from.
    pub(super) settings: Vec<SettingInEffect>,
}

impl AdminState {
    pub(super) fn new(config: &Config, inboxes: Vec<InboxSender>, certificates: AdminCertificates) -> Self {
        Self {
            shards: Shards::new(inboxes),
            known: ArcSwap::from_pointee(known(config)),
            first_password: FirstPassword::default(),
            started: Instant::now(),
            reload: OnceLock::new(),
            listeners: ArcSwap::default(),
            certificates,
            history: Mutex::default(),
            changes: tokio::sync::Mutex::default(),
            drain: Mutex::default(),
            bans: Mutex::default(),
            traces: Mutex::default(),
            logins: Mutex::new(Logins::default()),
        }
    }

    pub(super) fn use_config(&self, config: &Config) {
        self.known.store(Arc::new(known(config)));
    }

    /// Who may use the API, as of now.
    pub(super) fn users(&self) -> Option<Arc<AdminUsers>> {
        self.known.load().users.clone().or_else(|| self.first_password.users())
    }

    /// Whether a file says who may.
    pub(super) fn has_users_file(&self) -> bool {
        self.known.load().users.is_some()
    }

    /// All shards are heard from now on.
    pub(super) fn serves(&self, reload: ReloadAsker, listeners: Vec<Arc<AdminListener>>) {
        self.listeners.store(Arc::new(listeners));
        assert!(self.reload.set(reload).is_ok(), "the broker starts once");
    }

    /// What the broker has done of late.
    pub(super) fn with_history<T>(&self, then: impl FnOnce(&mut History) -> T) -> T {
        then(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How the broker is being emptied.
    pub(super) fn with_drain<T>(&self, then: impl FnOnce(&mut Option<DrainUnderWay>) -> T) -> T {
        then(&mut self.drain.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whom operators have banned.
    pub(super) fn with_bans<T>(&self, then: impl FnOnce(&mut OperatorBans) -> T) -> T {
        then(&mut self.bans.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is traced.
    pub(super) fn with_traces<T>(&self, then: impl FnOnce(&mut TracesUnderWay) -> T) -> T {
        then(&mut self.traces.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who is logged in.
    pub(super) fn with_logins<T>(&self, then: impl FnOnce(&mut Logins) -> T) -> T {
        then(&mut self.logins.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn known(config: &Config) -> Known {
    Known {
        users: config.admin_users().cloned(),
        metrics: config.admin.admin_metrics,
        node: config.settings.node_name.to_string(),
        settings: config.settings_in_effect(),
    }
}
