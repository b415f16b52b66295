//! A mosquitto.conf as dunlin's settings, and what of it has no counterpart.
//!
//! Owns: the options of Mosquitto 2.0 and 2.1, which of them are settings here, and what to do in place of the others.
//! Always holds: each line is taken over or told of; what comes out is a file that dunlin takes; no door is opened that was shut: where what
//! kept clients out cannot be taken over, nobody is let in. Nothing is asked of the machine but by [`ConfSources`].
//! Leaves to others: what the files hold that it names (password files, access rules, certificates): dunlin reads them as they are.
//!
//! Reading order: [`lines`], `sections`; `listener`, `access`, `options`, `bridges`; `draft`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

mod access;
mod bridges;
mod ciphers;
mod draft;
mod lines;
mod listener;
mod log;
mod options;
mod plugins;
mod sections;
#[cfg(test)]
mod tests;

pub use lines::{ConfPlace, ConfSources};

use crate::limits::{LISTENERS_MAX, OUTBOX_DEFAULT_BYTES};
use draft::{Draft, DraftListener, DraftTable};
use lines::ConfLine;
use plugins::{PluginKind, kind_of};
use sections::Sections;

/// Something that is not here what it was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportNote {
    /// Where it stands.
    pub place: ConfPlace,
    /// As Mosquitto calls it.
    pub option: String,
    /// Why, and what to do.
    pub text: String,
}

impl std::fmt::Display for ImportNote {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&shown(&format!("{}: {}: {}", self.place, self.option, self.text)))
    }
}

/// A line for a terminal: control characters are escaped, whatever a file, its name or an option holds.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// What came of a mosquitto.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedConf {
    /// The file, as `--config` takes it.
    pub toml: String,
    /// What is to be known, in the order of the lines.
    pub notes: Vec<ImportNote>,
}

/// Reads a mosquitto.conf, and what it includes.
pub fn import(path: &Path, sources: &ConfSources<'_>) -> Result<ImportedConf, io::Error> {
    let mut notes = Vec::new();
    let lines = lines::read(path, sources, &mut notes)?;
    let mut files: Vec<_> = lines.iter().map(|line| line.place.file.clone()).collect();
    files.dedup();
    let sections = sections::sort(lines, &mut notes);
    let mut listeners: Vec<DraftListener> =
        sections.listeners.iter().map(|listener| listener::table_of(listener, sources, &mut notes)).collect();
    more_than_may_be(&sections, &mut listeners, &mut notes);
    let bridges = sections.bridges.iter().map(|bridge| bridges::take_over(bridge, &mut notes)).collect();
    let mut draft = Draft { from: path.display().to_string(), broker: DraftTable::default(), listeners, bridges };
    options::take_over(&sections, &mut draft.broker, &mut notes);
    clients_of_all(&sections, &mut draft.broker);
    log::take_over(&sections, &mut draft.broker, &mut notes);
    of_all_listeners(&sections, &mut draft.broker, &mut notes);
    access::take_over(&sections, &mut draft, &mut notes);
    persistence(&sections, &mut draft.broker, &mut notes);
    where_to_listen(&mut draft);
    defaults(&mut draft.broker);
    // What is said of the file itself comes first, then what is said of those that it includes.
    notes.sort_by_key(|note| {
        let of_main = *note.place.file == *path;
        let place = files.iter().position(|file| *file == note.place.file);
        (!of_main, if of_main { None } else { place }, note.place.line)
    });
    notes.dedup();
    Ok(ImportedConf { toml: draft.to_toml(), notes })
}

/// Leaves out listeners at an address that another has, and those beyond the number that there may be.
fn more_than_may_be(sections: &Sections, listeners: &mut [DraftListener], notes: &mut Vec<ImportNote>) {
    let mut taken: HashMap<[String; 3], &ConfPlace> = HashMap::new();
    for (conf, made) in sections.listeners.iter().zip(listeners) {
        if made.left_out.is_some() {
            continue;
        }
        let address = ["bind", "port", "unix"].map(|flag| made.table.written(flag));
        let text = match taken.get(&address) {
            Some(first) => format!("the listener of {first} has this address already: this one is left out"),
            None if taken.len() == LISTENERS_MAX => {
                format!("there may be {LISTENERS_MAX} listeners, and this is one more: it is left out")
            }
            None => {
                taken.insert(address, &conf.opened.place);
                continue;
            }
        };
        notes.push(conf.opened.note(text));
        made.left_out = Some(format!("{}: {}", conf.opened.place, conf.opened.option));
    }
}

/// A bound of all sessions bounds those that are connected as well.
fn clients_of_all(sections: &Sections, broker: &mut DraftTable) {
    if let Some(line) = sections.get("global_max_clients")
        && broker.has("max-sessions")
        && !broker.has("max-connections")
    {
        // Where it is too large for that, the default stands.
        let _ = broker.set("max-connections", &[line.word()], line.place.to_string());
    }
}

/// Options that listeners have there and the broker has here.
fn of_all_listeners(sections: &Sections, broker: &mut DraftTable, notes: &mut Vec<ImportNote>) {
    for (options, flag) in [
        (&["max_qos", "maximum_qos"][..], "max-qos"),
        (&["max_topic_alias"], "topic-alias-max"),
        (&["max_topic_alias_broker"], "topic-alias-max"),
    ] {
        let lines = sections.listeners.iter().map(|listener| options.iter().find_map(|option| listener.get(option)));
        let lines: Vec<Option<&ConfLine>> = lines.collect();
        let Some(first) = lines.iter().find_map(|line| *line) else { continue };
        let are_alike = lines.iter().all(|line| line.is_some_and(|line| line.word() == first.word()));
        if broker.has(flag) {
            notes.push(first.note("there is one number for both directions, and that of the other option is taken"));
        } else if !are_alike {
            let text = "it holds for all listeners here, and not all of them have the same: it is left out";
            notes.push(first.note(text));
        } else if let Err(error) = broker.set(flag, &[first.word()], first.place.to_string()) {
            notes.push(first.note(format!("{error}; it is left out")));
        }
    }
}

fn persistence(sections: &Sections, broker: &mut DraftTable, notes: &mut Vec<ImportNote>) {
    let line = sections.get("persistence");
    let is_sqlite = |plugin: &&sections::ConfPlugin| kind_of(&plugin.path) == PluginKind::PersistSqlite;
    let plugin = sections.plugins.iter().find(is_sqlite).map(|plugin| &plugin.opened);
    match (line.filter(|line| line.is_on()), plugin) {
        (Some(line), _) => {
            broker.set_word("storage", "disk", line.place.to_string());
            let place = sections.get("persistence_location").map_or("", |line| line.value.trim_end_matches('/'));
            let file = sections.get("persistence_file").map_or("mosquitto.db", |line| &line.value);
            let slash = if place.is_empty() { "" } else { "/" };
            let text = format!(
                "data lies in the service's own directory (/var/lib/dunlin), unless [store] data_dir says another. What Mosquitto \
                 has kept comes over, once it is stopped: dunlin store import DIR < {place}{slash}{file}. Sessions are nobody's then: \
                 where there are users, --foreign-sessions=accept lets the first that comes with a client id have its session"
            );
            let told = sections.get("persistence_location").unwrap_or(line);
            notes.push(told.note(text));
        }
        (None, Some(line)) => broker.set_word("storage", "disk", line.place.to_string()),
        (None, None) => {
            let why = line
                .map_or("Mosquitto keeps nothing unless persistence is on".to_owned(), |line| line.place.to_string());
            broker.set_word("storage", "memory", why);
        }
    }
}

/// Where nothing is said of listeners Mosquitto serves its own machine; where all of them are left out, nobody is served.
fn where_to_listen(draft: &mut Draft) {
    let broker = &mut draft.broker;
    if draft.listeners.is_empty() {
        broker.set_word("bind", "127.0.0.1,::1", "Mosquitto without a listener serves its own machine");
    } else if draft.listeners.iter().all(|listener| listener.left_out.is_some()) {
        broker.set_word("bind", "127.0.0.1", "all listeners are left out");
        broker.set_word("allow-anonymous", "false", "nobody comes in until you say how");
    }
}

/// Defaults of Mosquitto that differ from ours where clients notice.
fn defaults(broker: &mut DraftTable) {
    for (flag, word, why) in [
        ("session-expiry-max", "never", "Mosquitto's default; 7d is dunlin's"),
        ("max-packet-size", "2000000", "the default of Mosquitto 2.1; 2.0 has no bound"),
        ("topic-levels-max", "200", "Mosquitto's bound"),
        ("refuse-dollar-topics", "sys", "as Mosquitto has it"),
    ] {
        if !broker.has(flag) {
            broker.set_word(flag, word, why);
        }
    }
    // A message that is taken should be able to wait for a slow client.
    if let Some(bytes) = broker.number("max-packet-size").filter(|bytes| (1 << 20..=16 << 20).contains(bytes))
        && bytes > u64::from(OUTBOX_DEFAULT_BYTES)
    {
        broker.set_word("outbox-max-bytes", &bytes.to_string(), "as much as a packet may have");
    }
}
