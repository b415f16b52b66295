//! Tables of their own kind, such as `[[bridge]]`: each key is read once, by its type, and what is left over is a problem.
//!
//! Always holds: nothing in a table is skipped, and each problem is told with the place of its key.

use std::{ops::Range, ops::RangeInclusive};

use strsim::levenshtein;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::limits;
use crate::settings::Unit;

/// What a name in the configuration may be made of: it stands in client ids, labels and paths of the API.
pub(super) fn is_service_name(name: &str) -> bool {
    let may_be = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= limits::SERVICE_NAME_MAX_BYTES && name.chars().all(may_be)
}

/// Reads the keys of one table.
pub(super) struct TableReader<'r, 'a> {
    /// As messages name it: `[[bridge]]`.
    name: &'static str,
    table: &'r DeTable<'a>,
    span: Range<usize>,
    /// Keys that were asked for.
    known: Vec<&'static str>,
    problems: Vec<(Range<usize>, String)>,
}

impl<'r, 'a> TableReader<'r, 'a> {
    pub(super) const fn new(name: &'static str, table: &'r DeTable<'a>, span: Range<usize>) -> Self {
        Self { name, table, span, known: Vec::new(), problems: Vec::new() }
    }

    /// Where the table begins.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Something is wrong at a place.
    pub(super) fn problem(&mut self, span: &Range<usize>, text: impl Into<String>) {
        self.problems.push((span.clone(), text.into()));
    }

    /// Something is wrong with the value of a key, or with its absence.
    pub(super) fn problem_of(&mut self, key: &str, text: impl Into<String>) {
        let span = self.value(key).map_or_else(|| self.span(), Spanned::span);
        self.problems.push((span, format!("{} {key}: {}", self.name, text.into())));
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// `None` where the key is not there, or holds something else than a string.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            _ => self.wrong(key, "a text"),
        }
    }

    /// A text that must be there.
    pub(super) fn needed_text(&mut self, key: &'static str) -> Option<String> {
        if !self.has(key) {
            self.known.push(key);
            self.problem_of(key, "it is missing");
            return None;
        }
        self.text(key)
    }

    /// Texts: a list, or one alone.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let value = self.take(key)?;
        let texts: Option<Vec<String>> = match value.get_ref() {
            DeValue::String(text) => Some(vec![text.to_string()]),
            DeValue::Array(values) => values.iter().map(|value| value.get_ref().as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        texts.or_else(|| self.wrong(key, "a list of texts"))
    }

    /// Yes or no.
    pub(super) fn switch(&mut self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Boolean(on) => Some(*on),
            _ => self.wrong(key, "true or false"),
        }
    }

    /// A number, with a unit where its kind has one.
    pub(super) fn number(&mut self, key: &'static str, unit: Unit, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.take(key)?;
        let read = match value.get_ref() {
            DeValue::Integer(number) => {
                u64::from_str_radix(number.as_str(), number.radix()).map_err(|_| "it is out of bounds".to_owned())
            }
            DeValue::String(text) => unit.parse(text),
            _ => Err("a number is expected".to_owned()),
        };
        let (least, most) = (*range.start(), *range.end());
        match read {
            Ok(number) if range.contains(&number) => Some(number),
            Ok(_) => {
                self.problem_of(key, format!("allowed is {} to {}", unit.show(least), unit.show(most)));
                None
            }
            Err(text) => {
                self.problem_of(key, text);
                None
            }
        }
    }

    /// One of some words, with what each means.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = match self.take(key)?.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Boolean(on) => on.to_string(),
            _ => String::new(),
        };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.problem_of(key, format!("{text:?} is none of {}", words.join(", ")));
        }
        found
    }

    /// A table within this one, which messages call `name`; what it finds wrong is given back by [`Self::take_problems`].
    pub(super) fn table(&mut self, key: &'static str, name: &'static str) -> Option<Self> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Self::new(name, table, value.span())),
            _ => self.wrong(key, "a table"),
        }
    }

    /// The keys and values of a table of texts, in the order of the file.
    pub(super) fn entries(&mut self, key: &'static str) -> Vec<(String, String)> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else { return self.wrong(key, "a table").unwrap_or_default() };
        let mut in_order: Vec<_> = table.iter().collect();
        in_order.sort_by_key(|(name, _)| name.span().start);
        let mut entries = Vec::new();
        for (name, value) in in_order {
            match value.get_ref().as_str() {
                Some(text) => entries.push((name.get_ref().to_string(), text.to_owned())),
                None => self.problem_of(key, format!("{} is no text", name.get_ref())),
            }
        }
        entries
    }

    /// A text that something is made of; `make` says what is wrong with it.
    pub(super) fn made<T>(&mut self, key: &'static str, make: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(key)?;
        match make(&text) {
            Ok(made) => Some(made),
            Err(wrong) => {
                self.problem_of(key, wrong);
                None
            }
        }
    }

    /// A duration in milliseconds: `250ms`, or as other durations are written.
    pub(super) fn millis(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let is_in_ms = |text: &str| text.trim().strip_suffix("ms").map(str::trim).map(str::to_owned);
        let in_ms = self.value(key).and_then(|value| value.get_ref().as_str()).and_then(is_in_ms);
        let Some(number) = in_ms else {
            let seconds = self.number(key, Unit::Seconds, range.start().div_ceil(1_000)..=range.end() / 1_000)?;
            return Some(seconds * 1_000);
        };
        self.known.push(key);
        let read = number.parse().ok().filter(|number| range.contains(number));
        if read.is_none() {
            self.problem_of(key, format!("allowed is {}ms to {}ms", range.start(), range.end()));
        }
        read
    }

    /// Takes over what a table within this one has found wrong, unknown keys among it.
    pub(super) fn take_problems(&mut self, inner: Self) {
        self.problems.extend(inner.finish());
    }

    /// Whether a key has this word for its value, which then is read.
    pub(super) fn value_is(&mut self, key: &'static str, word: &str) -> bool {
        let is_word = self.value(key).is_some_and(|value| value.get_ref().as_str() == Some(word));
        if is_word {
            self.known.push(key);
        }
        is_word
    }

    /// What is wrong, once all keys that there may be have been asked for.
    pub(super) fn finish(mut self) -> Vec<(Range<usize>, String)> {
        for (key, _) in self.table {
            let name = &**key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let nearest = self.known.iter().min_by_key(|known| levenshtein(known, name));
            let near = nearest.filter(|known| levenshtein(known, name) <= name.len() / 3 + 1);
            let hint = match near {
                Some(near) => format!("did you mean {near}?"),
                None => format!("{} takes {}", self.name, self.known.join(", ")),
            };
            self.problems.push((key.span(), format!("unknown key {name:?} in {}; {hint}", self.name)));
        }
        self.problems
    }

    fn value(&self, key: &str) -> Option<&'r Spanned<DeValue<'a>>> {
        self.table.iter().find(|(known, _)| **known.get_ref() == *key).map(|(_, value)| value)
    }

    fn take(&mut self, key: &'static str) -> Option<&'r Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.value(key)
    }

    fn wrong<T>(&mut self, key: &str, expected: &str) -> Option<T> {
        self.problem_of(key, format!("{expected} is expected"));
        None
    }
}
