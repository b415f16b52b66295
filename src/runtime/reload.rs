//! SIGHUP, or a file that has changed: the settings again, onto every shard.
//!
//! Always holds: all or nothing. Nothing is sent to a shard before the whole configuration was read and found right, and everything
//! is there that could not start; and the thread that waits for the file and the shards is no shard, nor the one that hears signals.

use std::time::Duration;
use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use super::authenticator::{self, AuthenticatorHandle};
use super::fatal::{End, fatal};
use super::file_watch::WatchedFiles;
use super::listeners::ProcessListeners;
use super::random::random;
use super::service_manager::ServiceManager;
use super::tls::{TlsFiles, TlsProblem};
use crate::config::{Changes, Config, ConfigError, Exit};
use crate::inbox::{InboxSender, SendError};
use crate::limits::WATCHDOG_S;
use crate::services::admin::{AdminHandle, ReloadThen};
use crate::services::connectors::ConnectorsHandle;
use crate::services::otlp::SpansPlan;
use crate::shard::Command;
use crate::telemetry::log;

/// Who has to know of new settings.
pub(super) struct Reached {
    pub(super) inboxes: Vec<InboxSender>,
    /// There is none where no listener asks.
    pub(super) authenticator: Option<AuthenticatorHandle>,
    /// There is none unless it has a port.
    pub(super) admin: Option<AdminHandle>,
    /// Bridges and the like.
    pub(super) connectors: ConnectorsHandle,
}

/// All that a reload changes.
pub(super) struct Reloader {
    /// What holds now.
    pub(super) config: Config,
    /// The log's level.
    pub(super) log: log::LogControl,
    /// Shards, and whoever decides who comes in.
    pub(super) reached: Reached,
    /// Certificates and the like.
    pub(super) tls: TlsFiles,
    /// Where clients come in.
    pub(super) listeners: ProcessListeners,
    /// What is read again when it changes on disk.
    pub(super) files: Arc<WatchedFiles>,
    /// Who wants to know what comes of it.
    pub(super) waiters: ReloadWaiters,
    /// Told of its beginning and end.
    pub(super) manager: ServiceManager,
}

impl Reloader {
    /// Reads everything again, and tells whoever waits for it what has come of it.
    pub(super) fn run(&mut self) {
        let waiters = self.waiters.take();
        self.manager.is_reloading();
        self.files.note_read();
        let outcome = self.reload();
        if let Err(text) = &outcome {
            log::event::config_reload_failed(text);
        }
        self.manager.has_reloaded();
        for then in waiters {
            then(outcome.clone());
        }
    }
}

impl Reloader {
    /// Reads the configuration again. What has changed comes back, or why nothing has.
    fn reload(&mut self) -> Result<Changes, String> {
        let stay = |text: String| format!("the settings stay as they were: {text}");
        let new = self.config.read_again().map_err(|error| one_line(&error))?;
        let (new, changes) = self.config.changed_by(new);
        let tls = self.tls.read_again(&new).map_err(|problems| tls_line(&problems))?;
        // Nobody stops or starts one meanwhile.
        let admin = self.reached.admin.as_ref();
        let _only_this = admin.map(AdminHandle::change_listeners);
        let plan = self.listeners.prepare(&new.listeners).map_err(stay)?;
        if plan.opens_or_closes() && admin.is_some_and(AdminHandle::is_draining) {
            return Err(stay("listeners come and go while the broker is not being emptied".to_owned()));
        }
        let spans = self.plan_spans(&new).map_err(stay)?;
        let prepared = self.reached.connectors.prepare(&new);
        prepared.map_err(|error| stay(format!("no bridge, sink or source can start: {error}")))?;
        // From here on nothing fails.
        tell(&self.config, &new, &self.reached);
        spans.into_iter().for_each(SpansPlan::carry_out);
        if self.listeners.carry_out(plan, self.tls.take_over(tls)) {
            give(&Command::ChangeListeners, &self.reached.inboxes);
        }
        if let Some(admin) = admin {
            admin.use_listeners(self.listeners.for_admin(&new.listeners));
        }
        write_changes(&self.config, &new, &changes, &self.log);
        self.files.replace(new.files());
        self.config = new;
        Ok(changes)
    }
}

impl Reloader {
    /// What is sampled, and who is told, if that changes.
    fn plan_spans(&self, new: &Config) -> Result<Option<SpansPlan>, String> {
        if (&new.otlp, &new.otlp_files) == (&self.config.otlp, &self.config.otlp_files) {
            return Ok(None);
        }
        SpansPlan::prepare(new, random).map(Some).map_err(|error| format!("nobody can be told of spans: {error}"))
    }
}

/// Who waits for what the next reload comes to.
#[derive(Clone, Default)]
pub(super) struct ReloadWaiters(Arc<Mutex<Vec<ReloadThen>>>);

impl ReloadWaiters {
    /// One more. A reload has to be asked for behind this.
    pub(super) fn add(&self, then: ReloadThen) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(then);
    }

    fn take(&self) -> Vec<ReloadThen> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is the shards', the authenticator's and the admin server's, as far as it has changed.
fn tell(config: &Config, new: &Config, reached: &Reached) {
    if new.settings != config.settings {
        give(&Command::Reload(Arc::clone(&new.settings)), &reached.inboxes);
    }
    if new.access.rules() != config.access.rules() {
        give(&Command::UseRules(new.access.rules().cloned()), &reached.inboxes);
    }
    if new.access.profiles() != config.access.profiles() {
        give(&Command::UseProfiles(new.access.profiles().cloned()), &reached.inboxes);
    }
    let settings = new.process.auth();
    if let Some(handle) = &reached.authenticator
        && (new.access != config.access
            || settings != config.process.auth()
            || new.process.auth_http_timeout_s != config.process.auth_http_timeout_s)
    {
        handle.replace(authenticator::inputs(new));
    }
    if let Some(admin) = &reached.admin {
        admin.replace(new);
    }
    reached.connectors.replace(new);
}

/// What has changed, in the log, and the log's own settings.
fn write_changes(config: &Config, new: &Config, changes: &Changes, log: &log::LogControl) {
    let use_level = || log.change(new.process.log_level.into(), new.process.log_rate);
    // What changed is said at the more talkative of the two levels.
    let is_louder = new.process.log_level > config.process.log_level;
    if is_louder {
        use_level();
    }
    for changed in &changes.now {
        log::event::config_changed(&changed.name, &changed.old, &changed.new);
    }
    for changed in &changes.at_start {
        log::event::config_needs_start(&changed.name, &changed.old, &changed.new);
    }
    for warning in &new.warnings {
        log::event::config_warning(warning);
    }
    log::event::config_reloaded(changes.now.len() as u64, changes.at_start.len() as u64);
    if !is_louder {
        use_level();
    }
}

/// Gives every shard new settings or rules and waits until each has them.
fn give(command: &Command, inboxes: &[InboxSender]) {
    let send = |inbox: &InboxSender| loop {
        match inbox.send(command.clone()) {
            // Others ask this shard as well: it takes a few of them each turn.
            Err(SendError::Full) => std::thread::sleep(Duration::from_millis(1)),
            sent => return sent,
        }
    };
    let answers: Vec<_> = inboxes.iter().map(send).collect();
    for (shard, answer) in answers.into_iter().enumerate() {
        // A shard that has stopped ends the process by itself.
        let Ok(answer) = answer else { continue };
        if answer.recv_timeout(Duration::from_secs(2 * WATCHDOG_S)).is_err_and(|error| error.is_timeout()) {
            // The watchdog ends the process long before, unless it hangs too.
            fatal(&format_args!("shard {shard} has not taken new settings"), End::Exit(Exit::Environment));
        }
    }
}

/// What is wrong with certificates and keys, in one line.
fn tls_line(problems: &[TlsProblem]) -> String {
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    format!("the settings and certificates stay as they were: {}", problems.join("; "))
}

/// Everything that is wrong, in one line.
fn one_line(error: &ConfigError) -> String {
    let ConfigError::Invalid { problems, .. } = error else { return error.to_string() };
    let mut text = "the settings stay as they were: ".to_owned();
    for (number, problem) in problems.iter().enumerate() {
        let _ = write!(text, "{}{problem}", if number > 0 { "; " } else { "" });
    }
    text
}
