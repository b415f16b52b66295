//! Where Mosquitto's log goes, and how much of it there is.

use super::ImportNote;
use super::draft::DraftTable;
use super::lines::ConfLine;
use super::sections::Sections;

/// Levels, and the types that need them, the least talkative first.
const LEVELS: [(&str, &[&str]); 4] = [
    ("error", &["error", "none"]),
    ("warn", &["warning"]),
    ("info", &["notice", "information"]),
    ("debug", &["debug", "subscribe", "unsubscribe", "all", "internal"]),
];

/// Takes destinations and types over.
pub(super) fn take_over(sections: &Sections, broker: &mut DraftTable, notes: &mut Vec<ImportNote>) {
    let is = |option: &'static str| move |line: &&ConfLine| line.option == option;
    for line in sections.globals.iter().filter(is("log_dest")) {
        destination(line, broker, notes);
    }
    let mut most: Option<(usize, &ConfLine)> = None;
    for line in sections.globals.iter().filter(is("log_type")) {
        match LEVELS.iter().position(|(_, types)| types.contains(&line.word())) {
            Some(level) if most.is_none_or(|(other, _)| level > other) => most = Some((level, line)),
            Some(_) => {}
            None => notes.push(line.note("there are no such lines")),
        }
        if line.word() == "none" {
            notes.push(line.note("errors are logged in any case"));
        }
    }
    if let Some((level, line)) = most {
        broker.set_word("log-level", LEVELS[level].0, line.place.to_string());
    }
}

fn destination(line: &ConfLine, broker: &mut DraftTable, notes: &mut Vec<ImportNote>) {
    let (kind, path) = line.value.split_once(' ').unwrap_or((&line.value, ""));
    match kind {
        "stderr" => {}
        "file" if broker.has("log-file") => notes.push(line.note("there is one file, and it is another")),
        "file" if path.trim().starts_with("/var/log/mosquitto/") => notes.push(line.note(
            "the directory is that of Mosquitto's user: lines go to standard error, which the journal keeps; [log] file names a file \
             in a directory that dunlin's user may write to",
        )),
        "file" => {
            let set = broker.set("log-file", &[path.trim()], line.place.to_string());
            notes.extend(set.err().map(|error| line.note(format!("{error}; it is left out"))));
            notes.push(
                line.note("SIGUSR1 opens the file again, where Mosquitto takes SIGHUP: log rotation has to say so"),
            );
        }
        "stdout" => notes.push(line.note("lines go to standard error, unless a file is named")),
        "syslog" => notes
            .push(line.note("lines go to standard error; under systemd the journal has them, with their priorities")),
        "topic" => notes.push(line.note(
            "the log is no topic: a trace shows what one client, topic or address does (dunlin ctl trace --help)",
        )),
        "none" => {
            broker.set_word("log-level", "error", line.place.to_string());
            notes.push(line.note("errors are logged in any case"));
        }
        _ => notes.push(line.note("there is no such destination: lines go to standard error")),
    }
}
