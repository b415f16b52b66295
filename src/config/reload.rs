//! Reading the configuration again: what it changes at once, and what would need a start.
//!
//! Always holds: all or nothing. A configuration with anything wrong in it changes nothing; of a good one, what can change
//! while the broker runs is taken over together, and what cannot stays as it is and is named.

use std::{collections::BTreeMap, sync::Arc};

use super::changes::{Changed, Changes, ConnectorTable, changed_tables};
use super::{
    AdminSettings, Asking, BridgeSettings, Config, ConfigError, Invocation, ListenAddress, Listener, OtlpSettings,
    Problem, ProcessSettings, Settings, StoreSettings, System,
    layers::{ROWS, Resolved, index},
    listeners::Described,
    print::without_credentials,
};
use crate::settings::{Change, Setting, Value};

impl Config {
    /// Reads the same places again as this one was read from.
    ///
    /// # Errors
    /// As at a start; this one stays as it is.
    pub fn read_again(&self) -> Result<Self, ConfigError> {
        self.read_again_on(&System::detect())
    }

    pub(super) fn read_again_on(&self, system: &System<'_>) -> Result<Self, ConfigError> {
        let origin = self.origin.clone();
        match super::load_on(system, origin.arguments, origin.environment)? {
            Invocation::Run(config) => self.with_access_again(system, *config),
            other => unreachable!("the same arguments led to a run before, now to {other:?}"),
        }
    }

    /// What changes at a start only names files, too: those are read from where they are now.
    fn with_access_again(&self, system: &System<'_>, mut new: Self) -> Result<Self, ConfigError> {
        let mut problems: Vec<Problem> = self.first_that_asks(&new).into_iter().collect();
        let (listeners, tables) = self.listeners_after(&new);
        let after = Self { listeners, tables, ..self.clone() };
        new.access = after.read_access(system, &mut problems);
        new.access.keep_departed(&self.access);
        new.access.set_superusers(new.process.superusers());
        let format = new.process.log_format;
        if problems.is_empty() { Ok(new) } else { Err(ConfigError::Invalid { problems, tested: false, format }) }
    }

    /// This configuration with what `new` changes and may change while the broker runs.
    pub fn changed_by(&self, new: Self) -> (Self, Changes) {
        let mut changes = Changes::default();
        let mut resolved = self.resolved.clone();
        let has_tables = self.tables.is_some() || new.tables.is_some();
        for (at, row) in ROWS.iter().enumerate() {
            let (old, new_value) = (&self.resolved[at], &new.resolved[at]);
            let changed = || Changed { name: row.path(), old: told(row, &old.value), new: told(row, &new_value.value) };
            let changes_now = row.change == Change::Reload;
            // What a listener inherits is told with the listener, if there are tables.
            let is_told = old.value != new_value.value && !(has_tables && row.is_of_listener());
            if is_told {
                if changes_now { &mut changes.now } else { &mut changes.at_start }.push(changed());
            }
            if changes_now {
                resolved[at] = new_value.clone();
            }
        }
        for (changed, change) in listeners(self, &new) {
            if change == Change::Reload { &mut changes.now } else { &mut changes.at_start }.push(changed);
        }
        changes.now.extend(changed_tables(&self.bridges, &new.bridges));
        changes.now.extend(changed_tables(&self.sinks, &new.sinks));
        changes.now.extend(changed_tables(&self.sources, &new.sources));
        let (listeners, tables) = self.listeners_after(&new);
        let files = new.access.changed_since(&self.access);
        changes.now.extend(files.into_iter().map(|(name, old, new)| Changed { name, old, new }));
        let value_of = |row: &Setting| resolved[index(row.flag)].value.clone();
        let config = Self {
            process: ProcessSettings::from_values(&value_of),
            store: StoreSettings::from_values(&value_of),
            admin: AdminSettings::from_values(&value_of),
            otlp: OtlpSettings::from_values(&value_of),
            otlp_files: new.otlp_files,
            settings: Arc::new(Settings::from_values(&value_of)),
            warnings: new.warnings,
            access: new.access,
            listeners,
            bridges: new.bridges,
            sinks: new.sinks,
            own_tables: new.own_tables,
            sources: new.sources,
            tables,
            resolved,
            ..self.clone()
        };
        (config, changes)
    }

    /// Where no listener has asked who its clients are since the start, nobody knows whose the sessions are that there are: the first that asks, or
    /// has users named, needs a start. What else `new` says does not hold either: it may say so because that one asks.
    fn first_that_asks(&self, new: &Self) -> Option<Problem> {
        if self.asking.admits(new.asking) {
            return None;
        }
        let (name, source) = match &new.tables {
            Some(tables) => {
                let is_one =
                    |one: &&Described| !self.asking.admits(Asking::of(std::iter::once(&*one.listener.settings)));
                let first = tables.iter().find(is_one)?;
                (format!("[[listener]] {}", first.listener.settings.name), &first.source)
            }
            None => ("[listener]".to_owned(), &new.resolved[index("authentication")].source),
        };
        let text = format!(
            "{name}: it is the first that asks who its clients are, and whose the sessions are that there are is not known: this needs a start"
        );
        Some(Problem::new(source, text))
    }

    /// The listeners that there are when `new` has been taken over. Whose the socket at a path is, and who may connect to it, stays.
    fn listeners_after(&self, new: &Self) -> (Vec<Listener>, Option<Vec<Described>>) {
        let at_known_path = |listener: &Listener| {
            let ListenAddress::Unix(socket) = &listener.address else { return None };
            let is_same =
                |known: &&Listener| matches!(&known.address, ListenAddress::Unix(known) if known.path == socket.path);
            self.listeners.iter().find(is_same).map(|known| known.address.clone())
        };
        let keep_path = |listener: &mut Listener| {
            if let Some(address) = at_known_path(listener) {
                listener.address = address;
            }
        };
        let (mut listeners, mut tables) = (new.listeners.clone(), new.tables.clone());
        listeners.iter_mut().for_each(keep_path);
        let described = tables.iter_mut().flatten().map(|described| &mut described.listener);
        described.for_each(keep_path);
        (listeners, tables)
    }
}

/// A value as the log and whoever asked for the reload are told it.
fn told(row: &Setting, value: &Value) -> String {
    without_credentials(&row.show(value))
}

/// Listeners that came, went or are others than before, and when that can take effect. Without tables on either side their settings
/// tell it already.
fn listeners(old: &Config, new: &Config) -> Vec<(Changed, Change)> {
    let (olds, news) = (by_name(old), by_name(new));
    let mut changed = Vec::new();
    // A listener without a table is called by its address, so whoever has the same name has the same address.
    let tells = match (&old.tables, &new.tables) {
        (None, None) => return changed,
        (Some(_), Some(_)) => |row: &Setting| row.is_of_listener(),
        _ => |row: &Setting| row.is_of_listener() && !["bind", "port"].contains(&row.flag),
    };
    for (name, listener) in &olds {
        let Some(new) = news.get(name) else {
            let old = listener.listener.address.to_string();
            changed.push((Changed { name: listener.told_as(), old, new: "none".to_owned() }, Change::Reload));
            continue;
        };
        for (at, row) in ROWS.iter().enumerate().filter(|(_, row)| tells(row)) {
            let (old, new_value) = (&listener.resolved[at].value, &new.resolved[at].value);
            if old != new_value {
                let name = format!("{} {}", new.told_as(), row.key());
                changed.push((Changed { name, old: told(row, old), new: told(row, new_value) }, row.change));
            }
        }
    }
    for (_, listener) in news.iter().filter(|(name, _)| !olds.contains_key(*name)) {
        let new = listener.listener.address.to_string();
        changed.push((Changed { name: listener.told_as(), old: "none".to_owned(), new }, Change::Reload));
    }
    changed
}

/// A listener, and the section that describes it.
struct Named<'a> {
    section: &'static str,
    listener: &'a Listener,
    resolved: &'a [Resolved],
}

impl Named<'_> {
    fn told_as(&self) -> String {
        format!("{} {}", self.section, self.listener.settings.name)
    }
}

fn by_name(config: &Config) -> BTreeMap<&str, Named<'_>> {
    let mut named = BTreeMap::new();
    match &config.tables {
        Some(tables) => {
            for Described { listener, resolved, .. } in tables {
                named.insert(&*listener.settings.name, Named { section: "[[listener]]", listener, resolved });
            }
        }
        None => {
            for listener in &config.listeners {
                let resolved = &config.resolved;
                named.insert(&*listener.settings.name, Named { section: "[listener]", listener, resolved });
            }
        }
    }
    named
}

impl ConnectorTable for BridgeSettings {
    const SECTION: &'static str = "bridge";

    fn name(&self) -> &str {
        &self.name
    }

    fn told(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        addresses.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Machine;

    fn load(file: &str, cores: usize, arguments: &[&str]) -> Result<Config, ConfigError> {
        let read = |_: &std::path::Path| Ok(file.to_owned());
        let system =
            System { machine: Machine { cores, host_name: "host".to_owned(), ..Machine::default() }, read_file: &read };
        let arguments = ["dunlin", "-c", "d.toml"].iter().chain(arguments).map(Into::into);
        match super::super::load_on(&system, arguments, [])? {
            Invocation::Run(config) => Ok(*config),
            other => panic!("{other:?}"),
        }
    }

    fn told(changes: &[Changed]) -> Vec<String> {
        changes.iter().map(|changed| format!("{}: {} -> {}", changed.name, changed.old, changed.new)).collect()
    }

    #[test]
    fn what_may_change_changes_and_the_rest_is_named_each_time() {
        let old = load("[mqtt]\nmax_inflight = 10\nmax_packet_size = \"64KiB\"\n", 2, &[]).unwrap();
        let file = "[mqtt]\nmax_inflight = 20\nmax_packet_size = \"1MB\"\n[log]\nlevel = \"warn\"\n";
        let (now, changes) = old.changed_by(load(file, 4, &[]).unwrap());
        assert_eq!(told(&changes.now), ["[mqtt] max_inflight: 10 -> 20", "[log] level: info -> warn"]);
        assert_eq!(told(&changes.at_start), ["[mqtt] max_packet_size: 64KiB -> 1MB", "[node] shards: 1 -> 3"]);
        assert_eq!(
            (now.settings.inflight_max, now.settings.packet_size_max_bytes, now.settings.shards),
            (20, 65_536, 1)
        );
        assert_eq!(now.process.log_level, super::super::LogLevel::Warn);
        let (again, changes) = now.changed_by(load(file, 4, &[]).unwrap());
        assert_eq!((changes.now.len(), changes.at_start.len()), (0, 2));
        assert_eq!(again.settings, now.settings);
    }

    #[test]
    fn no_secret_of_a_url_is_told() {
        let without = || load("[otlp]\nendpoint = \"none\"\n", 2, &[]).unwrap();
        let before = without();
        let after = load("[otlp]\nendpoint = \"http://collector:4318/v1/traces?key=secret\"\n", 2, &[]).unwrap();
        let (after, changes) = before.changed_by(after);
        let shown = "http://collector:4318/v1/traces?***";
        assert_eq!(told(&changes.now), [format!("[otlp] endpoint: none -> {shown}")]);
        let (_, changes) = after.changed_by(without());
        assert_eq!(told(&changes.now), [format!("[otlp] endpoint: {shown} -> none")]);
    }

    #[test]
    fn a_flag_still_hides_what_changes_in_the_file() {
        let arguments = ["--max-inflight", "5"];
        let old = load("[mqtt]\nmax_inflight = 10\n", 2, &arguments).unwrap();
        let (_, changes) = old.changed_by(load("[mqtt]\nmax_inflight = 20\n", 2, &arguments).unwrap());
        assert_eq!(changes, Changes::default());
    }

    #[test]
    fn what_is_read_again_has_the_same_arguments_and_may_be_wrong() {
        let old = load("[mqtt]\nmax_inflight = 10\n", 2, &["--port", "1884"]).unwrap();
        let machine = Machine { cores: 2, host_name: "host".to_owned(), ..Machine::default() };
        for (file, expected) in [("[mqtt]\nmax_inflight = 20\n", Some(20)), ("[mqtt]\nmax_inflight = 0\n", None)] {
            let read = |_: &std::path::Path| Ok(file.to_owned());
            let new = old.read_again_on(&System { machine: machine.clone(), read_file: &read });
            assert_eq!(new.as_ref().ok().map(|new| new.settings.inflight_max), expected);
            assert!(new.is_err() || new.is_ok_and(|new| new.process.port == 1884));
        }
    }

    #[test]
    fn listeners_are_told_by_their_names() {
        let old =
            load("[[listener]]\nname = \"a\"\n[[listener]]\nname = \"b\"\nport = 2\n[[listener]]\nport = 3\n", 2, &[]);
        let new = load(
            "[auth]\nallow_anonymous = true\n[[listener]]\nname = \"a\"\nport = 9\n[[listener]]\nport = 4\n\
             [[listener]]\nport = 3\nallow_anonymous = \"loopback\"\n",
            2,
            &[],
        );
        let (_, changes) = old.unwrap().changed_by(new.unwrap());
        assert_eq!(changes.at_start, []);
        assert_eq!(
            told(&changes.now),
            [
                "[[listener]] a port: 1883 -> 9",
                "[[listener]] a allow_anonymous: loopback -> true",
                "[[listener]] b: 127.0.0.1:2 -> none",
                "[[listener]] 127.0.0.1:4: none -> 127.0.0.1:4",
            ]
        );
    }
    #[test]
    fn addresses_are_told_where_tables_come_or_go() {
        let tables = "[[listener]]\nname = \"a\"\nport = 1\n";
        let unnamed = "[[listener]]\nport = 2\nconnect_timeout = 3\n";
        let cases: [(&str, &str, &[&str]); 5] = [
            (tables, "[listener]\nport = 2\n", &["a: 127.0.0.1:1 -> none", " 127.0.0.1:2: none -> 127.0.0.1:2"]),
            (
                tables,
                "[node]\nshards = 3\n",
                &["a: 127.0.0.1:1 -> none", " 127.0.0.1:1883: none -> 127.0.0.1:1883", "[node] shards: 1 -> 3"],
            ),
            ("[listener]\nport = 2\n", tables, &[" 127.0.0.1:2: 127.0.0.1:2 -> none", "a: none -> 127.0.0.1:1"]),
            (
                "[listener]\nbind = [\"::1\", \"127.0.0.1\"]\nport = 2\n",
                unnamed,
                &["[listener] [::1]:2: [::1]:2 -> none", "[[listener]] 127.0.0.1:2 connect_timeout: 10s -> 3s"],
            ),
            ("[listener]\nport = 2\n", "[listener]\nport = 3\n", &["[listener] port: 2 -> 3"]),
        ];
        for (old, new, expected) in cases {
            let (_, changes) = load(old, 2, &[]).unwrap().changed_by(load(new, 2, &[]).unwrap());
            let told = told(&[changes.now, changes.at_start].concat());
            assert_eq!(told.len(), expected.len(), "{told:?}");
            for line in expected {
                assert!(told.iter().any(|told| told.ends_with(line)), "{line}: {told:?}");
            }
        }
    }
}
