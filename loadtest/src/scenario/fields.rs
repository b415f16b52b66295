//! One table of a scenario file: keys are asked for one by one, and what nobody asked for is an error.
//!
//! Always holds: the known keys are those that the code asks for, so the error about an unknown one cannot name a key that
//! does not exist, nor forget one that does.

use std::{cell::RefCell, time::Duration};

use toml::{Table, Value};

use crate::{suggest, units};

/// A table, and where it stands.
pub(super) struct Fields {
    place: String,
    table: Table,
    asked: RefCell<Vec<&'static str>>,
}

impl Fields {
    pub(super) fn new(place: impl Into<String>, table: Table) -> Self {
        Self { place: place.into(), table, asked: RefCell::new(Vec::new()) }
    }

    /// The table of `key`'s value, or an empty one.
    pub(super) fn table(&self, key: &'static str) -> Result<Option<Self>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Table(table)) => Ok(Some(Self::new(format!("{} {key}", self.place), table.clone()))),
            Some(other) => Err(self.wrong(key, other, "a table")),
        }
    }

    /// The tables of `key`, written `[[key]]`.
    pub(super) fn tables(&self, key: &'static str) -> Result<Vec<Self>, String> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let Value::Array(values) = value else {
            return Err(self.wrong(key, value, &format!("tables, each [[{key}]]")));
        };
        let table = |(index, value): (usize, &Value)| match value {
            Value::Table(table) => {
                let name = table.get("name").and_then(Value::as_str);
                let place = name.map_or_else(|| format!("{key} {}", index + 1), |name| format!("{key} {name:?}"));
                Ok(Self::new(place, table.clone()))
            }
            other => Err(self.wrong(key, other, "a table")),
        };
        values.iter().enumerate().map(table).collect()
    }

    pub(super) fn values(&self, key: &'static str) -> Result<&[Value], String> {
        match self.get(key) {
            None => Ok(&[]),
            Some(Value::Array(values)) => Ok(values),
            Some(other) => Err(self.wrong(key, other, "a list")),
        }
    }

    pub(super) fn texts(&self, key: &'static str) -> Result<Vec<String>, String> {
        let text =
            |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| self.wrong(key, value, "a list of texts"));
        self.values(key)?.iter().map(text).collect()
    }

    pub(super) fn text(&self, key: &'static str) -> Result<Option<String>, String> {
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| self.wrong(key, value, "a text"));
        self.get(key).map(text).transpose()
    }

    pub(super) fn flag(&self, key: &'static str) -> Result<Option<bool>, String> {
        self.get(key).map(|value| value.as_bool().ok_or_else(|| self.wrong(key, value, "true or false"))).transpose()
    }

    /// A whole number, or a text such as `"50K"`, that fits the type.
    pub(super) fn count<T: TryFrom<u64>>(&self, key: &'static str) -> Result<Option<T>, String> {
        self.read(key, "a whole number such as 1000 or \"1K\"", |value| match value {
            Value::Integer(number) => u64::try_from(*number).ok().and_then(|number| T::try_from(number).ok()),
            Value::String(text) => units::count(text).ok().and_then(|number| T::try_from(number).ok()),
            _ => None,
        })
    }

    /// A number with or without a point, or a text such as `"1K"`.
    pub(super) fn number(&self, key: &'static str) -> Result<Option<f64>, String> {
        self.read(key, "a number", |value| match value {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::String(text) => units::count(text).ok().map(|number| number as f64),
            _ => None,
        })
    }

    pub(super) fn size(&self, key: &'static str) -> Result<Option<u32>, String> {
        self.read(key, "a size such as 64 or \"1KiB\"", |value| match value {
            Value::Integer(number) => u32::try_from(*number).ok(),
            Value::String(text) => units::size(text).ok().and_then(|bytes| u32::try_from(bytes).ok()),
            _ => None,
        })
    }

    /// A span; a plain number counts seconds.
    pub(super) fn span(&self, key: &'static str) -> Result<Option<Duration>, String> {
        self.read(key, "a span of time such as \"30s\"", |value| match value {
            Value::Integer(number) => u64::try_from(*number).ok().map(Duration::from_secs),
            Value::Float(number) => Duration::try_from_secs_f64(*number).ok(),
            Value::String(text) => units::seconds(text).ok(),
            _ => None,
        })
    }

    /// A span in whole seconds.
    pub(super) fn whole_seconds<T: TryFrom<u64>>(&self, key: &'static str) -> Result<Option<T>, String> {
        let Some(span) = self.span(key)? else { return Ok(None) };
        let seconds = (span.subsec_nanos() == 0).then(|| T::try_from(span.as_secs()).ok()).flatten();
        seconds
            .map(Some)
            .ok_or_else(|| format!("{}: {key} is whole seconds, and no more than the field holds", self.place))
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Result<Option<T>, String> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => Err(format!("{}: {key} = {text:?} is not known; {}", self.place, suggest::hint(&text, &known))),
        }
    }

    /// What must be there.
    pub(super) fn needed<T>(&self, key: &'static str, value: Option<T>) -> Result<T, String> {
        value.ok_or_else(|| format!("{}: {key} is missing", self.place))
    }

    pub(super) fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn error(&self, problem: &str) -> String {
        format!("{}: {problem}", self.place)
    }

    /// Fails if the table holds a key that was never asked for.
    pub(super) fn finish(self) -> Result<(), String> {
        let known = self.asked.borrow();
        match self.table.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(format!("{}: unknown key {key:?}; {}", self.place, suggest::hint(key, &known))),
        }
    }

    fn get(&self, key: &'static str) -> Option<&Value> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.table.get(key)
    }

    fn read<T>(&self, key: &'static str, what: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, String> {
        self.get(key).map(|value| read(value).ok_or_else(|| self.wrong(key, value, what))).transpose()
    }

    fn wrong(&self, key: &str, value: &Value, what: &str) -> String {
        format!("{}: {key} = {value} is not {what}", self.place)
    }
}
