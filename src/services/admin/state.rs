//! What all requests share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use axum::http::StatusCode;

use super::first_password::FirstPassword;
use super::logins::Logins;
use super::metrics::ShardFigures;
use super::operated::{AdminCertificates, AdminListener, DrainUnderWay, TracesUnderWay};
use super::problem::HttpProblem;
use super::process::DiskReader;
use super::samples::History;
use super::shards::{Shards, Unanswered};
use super::{AdminKept, BanKeeper, ReloadAsker};
use crate::auth::admin_users::AdminUsers;
use crate::auth::operator_bans::OperatorBans;
use crate::config::{Config, MetricsAccess, SettingInEffect};
use crate::inbox::InboxSender;
use crate::services::connectors::ConnectorsHandle;
use crate::shard::CertificatesEnd;
use crate::telemetry::Report;

/// What requests read and change.
pub(super) struct AdminState {
    pub(super) shards: Shards,
    /// Changes with a reload.
    pub(super) known: ArcSwap<Known>,
    /// Of whoever is where no file names anybody.
    pub(super) first_password: FirstPassword,
    pub(super) started: Instant,
    /// When the first certificate of a listener ends.
    pub(super) certificates_end: Arc<CertificatesEnd>,
    /// Logins that were refused.
    pub(super) logins_refused: AtomicU64,
    pub(super) disk: DiskReader,
    /// Bridges and the like.
    pub(super) connectors: ConnectorsHandle,
    /// Where the broker keeps what it keeps, if it does.
    data_dir: Option<PathBuf>,
    /// What each shard said last to whoever asked for metrics. Locked for moments.
    last_reports: Mutex<Vec<Report>>,
    /// Set once every shard is heard.
    pub(super) reload: OnceLock<ReloadAsker>,
    /// A signal has told the broker to stop.
    stopping: AtomicBool,
    /// The broker's listeners, in the order of the configuration; none before every shard is heard.
    pub(super) listeners: ArcSwap<Vec<Arc<AdminListener>>>,
    /// When which certificate ends.
    pub(super) certificates: AdminCertificates,
    /// Locked for moments.
    history: Mutex<History>,
    /// Held while listeners, a drain or bans are changed: one change is told to all shards before the next.
    pub(super) changes: tokio::sync::Mutex<()>,
    /// Locked for moments, as are the next two.
    drain: Mutex<Option<DrainUnderWay>>,
    bans: Mutex<OperatorBans>,
    /// None where they last as long as the process.
    pub(super) keep_bans: Option<BanKeeper>,
    /// The last change of them could not be written down.
    bans_refused: AtomicBool,
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
    /// Memory that all queues may take.
    pub(super) queued_memory_max_bytes: u64,
}

impl AdminState {
    pub(super) fn new(
        config: &Config,
        inboxes: Vec<InboxSender>,
        kept: AdminKept,
        certificates: AdminCertificates,
    ) -> Self {
        let AdminKept { certificates_end, bans, keep_bans, connectors } = kept;
        Self {
            shards: Shards::new(inboxes),
            known: ArcSwap::from_pointee(known(config)),
            first_password: FirstPassword::default(),
            started: Instant::now(),
            certificates_end,
            logins_refused: AtomicU64::new(0),
            disk: DiskReader::default(),
            connectors,
            data_dir: config.data_dir().map(PathBuf::from),
            last_reports: Mutex::default(),
            reload: OnceLock::new(),
            stopping: AtomicBool::new(false),
            listeners: ArcSwap::default(),
            certificates,
            history: Mutex::default(),
            changes: tokio::sync::Mutex::default(),
            drain: Mutex::default(),
            bans: Mutex::new(bans),
            keep_bans,
            bans_refused: AtomicBool::new(false),
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

    /// The broker stops from now on: its listeners are closed, and nothing opens them again.
    pub(super) fn stops(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        for listener in self.listeners.load().iter() {
            listener.is_open.store(false, Ordering::Relaxed);
        }
    }

    /// Refuses what would change how the broker stops.
    pub(super) fn may_change(&self) -> Result<(), HttpProblem> {
        if self.is_stopping() {
            return Err(HttpProblem::new(
                StatusCode::CONFLICT,
                "the broker is stopping: it ends when its clients have gone",
            ));
        }
        Ok(())
    }

    /// Whether clients are asked to go, by an operator or because the broker stops.
    pub(super) fn is_being_emptied(&self) -> bool {
        self.is_stopping() || self.with_drain(|drain| drain.is_some())
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Where the broker keeps what it keeps; none with `--storage memory`.
    pub(super) fn data_dir(&self) -> Option<PathBuf> {
        self.data_dir.clone()
    }

    /// The numbers of each shard: those that it has told now, or its last ones.
    pub(super) fn with_last_reports(&self, now: Vec<Result<Report, Unanswered>>) -> Vec<ShardFigures> {
        let mut last = self.last_reports.lock().unwrap_or_else(PoisonError::into_inner);
        last.resize_with(now.len(), Report::default);
        let figures = now.into_iter().zip(last.iter_mut()).map(|(report, last)| {
            let is_fresh = report.is_ok();
            if let Ok(report) = report {
                *last = report;
            }
            ShardFigures { is_fresh, report: last.clone() }
        });
        figures.collect()
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

    /// Whether those that hold outlive the process.
    pub(super) fn are_bans_kept(&self) -> bool {
        self.keep_bans.is_some() && !self.bans_refused.load(Ordering::Relaxed)
    }

    /// Notes whether they could be written down.
    pub(super) fn note_bans_kept(&self, are_kept: bool) {
        self.bans_refused.store(!are_kept, Ordering::Relaxed);
    }

    /// What is traced.
    pub(super) fn with_traces<T>(&self, then: impl FnOnce(&mut TracesUnderWay) -> T) -> T {
        then(&mut self.traces.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A wrong password.
    pub(super) fn count_refused_login(&self) {
        self.logins_refused.fetch_add(1, Ordering::Relaxed);
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
        queued_memory_max_bytes: config.settings.queued_memory_max_bytes,
    }
}
