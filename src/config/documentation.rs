//! Keeps `docs/CONFIGURATION.md`, `docs/MOVING-FROM-MOSQUITTO.md` and `docs/dunlin.toml` true: what is generated in them is what the rows say now.
//!
//! `DUNLIN_BLESS=1 cargo test --lib config::documentation` writes them anew.

use std::fmt::Write as _;
use std::path::Path;

use super::{
    error::Exit,
    foreign,
    layers::{ROWS, shown, shown_sections, with_flags},
    print,
};
use crate::settings::{Change, Fallback, Machine, Scope, Section, Setting};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIGURATION.md");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/dunlin.toml");

const MOVING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/MOVING-FROM-MOSQUITTO.md");

/// `text` with the part between the markers of `name` replaced.
fn replaced(text: &str, name: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- generated: {name} -->\n"), format!("<!-- end: {name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{PATH} has no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{PATH} has no {end}"));
    format!("{before}{begin}{part}{end}{after}")
}

fn settings() -> String {
    let mut text = String::new();
    for section in shown_sections() {
        let _ = write!(text, "\n### `[{}]` {}\n\n", section.name(), section.title());
        text.push_str("| key | flag | default | allowed | changes at |\n|---|---|---|---|---|\n");
        let rows: Vec<&Setting> = shown().filter(|row| row.section == section).collect();
        for row in &rows {
            let short = row.short.map(|letter| format!(", `-{letter}`")).unwrap_or_default();
            let flag =
                if row.has_flag() { format!("`--{}`{short}", row.flag) } else { "in `[[listener]]` only".to_owned() };
            let change = if row.change == Change::Reload { "reload" } else { "start" };
            let _ = writeln!(
                text,
                "| `{}` | {flag} | {} | {} | {change} |",
                row.key(),
                row.default_text(),
                row.range_text()
            );
        }
        text.push('\n');
        for row in &rows {
            let mut paragraph = format!("- `{}`: {}.", row.key(), row.summary());
            for details in row.details() {
                let _ = write!(paragraph, " {details}");
            }
            if row.place == Scope::EachListener {
                paragraph.push_str(" A `[[listener]]` table may have its own.");
            }
            if let Some(section) = row.also_in {
                let _ = write!(paragraph, " It may stand in `[{}]` as well.", section.name());
            }
            if let Some(variable) = row.variable() {
                let _ = write!(paragraph, " Variable `{variable}`.");
            }
            let _ = writeln!(text, "{paragraph}");
        }
    }
    text.push('\n');
    text
}

/// Every setting with its default, as a file. What depends on the machine stands in a comment.
fn example() -> String {
    let mut text = "\
# Every setting of dunlin with its default: a file to take lines from. It is generated
# (DUNLIN_BLESS=1 cargo test --lib config::documentation); docs/CONFIGURATION.md explains more.
# [reload]: a new value takes effect at SIGHUP. [start]: when the broker starts.
"
    .to_owned();
    for section in shown_sections() {
        let brackets = if section == Section::Listener { ("[[", "]]") } else { ("[", "]") };
        let _ = write!(text, "\n# {}\n{}{}{}\n", section.title(), brackets.0, section.name(), brackets.1);
        for row in shown().filter(|row| row.section == section) {
            let change = if row.change == Change::Reload { "reload" } else { "start" };
            let words =
                std::iter::once(format!("{}.", row.summary())).chain(row.details()).collect::<Vec<_>>().join(" ");
            text.push('\n');
            for line in wrapped(&words, 96) {
                let _ = writeln!(text, "# {line}");
            }
            let _ = writeln!(text, "# Allowed: {} [{change}]", row.range_text());
            let value = match row.fallback {
                Fallback::CoresButOne | Fallback::HostName | Fallback::StateDirectory | Fallback::Address => {
                    let _ = writeln!(text, "# {} = {}", row.key(), row.default_text());
                    continue;
                }
                _ => print::toml(row, &row.default_value(&Machine::default())),
            };
            let _ = writeln!(text, "{} = {value}", row.key());
        }
    }
    text
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one");
        match line.len() {
            0 => line.push_str(word),
            length if length + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn mosquitto() -> String {
    let mut text = "\n| mosquitto.conf and others | here |\n|---|---|\n".to_owned();
    for (name, answer) in foreign::ALIKE {
        let _ = writeln!(text, "| `{name}` | {answer} |");
    }
    for foreign in foreign::FOREIGN {
        let names: Vec<String> = foreign.names.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(text, "| {} | {} |", names.join(", "), foreign.answer);
    }
    text.push('\n');
    text
}

fn exit_statuses() -> String {
    let mut text = "\n| status | meaning |\n|---|---|\n".to_owned();
    for (exit, meaning) in Exit::ALL {
        let _ = writeln!(text, "| {} | {meaning} |", exit as u8);
    }
    text.push('\n');
    text
}

/// Writes `path` anew if asked to, else finds what has changed.
fn keep(path: &str, fresh: &str) {
    if std::env::var_os("DUNLIN_BLESS").is_some() {
        // Whole or not at all: another test may be reading it.
        let new = format!("{path}.new");
        std::fs::write(&new, fresh).expect("docs/ can be written");
        std::fs::rename(&new, path).expect("the file in docs/ can be replaced");
        return;
    }
    let written = std::fs::read_to_string(path).expect(path);
    let changed = fresh.lines().zip(written.lines()).find(|(fresh, written)| fresh != written);
    assert_eq!(changed, None, "{path} has drifted: DUNLIN_BLESS=1 cargo test --lib config::documentation");
    assert_eq!(fresh.len(), written.len(), "{path} has drifted at its end");
}

#[test]
fn the_documentation_says_what_the_rows_say() {
    let written = std::fs::read_to_string(PATH).expect("docs/CONFIGURATION.md");
    let fresh = replaced(&written, "settings", &settings());
    let fresh = replaced(&fresh, "exit statuses", &exit_statuses());
    keep(PATH, &fresh);
    let written = std::fs::read_to_string(MOVING).expect("docs/MOVING-FROM-MOSQUITTO.md");
    keep(MOVING, &replaced(&written, "mosquitto.conf", &mosquitto()));
}

fn load(file: &str) -> super::Config {
    let read = |_: &Path| Ok(file.to_owned());
    let machine = Machine { cores: 8, host_name: "host".to_owned(), ..Machine::default() };
    let arguments = ["dunlin", "-c", "dunlin.toml"].map(Into::into);
    match super::load_on(&super::System { machine, read_file: &read }, arguments, []) {
        Ok(super::Invocation::Run(config)) => *config,
        other => panic!("{other:?} of {file}"),
    }
}

#[test]
fn the_example_file_holds_every_setting_with_its_default() {
    keep(EXAMPLE, &example());
    let config = load(&example());
    // A file that says nothing but a default.
    let defaults = load("[node]\npin = false\n");
    assert_eq!((config.process, config.settings), (defaults.process, defaults.settings));
    assert_eq!((config.listeners, config.warnings), (defaults.listeners, defaults.warnings));
    for row in shown() {
        let line = format!("{} = ", row.key());
        assert!(example().lines().any(|written| written.trim_start_matches("# ").starts_with(&line)), "{}", row.path());
    }
}

#[test]
fn every_example_in_the_documentation_is_a_usable_file() {
    let text = std::fs::read_to_string(PATH).expect("docs/CONFIGURATION.md");
    let examples: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|part| part.split("```").next()).collect();
    assert!(examples.len() >= 3, "the documentation shows files");
    for example in examples {
        assert_eq!(load(example).warnings, [""; 0], "{example}");
    }
}

#[test]
fn what_others_call_a_setting_is_the_name_of_none_of_ours() {
    for foreign in foreign::FOREIGN {
        for name in foreign.names {
            assert!(with_flags().all(|row| row.flag.replace('-', "_") != *name), "--{name} is a flag of ours");
        }
    }
}

#[test]
fn names_are_unique_and_flags_are_the_keys_with_at_most_their_section_in_front() {
    let mut seen = std::collections::HashSet::new();
    for row in ROWS.iter() {
        assert!(seen.insert(row.path()), "{}", row.path());
        assert!(seen.insert(row.flag.to_owned()), "--{}", row.flag);
        let flag = row.flag.replace('-', "_");
        let long = format!("{}_{}", row.section.name(), row.key());
        assert!(flag == row.key() || flag == long, "--{} and {}", row.flag, row.path());
    }
}

#[test]
fn every_setting_explains_itself_in_one_sentence_first() {
    for row in ROWS.iter() {
        let summary = row.summary();
        assert!((10..=90).contains(&summary.len()), "--{}: {summary:?}", row.flag);
        assert!(!summary.ends_with('.') && row.doc[0].trim_end().ends_with('.'), "--{}", row.flag);
    }
}

#[test]
fn the_example_of_profiles_is_a_usable_file() {
    let written = std::fs::read_to_string(PATH).expect("docs/CONFIGURATION.md");
    let example = written.split("```text\n").find(|block| block.contains("[[profile]]")).expect("it is there");
    let example = example.split("```").next().expect("it ends").to_owned();
    let read = |path: &Path| Ok(if path == Path::new("profiles") { example.clone() } else { String::new() });
    let system = super::System { machine: Machine { cores: 1, ..Machine::default() }, read_file: &read };
    let arguments = ["dunlin", "--profiles-file", "profiles"].map(Into::into);
    let Ok(super::Invocation::Run(config)) = super::load_on(&system, arguments, []) else { panic!("{example}") };
    assert_eq!(config.access.profiles().map(|profiles| profiles.len()), Some(2));
}
