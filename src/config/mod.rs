//! Command line, environment and file to one checked configuration.
//!
//! Owns: the table of settings ([`SETTINGS`]; each is written down once, in [`table`]), reading them from three places,
//! and what is said when one of them is wrong.
//! Always holds: a flag wins over its variable, that over the file, that over the default. A [`Config`] that exists is
//! valid: every value is within its bounds, and nothing that was given was left unread. Every value given is checked,
//! also one that a higher place hides.
//! Leaves to others: what a setting means (its reader), opening sockets and the log, reading the configuration again.
//!
//! Reading order: [`table`], [`setting`], [`units`]; then `arguments`, `variables`, `file`, which each fill a layer.

use std::{
    ffi::OsString,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

mod arguments;
mod check;
#[cfg(test)]
mod documentation;
pub mod error;
mod file;
mod print;
pub mod setting;
mod suggest;
pub mod table;
pub mod units;
pub mod value;
mod variables;

pub use error::{ConfigError, Exit, Problem, Source};
pub use table::{SETTINGS, Values};
pub use value::{AnonymousAccess, LogFormat, LogLevel, LogTarget};

use crate::shard::Settings;
use setting::{Default, Setting};
use value::Value;

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// Run the broker.
    Run(Box<Config>),
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
        /// As in [`Config::warnings`].
        warnings: Vec<String>,
    },
}

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Every setting.
    pub values: Values,
    /// Where to listen, from `--bind`, `--port` and `--allow-anonymous`; at least one, no two the same.
    pub listeners: Vec<Listener>,
    /// What is legal but probably not meant, a sentence each; for the log, once it is open.
    pub warnings: Vec<String>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Every setting's value and where it came from, in the order of [`SETTINGS`].
    resolved: Vec<Resolved>,
}

/// One address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address and port; port 0 is any free port, the same one on every shard.
    pub addr: SocketAddr,
    /// Whether clients without credentials are admitted.
    pub anonymous: bool,
}

/// What the configuration asks the machine; injected so that tests need neither files nor a certain machine.
pub struct System<'a> {
    /// Cores this process may use.
    pub cores: usize,
    /// The machine's name.
    pub host_name: String,
    /// Reads a file as text.
    pub read_file: &'a dyn Fn(&Path) -> io::Result<String>,
}

impl System<'static> {
    /// The machine this runs on.
    pub fn detect() -> Self {
        // Affinity and the cgroup's quota both bind; each of the two calls knows what the other may not.
        let quota = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = core_affinity::get_core_ids().map_or(quota, |ids| ids.len().min(quota)).max(1);
        let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self { cores, host_name: host_name.trim().to_owned(), read_file: &|path| std::fs::read_to_string(path) }
    }
}

/// The configuration from this process's arguments (the program's name first), environment and machine.
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Command, ConfigError> {
    load_on(&System::detect(), arguments, environment)
}

/// As [`load`], on a machine that is given.
pub fn load_on(
    system: &System<'_>,
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Command, ConfigError> {
    let arguments = match arguments::read(arguments) {
        Ok(arguments) => arguments,
        Err(error) if error.exit_code() == 0 => return Ok(Command::Help(error)),
        Err(error) => return Err(ConfigError::Usage(error)),
    };
    let tested = arguments.test_config;
    let variables = variables::read(environment);
    let path = arguments.file.or(variables.file);
    let mut problems = variables.problems;
    let from_file = path.as_deref().map_or_else(Layer::empty, |path| read_file(system, path, &mut problems));
    let resolved = resolve(system, [&arguments.layer, &variables.layer, &from_file], &mut problems);
    let config = resolved.and_then(|resolved| Config::new(system, resolved, path, &mut problems));
    if let (Some(config), true) = (&config, tested) {
        problems.extend(check::log_file(config));
    }
    match config {
        Some(config) if problems.is_empty() => Ok(if arguments.print_config {
            Command::PrintConfig { toml: config.to_toml(), warnings: config.warnings }
        } else if tested {
            Command::TestConfig { summary: print::summary(&config), warnings: config.warnings }
        } else {
            Command::Run(Box::new(config))
        }),
        _ => Err(ConfigError::Invalid { problems, tested }),
    }
}

impl Config {
    /// From one resolved value per setting; what does not go together becomes a problem.
    fn new(
        system: &System<'_>,
        resolved: Vec<Resolved>,
        file: Option<PathBuf>,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let values = Values::from_values(resolved.iter().map(|resolved| resolved.value.clone()));
        let listeners = values.bind.iter().map(|address| Listener {
            addr: address.with_port(values.port),
            anonymous: values.allow_anonymous.on(address.ip),
        });
        let listeners: Vec<Listener> = listeners.collect();
        let mut config = Self { values, listeners, warnings: Vec::new(), file, resolved };
        let found = check::problems(&config);
        let valid = found.is_empty();
        problems.extend(found);
        config.warnings = check::warnings(&config, system.cores);
        valid.then_some(config)
    }

    /// What the core has to know.
    pub fn settings(&self) -> Settings {
        let values = &self.values;
        Settings {
            shards: values.shards,
            packet_size_max_bytes: values.packet_size_max_bytes,
            inflight_max: values.inflight_max,
            receive_maximum: values.receive_maximum,
            sessions_max: values.sessions_max,
            queued_messages_max: values.queued_messages_max,
            queued_bytes_max: values.queued_bytes_max,
            queued_memory_max_bytes: values.queued_memory_max_bytes,
            session_expiry_max_s: values.session_expiry_max_s,
            keep_alive_max_s: values.keep_alive_max_s,
            topic_alias_max: values.topic_alias_max,
            topic_levels_max: values.topic_levels_max,
            retained_max: values.retained_max,
            retained_max_bytes: values.retained_max_bytes,
            subscriptions_max: values.subscriptions_max,
            subscriptions_per_turn: crate::limits::SUBSCRIPTIONS_PER_TURN,
            outbox_max_bytes: values.outbox_max_bytes,
            sys_interval_s: values.sys_interval_s,
            node_name: values.node_name.as_str().into(),
        }
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

    /// What is wrong with the value of `flag`.
    fn problem(&self, flag: &str, text: String) -> Problem {
        let source = self.source(flag);
        Problem::new(source, about(&SETTINGS[index(flag)], source, text))
    }
}

/// The row of the setting with this long flag.
fn index(flag: &str) -> usize {
    SETTINGS.iter().position(|setting| setting.flag == flag).expect("a flag of the table")
}

/// What one place (arguments, environment, file) says: for each setting at most one text or list of texts.
struct Layer(Vec<Option<Given>>);

/// What was given for a setting, unread.
#[derive(Clone, Debug)]
struct Given {
    texts: Vec<String>,
    source: Source,
}

impl Layer {
    fn empty() -> Self {
        Self(SETTINGS.iter().map(|_| None).collect())
    }

    fn set(&mut self, index: usize, given: Given) {
        self.0[index] = Some(given);
    }

    fn get(&self, index: usize) -> Option<&Given> {
        self.0[index].as_ref()
    }
}

/// A setting's value in effect.
#[derive(Clone, Debug)]
struct Resolved {
    value: Value,
    source: Source,
}

fn read_file(system: &System<'_>, path: &Path, problems: &mut Vec<Problem>) -> Layer {
    match (system.read_file)(path) {
        Ok(text) => {
            let (layer, found) = file::read(path, &text);
            problems.extend(found);
            layer
        }
        Err(error) => {
            let source = Source::File { path: path.to_owned(), line: 0 };
            problems.push(Problem::new(&source, format!("cannot be read: {error}")));
            Layer::empty()
        }
    }
}

/// Takes each setting from the first layer that has it. `None` if any value of any layer is wrong.
fn resolve(system: &System<'_>, layers: [&Layer; 3], problems: &mut Vec<Problem>) -> Option<Vec<Resolved>> {
    let mut resolved = Vec::with_capacity(SETTINGS.len());
    let mut valid = true;
    for (index, setting) in SETTINGS.iter().enumerate() {
        let mut winner = None;
        for given in layers.iter().filter_map(|layer| layer.get(index)) {
            match setting.parse(&given.texts) {
                Ok(value) => {
                    winner.get_or_insert(Resolved { value, source: given.source.clone() });
                }
                Err(text) => {
                    valid = false;
                    problems.push(Problem::new(&given.source, about(setting, &given.source, text)));
                }
            }
        }
        resolved.push(winner.unwrap_or_else(|| default(system, setting)));
    }
    valid.then_some(resolved)
}

/// A flag and a variable name their setting; a line of a file does not.
fn about(setting: &Setting, source: &Source, text: String) -> String {
    match source {
        Source::File { .. } => format!("{}: {text}", setting.path()),
        _ => text,
    }
}

fn default(system: &System<'_>, setting: &Setting) -> Resolved {
    let value = match setting.default {
        Default::Number(number) => Value::Number(number),
        Default::Switch(on) => Value::Switch(on),
        Default::Text(text) => setting.parse(&[text.to_owned()]).expect("the table's defaults are valid"),
        Default::Cores => Value::Number(system.cores.clamp(1, crate::limits::SHARDS_MAX) as u64),
        // A machine may be called what no topic level may be.
        Default::HostName => {
            setting.parse(std::slice::from_ref(&system.host_name)).unwrap_or_else(|_| Value::Text("dunlin".to_owned()))
        }
    };
    Resolved { value, source: Source::Default }
}

#[cfg(test)]
mod tests;
