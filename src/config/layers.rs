//! Layers: what the command line, the environment and the file say of each setting, and which of them holds.
//!
//! Always holds: a flag wins over its variable, that over the file, that over the default. Every value that is given is
//! checked, also one that a higher layer hides.

use std::sync::LazyLock;

use super::{
    admin::ADMIN_ROWS,
    cluster::CLUSTER_ROWS,
    error::{Problem, Source},
    otlp::OTLP_ROWS,
    process::{LogFormat, PROCESS_ROWS},
    store::STORE_ROWS,
};
use crate::settings::{AUTHENTICATION_ROWS, FromValue, LISTENER_ROWS, Machine, SETTINGS_ROWS, Section, Setting, Value};

/// Every setting, in the order of the documentation.
pub static ROWS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let of_core = [LISTENER_ROWS, AUTHENTICATION_ROWS, SETTINGS_ROWS].concat();
    let of_process = [PROCESS_ROWS, STORE_ROWS, CLUSTER_ROWS, ADMIN_ROWS, OTLP_ROWS].concat();
    let mut rows = [of_process, of_core].concat();
    rows.sort_by_key(|row| row.section);
    rows
});

/// The row of the setting with this long flag.
pub(super) fn index(flag: &str) -> usize {
    ROWS.iter().position(|row| row.flag == flag).expect("a flag of the rows")
}

/// What one place says: for each setting at most one text or list of texts.
#[derive(Clone, Debug)]
pub(super) struct Layer(Vec<Option<Given>>);

/// What was given for a setting, unread.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) texts: Vec<String>,
    pub(super) source: Source,
}

impl Layer {
    pub(super) fn empty() -> Self {
        Self(ROWS.iter().map(|_| None).collect())
    }

    /// Sets what is given for a row, once: a setting that may stand in two sections can be given in both.
    pub(super) fn set(&mut self, index: usize, given: Given) -> Result<(), Problem> {
        if let Some(first) = &self.0[index] {
            let text = format!("is the same as {}, which is given too", first.source);
            return Err(Problem::new(&given.source, text));
        }
        self.0[index] = Some(given);
        Ok(())
    }

    pub(super) fn get(&self, index: usize) -> Option<&Given> {
        self.0[index].as_ref()
    }
}

/// A `[[listener]]` table of the file, unread.
#[derive(Clone, Debug)]
pub(super) struct ListenerTable {
    pub(super) source: Source,
    pub(super) layer: Layer,
}

/// A setting's value in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) value: Value,
    pub(super) source: Source,
}

/// Takes each setting from the first layer that has it. Where what is given is wrong, that is a problem, and the default
/// stands in, so that whatever else is wrong is found as well.
pub(super) fn resolve(machine: &Machine, layers: [&Layer; 3], problems: &mut Vec<Problem>) -> Vec<Resolved> {
    let mut resolved = Vec::with_capacity(ROWS.len());
    for (index, row) in ROWS.iter().enumerate() {
        let mut winner = None;
        for given in layers.iter().filter_map(|layer| layer.get(index)) {
            match read(row, given, &row.path()) {
                Ok(value) => _ = winner.get_or_insert(value),
                Err(problem) => problems.push(problem),
            }
        }
        let default = || Resolved { value: row.default_value(machine), source: Source::Default };
        resolved.push(winner.unwrap_or_else(default));
    }
    resolved
}

/// The shape of log lines, whatever else is wrong.
pub(super) fn format_asked_for(layers: [&Layer; 3]) -> LogFormat {
    let at = index("log-format");
    let given = layers.iter().filter_map(|layer| layer.get(at)).find_map(|given| ROWS[at].parse(&given.texts).ok());
    given.map_or(LogFormat::Text, LogFormat::from_value)
}

/// Each `[[listener]]` table's values: its own, and those of `all` for what it leaves out.
pub(super) fn resolve_tables(
    tables: &[ListenerTable],
    all: &[Resolved],
    problems: &mut Vec<Problem>,
) -> Vec<Vec<Resolved>> {
    let tables = tables.iter().map(|table| {
        let mut resolved = all.to_vec();
        for (index, row) in ROWS.iter().enumerate() {
            let Some(given) = table.layer.get(index) else { continue };
            match read(row, given, &format!("[[listener]] {}", row.key())) {
                Ok(value) => resolved[index] = value,
                Err(problem) => problems.push(problem),
            }
        }
        resolved
    });
    tables.collect()
}

fn read(row: &Setting, given: &Given, path: &str) -> Result<Resolved, Problem> {
    match row.parse(&given.texts) {
        Ok(value) => Ok(Resolved { value, source: given.source.clone() }),
        Err(text) => Err(Problem::new(&given.source, about(path, &given.source, &text))),
    }
}

/// A flag and a variable name their setting; a line of a file does not.
pub(super) fn about(path: &str, source: &Source, text: &str) -> String {
    match source {
        Source::File { .. } => format!("{path}: {text}"),
        _ => text.to_owned(),
    }
}

/// Rows that users are told of.
pub(super) fn shown() -> impl Iterator<Item = &'static Setting> {
    ROWS.iter().filter(|row| !row.is_hidden)
}

/// Those of them that have a flag and a variable.
pub(super) fn with_flags() -> impl Iterator<Item = &'static Setting> {
    shown().filter(|row| row.has_flag())
}

/// Sections that have such rows.
pub(super) fn shown_sections() -> impl Iterator<Item = Section> {
    Section::ALL.into_iter().filter(|section| shown().any(|row| row.section == *section))
}
