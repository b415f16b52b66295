//! Where the house does not keep its own rules yet: `known.txt`, which may only shrink.
//!
//! Always holds: an offender that is not listed fails the rule, and so does a listed one that offends no more. Nothing is
//! added to a list: new code keeps the rules. `TIDY_SHRINK=1` takes off what is not true any more, and adds nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::Finding;
use crate::words::Named;

/// Where the lists are, for whoever has to take something off them.
pub(crate) const PATH: &str = "tests/tidy/known.txt";

/// The lists by rule: what is listed, and in which line.
#[derive(Debug, Default)]
pub(crate) struct Known {
    lists: BTreeMap<String, BTreeMap<String, usize>>,
}

/// What a rule found, measured by its list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    /// What is not listed, to be mended.
    pub(crate) findings: Vec<Finding>,
    /// What is listed and not true any more.
    pub(crate) stale: Vec<Stale>,
}

/// A line of a list that is not true any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stale {
    rule: String,
    entry: String,
    line: usize,
    /// What to write there; `None` takes the line out.
    instead: Option<String>,
}

impl Stale {
    /// The same as a finding.
    pub(crate) fn finding(&self) -> Finding {
        let remedy = match &self.instead {
            None => format!("`{}` keeps the rule now: take the line out of [{}]", self.entry, self.rule),
            Some(instead) => format!("`{}` is better now: write `{instead}` in [{}]", self.entry, self.rule),
        };
        Finding::new(PATH, self.line, format!("{remedy} (`TIDY_SHRINK=1 cargo test --test tidy` does it)"))
    }
}

/// The text of the lists without what is stale.
pub(crate) fn shrunk(text: &str, stale: &[Stale]) -> String {
    let mut section = "";
    let mut shrunk = String::with_capacity(text.len());
    for line in text.lines() {
        let entry = line.split('#').next().unwrap_or_default().trim();
        if let Some(name) = entry.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            section = name;
        }
        match stale.iter().find(|stale| stale.rule == section && stale.entry == entry) {
            Some(Stale { instead: None, .. }) => continue,
            Some(Stale { instead: Some(instead), .. }) => shrunk.push_str(instead),
            None => shrunk.push_str(line),
        }
        shrunk.push('\n');
    }
    shrunk
}

impl Known {
    /// Reads sections `[rule]` of one entry a line; `#` begins a remark.
    pub(crate) fn parse(text: &str) -> Self {
        let mut known = Self::default();
        let mut section = String::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                name.clone_into(&mut section);
                known.lists.entry(section.clone()).or_default();
            } else if !line.is_empty() {
                known.lists.entry(section.clone()).or_default().insert(line.to_owned(), at + 1);
            }
        }
        known
    }

    /// The rules that have a list.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &str> {
        self.lists.keys().map(String::as_str)
    }

    /// Of named offenders: the ones that are not listed, and the listed ones that offend no more.
    pub(crate) fn except(&self, rule: &str, offenders: Vec<Named>) -> Measured {
        let listed = self.list(rule);
        let names: BTreeSet<&String> = offenders.iter().map(|(name, _)| name).collect();
        let gone = listed.iter().filter(|(entry, _)| !names.contains(entry));
        let stale = gone.map(|(entry, line)| stale(rule, entry, *line, None)).collect();
        let new = offenders.into_iter().filter(|(name, _)| !listed.contains_key(name));
        Measured { findings: new.map(|(_, finding)| finding).collect(), stale }
    }

    /// Of findings counted by a name (a module, a word), listed as `name count`: some of each name that has more than it may,
    /// and the names that have fewer.
    pub(crate) fn except_counted(&self, rule: &str, findings: Vec<Named>) -> Measured {
        const SHOWN: usize = 10;
        let mut by_name: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
        for (name, finding) in findings {
            by_name.entry(name).or_default().push(finding);
        }
        let mut measured = Measured::default();
        for (entry, line) in self.list(rule) {
            let (name, count) = entry.rsplit_once(' ').unwrap_or((entry, ""));
            let Ok(count) = count.parse::<usize>() else {
                measured.findings.push(Finding::new(PATH, *line, format!("write `name count` in [{rule}]")));
                continue;
            };
            let mut here = by_name.remove(name).unwrap_or_default();
            let now = here.len();
            if now > count {
                here.truncate(SHOWN);
                let excess = format!(" ([{rule}] lets `{name}` have {count} of these, here are {now})");
                for finding in &mut *here {
                    finding.remedy += &excess;
                }
                measured.findings.append(&mut here);
            } else if now < count {
                let instead = (now > 0).then(|| format!("{name} {now}"));
                measured.stale.push(stale(rule, entry, *line, instead));
            }
        }
        measured.findings.extend(by_name.into_values().flatten());
        measured
    }

    fn list(&self, rule: &str) -> &BTreeMap<String, usize> {
        static NONE: BTreeMap<String, usize> = BTreeMap::new();
        self.lists.get(rule).unwrap_or(&NONE)
    }
}

fn stale(rule: &str, entry: &str, line: usize, instead: Option<String>) -> Stale {
    Stale { rule: rule.to_owned(), entry: entry.to_owned(), line, instead }
}
