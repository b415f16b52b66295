//! The file that comes of a mosquitto.conf, while it is made.
//!
//! Always holds: a value that stands in it was read by the setting's own row, so it is one that dunlin takes; each line says where it comes
//! from.

use std::fmt::Write as _;

use super::bridges::DraftBridge;
use crate::config::layers::{ROWS, index};
use crate::config::{bridge_text, print};
use crate::settings::{Section, Setting, Value};

/// A value and the reason it is there.
#[derive(Clone, Debug)]
struct DraftLine {
    row: usize,
    value: Value,
    why: String,
    /// Written as a comment: it is for the operator to say.
    is_off: bool,
}

/// Settings of the broker, or of one listener.
#[derive(Clone, Debug, Default)]
pub(super) struct DraftTable {
    lines: Vec<DraftLine>,
}

impl DraftTable {
    /// Sets a setting, in place of what it was. The error says what is wrong with the text.
    pub(super) fn set(&mut self, flag: &str, texts: &[&str], why: impl Into<String>) -> Result<(), String> {
        let row = index(flag);
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        let value = ROWS[row].parse(&texts)?;
        self.lines.retain(|line| line.row != row);
        self.lines.push(DraftLine { row, value, why: why.into(), is_off: false });
        Ok(())
    }

    /// Sets a setting to a word that is right in any case.
    pub(super) fn set_word(&mut self, flag: &str, text: &str, why: impl Into<String>) {
        self.set(flag, &[text], why).expect("a word of this setting");
    }

    /// Whether it has a value, one that is written as a comment included.
    pub(super) fn has(&self, flag: &str) -> bool {
        let row = index(flag);
        self.lines.iter().any(|line| line.row == row)
    }

    /// The number that a setting is set to.
    pub(super) fn number(&self, flag: &str) -> Option<u64> {
        let row = index(flag);
        match self.lines.iter().find(|line| line.row == row)?.value {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    /// What a setting is set to, as it is written; empty where it is not set.
    pub(super) fn written(&self, flag: &str) -> String {
        let row = index(flag);
        let line = self.lines.iter().find(|line| line.row == row);
        line.map(|line| print::toml(&ROWS[row], &line.value)).unwrap_or_default()
    }

    /// Takes a setting out.
    pub(super) fn unset(&mut self, flag: &str) {
        let row = index(flag);
        self.lines.retain(|line| line.row != row);
    }

    /// Writes a setting as a comment.
    pub(super) fn turn_off(&mut self, flag: &str) {
        let row = index(flag);
        self.lines.iter_mut().filter(|line| line.row == row).for_each(|line| line.is_off = true);
    }

    /// Its lines in the order of the documentation, of one section or of all.
    fn write(&self, text: &mut String, belongs: impl Fn(&Setting) -> bool, before: &str) {
        let mut lines: Vec<&DraftLine> = self.lines.iter().filter(|line| belongs(&ROWS[line.row])).collect();
        lines.sort_by_key(|line| line.row);
        for line in lines {
            let row = &ROWS[line.row];
            let off = if line.is_off { "# " } else { "" };
            // What a path holds could end the comment.
            let why = line.why.replace(char::is_control, "?");
            let _ = writeln!(text, "{before}{off}{} = {}  # {why}", row.key(), print::toml(row, &line.value));
        }
    }

    fn has_lines_of(&self, section: Section) -> bool {
        self.lines.iter().any(|line| ROWS[line.row].section == section)
    }
}

/// A `[[listener]]` table.
#[derive(Clone, Debug)]
pub(super) struct DraftListener {
    /// What it says.
    pub(super) table: DraftTable,
    /// Why it stands there as comments only.
    pub(super) left_out: Option<String>,
}

/// The whole file.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// Its name, for the first line.
    pub(super) from: String,
    /// What is said for the whole broker.
    pub(super) broker: DraftTable,
    /// Its listeners; with none the broker's own settings say where to listen.
    pub(super) listeners: Vec<DraftListener>,
    pub(super) bridges: Vec<DraftBridge>,
}

impl Draft {
    /// What `--config` takes, each line with the place that it comes from.
    pub(super) fn to_toml(&self) -> String {
        let from = self.from.replace(char::is_control, "?");
        let mut text = format!("# dunlin's settings, made of {from} by `dunlin import`.\n");
        for listener in &self.listeners {
            let before = if listener.left_out.is_some() { "# " } else { "" };
            text.push('\n');
            if let Some(why) = &listener.left_out {
                let _ = writeln!(text, "# Left out: {why}");
            }
            let _ = writeln!(text, "{before}[[listener]]");
            listener.table.write(&mut text, |_| true, before);
        }
        for section in Section::ALL.into_iter().filter(|section| self.broker.has_lines_of(*section)) {
            let _ = write!(text, "\n[{}]\n", section.name());
            self.broker.write(&mut text, |row| row.section == section, "");
        }
        for DraftBridge { settings, from, left_out } in &self.bridges {
            let _ = write!(text, "\n# {}\n", from.replace(char::is_control, "?"));
            if let Some(why) = left_out {
                let _ = writeln!(text, "# Left out: {}", why.replace(char::is_control, "?"));
            }
            let before = if left_out.is_some() { "# " } else { "" };
            text.push_str(&bridge_text::table(settings, before));
        }
        text
    }
}
