//! Scenario files: groups of clients and the stages they go through, as TOML.
//!
//! Owns: the file's keys, and turning them into a [`Plan`]. Always holds: an unknown key is an error that names the
//! nearest known one; what a plan refuses ([`Plan::problems`]) is refused before anything runs; all mistakes of a file are
//! told at once, each with its line. `docs/LOADTEST.md` teaches the format, and its example is one of the tests here.

mod broker;
mod document;
mod fields;
mod groups;
mod problem;
mod stages;

pub use broker::tls_version;
pub use problem::Problem;

use std::path::Path;

use fields::Fields;
use problem::Problems;

use crate::{
    plan::{At, MqttVersion, Plan, Sources, Target},
    threshold::Threshold,
};

/// A scenario: what to do, and what makes it fail.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What to do.
    pub plan: Plan,
    /// `fail_if` of the file.
    pub thresholds: Vec<Threshold>,
}

/// Reads a scenario. `name` is used where the file has none; files that it names are looked for in `folder`.
///
/// # Errors
/// All that is wrong with it, in the order of its lines.
pub fn read(name: &str, text: &str, folder: &Path) -> Result<Scenario, Vec<Problem>> {
    let problems = Problems::default();
    let Some(keys) = document::read(text, &problems) else { return Err(problems.take()) };
    let file = Fields::new("scenario", 1, keys, &problems);
    let target = file.table("broker").map_or_else(Target::default, |fields| broker::broker(fields, folder));
    let (groups, group_places) = each(file.tables("group"), |fields| groups::group(fields, folder));
    let (stages, stage_places) = each(file.tables("stage"), stages::stage);
    let plan = Plan {
        name: file.text("name").unwrap_or_else(|| name.to_owned()),
        description: file.text("description").unwrap_or_default(),
        target,
        groups,
        stages,
        workers: file.count("workers").unwrap_or(0),
        sources: Sources::Auto,
        run_id: 0,
        seed: file.count("seed").unwrap_or(1),
        drain_s: file.whole_seconds("drain").unwrap_or(10),
        part: crate::plan::Part::default(),
        clocks: Vec::new(),
    };
    let mut thresholds = Vec::new();
    for (line, text) in file.texts("fail_if") {
        match Threshold::parse(&text) {
            Ok(threshold) => thresholds.push(threshold),
            Err(error) => problems.push(line, format!("scenario fail_if: {error}")),
        }
    }
    file.finish();
    let wrong_lines = problems.lines();
    for problem in plan.problems() {
        let place = match problem.at {
            At::Plan => None,
            At::Group(index) => group_places.get(index),
            At::Stage(index) => stage_places.get(index),
        };
        let line = place.map_or(1, |place| place.line_of(problem.key));
        // Where a value could not be read, what stands in its place proves nothing.
        if !wrong_lines.contains(&line) {
            problems.push(line, problem.to_string());
        }
    }
    if problems.is_empty() { Ok(Scenario { plan, thresholds }) } else { Err(problems.take()) }
}

/// Where the keys of a group or a stage stand.
struct Place {
    line: usize,
    lines: Vec<(String, usize)>,
}

impl Place {
    /// The line of a key, of its own or of its `publish`.
    fn line_of(&self, key: Option<&str>) -> usize {
        let found = self.lines.iter().find(|(name, _)| Some(name.as_str()) == key);
        found.map_or(self.line, |(_, line)| *line)
    }
}

/// Reads tables one by one, and notes of each where its keys are.
fn each<T>(tables: Vec<Fields>, read: impl Fn(Fields) -> T) -> (Vec<T>, Vec<Place>) {
    let one = |fields: Fields| {
        let place = Place { line: fields.line(), lines: fields.lines() };
        (read(fields), place)
    };
    tables.into_iter().map(one).unzip()
}

const VERSIONS: &[(&str, MqttVersion)] = &[
    ("5.0", MqttVersion::V5),
    ("5", MqttVersion::V5),
    ("3.1.1", MqttVersion::V311),
    ("4", MqttVersion::V311),
    ("3.1", MqttVersion::V31),
    ("3", MqttVersion::V31),
];

/// The version that a text names, by MQTT's own number or by the protocol level.
pub fn version(text: &str) -> Result<MqttVersion, String> {
    version_words(text, VERSIONS).ok_or_else(|| format!("{text:?} is no version of MQTT: 5, 3.1.1 or 3.1"))
}

/// What a word means, if it is one of these.
fn version_words<T: Copy>(text: &str, words: &[(&str, T)]) -> Option<T> {
    words.iter().find(|(name, _)| *name == text).map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests;
