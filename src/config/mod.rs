//! Invocation line, environment and file to one checked configuration.
//!
//! Owns: reading the settings (declared in `settings` and [`process`]) from three places, what is said when one of them is
//! wrong, and what changes when they are read again.
//! Always holds: a [`Config`] that exists is valid: every value is within its bounds, and nothing that was given was left
//! unread.
//! Leaves to others: what a setting means (its reader), opening sockets and the log.
//!
//! Reading order: [`layers`]; `arguments`, `variables`, `file`, which each fill a layer; `listeners`; `access`; `reload`. [`mosquitto`] stands apart.

use std::{
    ffi::OsString,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

mod access;
pub mod admin;
mod arguments;
mod bridge_text;
pub mod bridges;
mod changes;
mod check;
pub mod cluster;
#[cfg(test)]
mod documentation;
pub mod error;
mod file;
mod foreign;
pub mod layers;
mod listeners;
pub(crate) mod memory;
pub mod mosquitto;
pub mod otlp;
mod print;
pub mod process;
mod reload;
pub mod secrets;
pub mod sink_targets;
pub mod sinks;
pub mod sources;
pub mod store;
mod store_command;
mod suggest;
mod tables;
mod target_tables;
pub mod targets;
mod toml_string;
pub mod unix;
pub(crate) mod unreadable;
mod variables;

pub use access::AccessFiles;
pub use admin::{AdminSettings, MetricsAccess};
pub use bridges::{BridgeSettings, BridgeTopic};
pub use changes::{Changed, Changes};
pub use error::{ConfigError, Exit, Problem, Source};
pub use listeners::{ListenAddress, Listener};
pub use otlp::{OtlpFiles, OtlpSettings};
pub use print::{SettingInEffect, without_credentials};
pub use process::{LogFormat, LogLevel, LogTarget, ProcessSettings};
pub use sinks::SinkSettings;
pub use sources::SourceSettings;
pub use store::{Storage, StoreSettings};
pub use store_command::StoreCommand;

use crate::auth::admin_users::AdminUsers;
use crate::settings::{ListenerSettings, Machine, PredefinedTopics, Setting, Settings};
use file::FileSettings;
use layers::{ListenerTable, Resolved, index};
use listeners::Described;

/// The broker's command line: for manuals and completions.
pub fn command_line() -> clap::Command {
    arguments::command()
}

/// The same of `dunlin store`.
pub fn store_command() -> clap::Command {
    store_command::command()
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Run the broker.
    Run(Box<Config>),
    /// Do something to a data directory.
    Store(StoreCommand),
    /// Print the help or the version; [`clap::Error::print`] does, in colour on a terminal.
    Help(clap::Error),
    /// Print the settings in effect.
    PrintConfig {
        /// The file that would have the same effect.
        toml: String,
        /// As in [`Config::warnings`].
        warnings: Vec<String>,
    },
    /// `--test-config` found nothing wrong.
    TestConfig {
        /// What was checked, in words.
        summary: String,
        /// It itself: certificates and keys have yet to be read.
        config: Box<Config>,
    },
}

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the edge has to know.
    pub process: ProcessSettings,
    /// What survives a restart, and where.
    pub store: StoreSettings,
    /// Operators' way in.
    pub admin: AdminSettings,
    /// Who is told of sampled messages.
    pub otlp: OtlpSettings,
    /// The same, as far as files say it.
    pub otlp_files: OtlpFiles,
    /// What every shard has to know.
    pub settings: Arc<Settings>,
    /// Where to listen; at least one, no two the same.
    pub listeners: Vec<Listener>,
    /// Other brokers that messages are exchanged with, by name.
    pub bridges: Vec<Arc<BridgeSettings>>,
    /// Other systems that messages go to, by name.
    pub sinks: Vec<Arc<SinkSettings>>,
    /// Tables of sinks and sources as they stand in the file.
    own_tables: Vec<String>,
    /// Topics and subjects of others that messages come from, by name.
    pub sources: Vec<Arc<SourceSettings>>,
    /// What is legal but probably not meant, a sentence each; for the log, once it is open.
    pub warnings: Vec<String>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Who may come in, as other files say.
    pub access: AccessFiles,
    /// Every setting's value and where it came from, in the order of [`layers::ROWS`].
    resolved: Vec<Resolved>,
    /// The same of each listener, if the file has tables of them.
    tables: Option<Vec<Described>>,
    /// What listeners have asked for since the start.
    asking: Asking,
    /// What it was read from, to read it again.
    origin: Origin,
}

/// Whether it makes a difference who a client is, as far as listeners say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asking {
    /// Somebody is asked about clients.
    asks: bool,
    /// Something else than CONNECT says what users are called.
    names: bool,
}

impl Asking {
    fn of<'a>(listeners: impl Iterator<Item = &'a ListenerSettings>) -> Self {
        let none = Self { asks: false, names: false };
        listeners.fold(none, |all, one| Self { asks: all.asks || one.asks(), names: all.names || one.names_users() })
    }

    /// Whether a broker that has started with this may go on with `new`.
    const fn admits(self, new: Self) -> bool {
        (self.asks || !new.asks) && (self.names || !new.names)
    }
}

/// What a configuration is read from.
#[derive(Clone, Debug, Default)]
struct Origin {
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Origin {
    /// The shape of log lines as far as it can be seen in arguments that could not be read.
    fn format_asked_for(&self) -> LogFormat {
        let words: Vec<_> = self.arguments.iter().map(|word| word.to_string_lossy()).collect();
        let flag = words.windows(2).any(|pair| pair[0] == "--log-format" && pair[1] == "json");
        let json = |(name, value): &(OsString, OsString)| name == "DUNLIN_LOG__FORMAT" && value == "json";
        let asked = flag || words.iter().any(|word| word == "--log-format=json") || self.environment.iter().any(json);
        if asked { LogFormat::Json } else { LogFormat::Text }
    }
}

/// What the configuration asks the machine; injected so that tests need neither files nor a certain machine.
pub struct System<'a> {
    /// What defaults follow.
    pub machine: Machine,
    /// Reads a file as text.
    pub read_file: &'a dyn Fn(&Path) -> io::Result<String>,
}

impl std::fmt::Debug for System<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("System").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl System<'static> {
    /// The machine this runs on.
    pub fn detect() -> Self {
        // Affinity and the cgroup's quota both bind; each of the two calls knows what the other may not.
        let quota = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = core_affinity::get_core_ids().map_or(quota, |ids| ids.len().min(quota)).max(1);
        let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let state_directory = store::state_directory(|name| std::env::var_os(name));
        let memory_max_bytes = memory::memory_max_bytes();
        let machine = Machine { cores, host_name: host_name.trim().to_owned(), state_directory, memory_max_bytes };
        Self { machine, read_file: &unreadable::read_text }
    }
}

/// The configuration from this process's arguments (the program's name first), environment and machine.
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Invocation, ConfigError> {
    load_on(&System::detect(), arguments, environment)
}

/// As [`load`], on a machine that is given.
pub fn load_on(
    system: &System<'_>,
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Invocation, ConfigError> {
    let is_ours = |(name, _): &(OsString, OsString)| name.as_encoded_bytes().starts_with(b"DUNLIN_");
    let origin = Origin {
        arguments: arguments.into_iter().collect(),
        environment: environment.into_iter().filter(is_ours).collect(),
    };
    match store_command::read(&origin.arguments) {
        None => {}
        Some(Ok(command)) => return Ok(Invocation::Store(command)),
        Some(Err(error)) if error.exit_code() == 0 => return Ok(Invocation::Help(error)),
        Some(Err(error)) => return Err(ConfigError::Usage { error, format: origin.format_asked_for() }),
    }
    let variables = variables::read(origin.environment.iter().cloned());
    let arguments = match arguments::read(origin.arguments.iter().cloned()) {
        Ok(arguments) => arguments,
        Err(error) if error.exit_code() == 0 => return Ok(Invocation::Help(error)),
        Err(error) => return Err(ConfigError::Usage { error, format: origin.format_asked_for() }),
    };
    let tested = arguments.test_config;
    let path = arguments.file.or(variables.file);
    let mut problems = variables.problems;
    let from_file = path.as_deref().map_or_else(FileSettings::empty, |path| read_file(system, path, &mut problems));
    let layers = [&arguments.layer, &variables.layer, &from_file.layer];
    let resolved = layers::resolve(&system.machine, layers, &mut problems);
    let format = layers::format_asked_for(layers);
    let config = Config::new(system, resolved, &from_file, &mut problems);
    let config = config.map(|config| Config { file: path, origin, ..config });
    if let (Some(config), true) = (&config, tested) {
        problems.extend(check::log_file(config));
    }
    match config {
        Some(config) if problems.is_empty() => Ok(if arguments.print_config {
            Invocation::PrintConfig { toml: config.to_toml(), warnings: config.warnings }
        } else if tested {
            Invocation::TestConfig { summary: print::summary(&config), config: Box::new(config) }
        } else {
            Invocation::Run(Box::new(config))
        }),
        _ => Err(ConfigError::Invalid { problems, tested, format }),
    }
}

impl Config {
    /// From one resolved value per setting and the tables, unless there are problems; what does not go together becomes one.
    fn new(
        system: &System<'_>,
        resolved: Vec<Resolved>,
        from_file: &FileSettings,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let tables: &[ListenerTable] = &from_file.tables;
        let of_tables = layers::resolve_tables(tables, &resolved, problems);
        if !problems.is_empty() {
            return None;
        }
        let described = listeners::describe(&resolved, tables, of_tables, problems);
        problems.extend(listeners::twice(&described));
        if !problems.is_empty() {
            return None;
        }
        let mut warnings = listeners::without_effect(&resolved, tables, &described);
        let value_of = |row: &Setting| resolved[index(row.flag)].value.clone();
        let mut config = Self {
            process: ProcessSettings::from_values(&value_of),
            store: StoreSettings::from_values(&value_of),
            admin: AdminSettings::from_values(&value_of),
            otlp: OtlpSettings::from_values(&value_of),
            otlp_files: OtlpFiles::default(),
            settings: Arc::new(Settings::from_values(&value_of)),
            listeners: described.iter().map(|described| described.listener.clone()).collect(),
            bridges: from_file.bridges.clone(),
            sinks: from_file.sinks.clone(),
            own_tables: from_file.own_tables.clone(),
            sources: from_file.sources.clone(),
            warnings: Vec::new(),
            file: None,
            access: AccessFiles::default(),
            asking: Asking::of(described.iter().map(|described| &*described.listener.settings)),
            tables: (!tables.is_empty()).then_some(described),
            resolved,
            origin: Origin::default(),
        };
        let of_admin = match config.admin.address() {
            Some(address) if config.is_admin_chosen() && config.is_of_listener(address) => {
                Some(("admin-port", format!("{address} is that of a listener as well")))
            }
            _ => config.admin.problem().map(|(flag, text)| (flag, text.to_owned())),
        };
        problems.extend(of_admin.map(|(flag, text)| config.problem(flag, &text)));
        config.read_predefined_topics(system, problems);
        config.access = config.read_access(system, problems);
        match OtlpFiles::read(system, &config.otlp) {
            Ok(files) => config.otlp_files = files,
            Err((flag, text)) => problems.push(config.problem(flag, &text)),
        }
        config.access.set_superusers(config.process.superusers());
        problems.extend(check::cluster(&config, system));
        warnings.extend(check::warnings(&config, &system.machine));
        warnings.extend(config.access.warnings());
        config.warnings = warnings;
        Some(config)
    }

    /// Reads the topic ids that clients of MQTT-SN know beforehand.
    fn read_predefined_topics(&mut self, system: &System<'_>, problems: &mut Vec<Problem>) {
        for at in 0..self.listeners.len() {
            let settings = &self.listeners[at].settings;
            let Some(path) = settings.sn_topics_file.path().filter(|_| settings.kind.has_datagrams()) else { continue };
            let told = |text: String| format!("{}: {text}", path.display());
            let read = (system.read_file)(path).map_err(|error| told(format!("cannot be read: {error}")));
            let parsed = read.and_then(|text| {
                PredefinedTopics::parse(&text).map_err(|(line, text)| told(format!("line {line}: {text}")))
            });
            match parsed {
                Ok(topics) => {
                    let settings = ListenerSettings { sn_topics: Arc::new(topics), ..(**settings).clone() };
                    self.listeners[at].settings = Arc::new(settings);
                }
                Err(text) => {
                    let of_table = self.tables.as_ref().map(|tables| &tables[at].resolved[index("sn-topics")].source);
                    let source = of_table.unwrap_or_else(|| self.source("sn-topics"));
                    let path = layers::ROWS[index("sn-topics")].path();
                    problems.push(Problem::new(source, layers::about(&path, source, &text)));
                }
            }
        }
    }

    /// Reads what other files say of who may come in and what they may do.
    fn read_access(&self, system: &System<'_>, problems: &mut Vec<Problem>) -> AccessFiles {
        let mut access = AccessFiles::read(system, &self.resolved, self.listeners(), problems);
        if let Some(path) = self.process.acl_file.path()
            && let Err(text) = access.read_rules(system, path)
        {
            problems.push(self.problem("acl-file", &text));
        }
        if let Some(path) = self.process.bans_file.path()
            && let Err(text) = access.read_ban_list(system, path)
        {
            problems.push(self.problem("bans-file", &text));
        }
        if let Some(path) = self.process.profiles_file.path()
            && let Err(text) = access.read_profiles(system, path)
        {
            problems.push(self.problem("profiles-file", &text));
        }
        if let Some(path) = self.admin.admin_users.path()
            && let Err(text) = access.read_admin_users(system, path)
        {
            problems.push(self.problem("admin-users", &text));
        }
        if let Some(path) = self.process.auth_http_headers.path()
            && let Err(text) = access.read_headers(system, path)
        {
            problems.push(self.problem("auth-http-headers", &text));
        }
        if let Err(text) = access.read_authorities(system, self.process.auth_http_ca.path()) {
            problems.push(self.problem("auth-http-ca", &text));
        }
        access
    }

    /// Whether it makes a difference who a client is.
    pub fn tells_clients_apart(&self) -> bool {
        let names_users = |listener: &Listener| listener.settings.names_users();
        self.access.tells_clients_apart() || self.listeners.iter().any(names_users)
    }

    /// Files beside the configuration's own that it was made of: users, rules, keys, certificates.
    pub fn files(&self) -> Vec<PathBuf> {
        let of_access = self.access.paths().chain(self.process.auth_http_ca.path()).map(Path::to_owned);
        let of_tls = self.listeners.iter().flat_map(|listener| listener.settings.tls_files()).map(PathBuf::from);
        let of_admin = [&self.admin.admin_tls_cert, &self.admin.admin_tls_key];
        let of_admin = of_admin.into_iter().filter_map(|file| file.path()).map(Path::to_owned);
        let of_otlp = [&self.otlp.otlp_headers, &self.otlp.otlp_ca].into_iter().filter_map(|file| file.path());
        let of_otlp = of_otlp.filter(|_| self.otlp.url().is_some()).map(Path::to_owned);
        let with_ids = self.listeners.iter().filter(|listener| listener.settings.kind.has_datagrams());
        let of_ids = with_ids.filter_map(|listener| listener.settings.sn_topics_file.path()).map(Path::to_owned);
        let mut files: Vec<PathBuf> = of_access.chain(of_tls).chain(of_admin).chain(of_otlp).chain(of_ids).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// Each listener with the values that made it.
    fn listeners(&self) -> impl Iterator<Item = (&Listener, &[Resolved])> {
        let tables: &[Described] = self.tables.as_deref().unwrap_or_default();
        self.listeners.iter().enumerate().map(|(at, listener)| {
            let of_table = tables.get(at).map(|table| table.resolved.as_slice());
            (listener, of_table.unwrap_or(&self.resolved))
        })
    }

    /// Where the admin server listens; `None` if there is none, or if a listener has the port that nobody has chosen for it.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.address().filter(|address| self.is_admin_chosen() || !self.is_of_listener(*address))
    }

    /// Whether somebody has said where the admin server is to be.
    pub fn is_admin_chosen(&self) -> bool {
        self.is_given("admin-port") || self.is_given("admin-bind")
    }

    fn is_of_listener(&self, address: SocketAddr) -> bool {
        let takes = |listener: &Listener| match listener.address {
            ListenAddress::Ip(_) if listener.settings.kind.has_datagrams() => false,
            ListenAddress::Ip(other) => {
                let is_same =
                    other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified();
                other.port() != 0 && other.port() == address.port() && is_same
            }
            ListenAddress::Unix(_) => false,
        };
        self.listeners.iter().any(takes)
    }

    /// The directory of what is kept; none where nothing is.
    pub fn data_dir(&self) -> Option<&Path> {
        (self.store.storage == Storage::Disk).then_some(&*self.store.data_dir)
    }

    /// Who may use the admin API, if a file says so.
    pub fn admin_users(&self) -> Option<&Arc<AdminUsers>> {
        self.access.admin_users()
    }

    /// Each setting of the whole broker, and each of every listener where the file has tables, with where its value comes from.
    pub fn settings_in_effect(&self) -> Vec<SettingInEffect> {
        print::settings_in_effect(self)
    }

    /// The settings in effect as a file that has the same effect, each with a comment that says where it came from.
    pub fn to_toml(&self) -> String {
        print::to_toml(self)
    }

    /// That the log could not be opened, as a problem of the setting that names it.
    pub fn log_problem(&self, error: &io::Error) -> Problem {
        check::log_problem(self, &error.to_string())
    }

    /// Where a setting's value came from; `flag` is its long flag without dashes.
    fn source(&self, flag: &str) -> &Source {
        &self.resolved[index(flag)].source
    }

    /// Whether somebody has chosen the value of a setting; `flag` is its long flag without dashes.
    pub fn is_given(&self, flag: &str) -> bool {
        self.source(flag) != &Source::Default
    }

    /// What is wrong with the value of `flag`.
    fn problem(&self, flag: &str, text: &str) -> Problem {
        let source = self.source(flag);
        Problem::new(source, layers::about(&layers::ROWS[index(flag)].path(), source, text))
    }
}

fn read_file(system: &System<'_>, path: &Path, problems: &mut Vec<Problem>) -> FileSettings {
    match (system.read_file)(path) {
        Ok(text) => {
            let mut read = file::read(path, &text);
            problems.append(&mut read.problems);
            read
        }
        Err(error) => {
            let source = Source::File { path: path.to_owned(), line: 0 };
            problems.push(Problem::new(&source, format!("cannot be read: {error}")));
            FileSettings::empty()
        }
    }
}

#[cfg(test)]
mod tests;
