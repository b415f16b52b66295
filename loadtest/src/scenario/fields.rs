//! One table of a scenario file: keys are asked for one by one, and what nobody asked for is an error.
//!
//! Always holds: the known keys are those that the code asks for, so the error about an unknown one cannot name a key that
//! does not exist, nor forget one that does. A wrong value is noted with its line and read as if it were not there, so that
//! reading goes on and all mistakes are told together.

use std::{cell::RefCell, time::Duration};

use super::document::{Item, Keys, Value};
use super::problem::Problems;
use crate::{suggest, units};

/// A table, and where it stands.
pub(super) struct Fields {
    place: String,
    line: usize,
    keys: Keys,
    asked: RefCell<Vec<&'static str>>,
    problems: Problems,
}

impl Fields {
    pub(super) fn new(place: impl Into<String>, line: usize, keys: Keys, problems: &Problems) -> Self {
        Self { place: place.into(), line, keys, asked: RefCell::new(Vec::new()), problems: problems.clone() }
    }

    /// The table of a key, if it is there.
    pub(super) fn table(&self, key: &'static str) -> Option<Self> {
        let item = self.get(key)?;
        match &item.value {
            Value::Table(keys) => Some(Self::new(self.place_of(key), item.line, keys.clone(), &self.problems)),
            _ => self.wrong(key, item, "a table"),
        }
    }

    /// The tables of `key`, written `[[key]]`.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Self> {
        let Some(item) = self.get(key) else { return Vec::new() };
        let Value::List(values) = &item.value else {
            self.wrong::<()>(key, item, &format!("tables, each [[{key}]]"));
            return Vec::new();
        };
        let table = |(index, one): (usize, &Item)| {
            let Value::Table(keys) = &one.value else { return self.wrong(key, one, "a table") };
            let name = match keys.get("name").map(|item| &item.value) {
                Some(Value::Text(name)) => format!("{key} {name:?}"),
                _ => format!("{key} {}", index + 1),
            };
            Some(Self::new(name, one.line, keys.clone(), &self.problems))
        };
        values.iter().enumerate().filter_map(table).collect()
    }

    /// The items of a list.
    pub(super) fn items(&self, key: &'static str) -> &[Item] {
        match self.get(key) {
            None => &[],
            Some(Item { value: Value::List(values), .. }) => values,
            Some(other) => {
                self.wrong::<()>(key, other, "a list");
                &[]
            }
        }
    }

    pub(super) fn texts(&self, key: &'static str) -> Vec<(usize, String)> {
        let text = |item: &Item| match &item.value {
            Value::Text(text) => Some((item.line, text.clone())),
            _ => self.wrong(key, item, "a text"),
        };
        self.items(key).iter().filter_map(text).collect()
    }

    /// The same without their lines.
    pub(super) fn names(&self, key: &'static str) -> Vec<String> {
        self.texts(key).into_iter().map(|(_, text)| text).collect()
    }

    pub(super) fn text(&self, key: &'static str) -> Option<String> {
        self.read(key, "a text", |value| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        })
    }

    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        self.read(key, "true or false", |value| match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        })
    }

    /// A whole number, or a text such as `"50K"`, that fits the type.
    pub(super) fn count<T: TryFrom<u64>>(&self, key: &'static str) -> Option<T> {
        let most = u64::MAX >> (64 - 8 * size_of::<T>());
        let what = if size_of::<T>() < 8 {
            format!("a whole number such as 1000 or \"1K\", at most {}", units::grouped(most))
        } else {
            "a whole number such as 1000 or \"1K\"".to_owned()
        };
        self.read(key, &what, |value| match value {
            Value::Integer(number) => u64::try_from(*number).ok().and_then(|number| T::try_from(number).ok()),
            Value::Text(text) => units::count(text).ok().and_then(|number| T::try_from(number).ok()),
            _ => None,
        })
    }

    /// A number with or without a point, or a text such as `"1K"`.
    pub(super) fn number(&self, key: &'static str) -> Option<f64> {
        self.read(key, "a number", |value| match value {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::Text(text) => units::count(text).ok().map(|number| number as f64),
            _ => None,
        })
    }

    pub(super) fn size(&self, key: &'static str) -> Option<u32> {
        self.read(key, "a size such as 64 or \"1KiB\"", |value| match value {
            Value::Integer(number) => u32::try_from(*number).ok(),
            Value::Text(text) => units::size(text).ok().and_then(|bytes| u32::try_from(bytes).ok()),
            _ => None,
        })
    }

    /// A span; a plain number counts seconds.
    pub(super) fn span(&self, key: &'static str) -> Option<Duration> {
        self.read(key, "a span of time such as \"30s\"", |value| match value {
            Value::Integer(number) => u64::try_from(*number).ok().map(Duration::from_secs),
            Value::Float(number) => Duration::try_from_secs_f64(*number).ok(),
            Value::Text(text) => units::seconds(text).ok(),
            _ => None,
        })
    }

    /// A span in whole seconds.
    pub(super) fn whole_seconds<T: TryFrom<u64>>(&self, key: &'static str) -> Option<T> {
        let span = self.span(key)?;
        let seconds = if span.subsec_nanos() == 0 { T::try_from(span.as_secs()).ok() } else { None };
        if seconds.is_none() {
            self.error_at(key, &format!("{key} is whole seconds, and no more than the field holds"));
        }
        seconds
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            self.error_at(key, &format!("{key} = {text:?} is not known; {}", suggest::hint(&text, &known)));
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// What must be there. Where it is there and wrong, that has been told.
    pub(super) fn needed<T>(&self, key: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.has(key) {
            self.error(&format!("{key} is missing"));
        }
        value
    }

    pub(super) fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// A problem of the table.
    pub(super) fn error(&self, problem: &str) {
        self.problems.push(self.line, format!("{}: {problem}", self.place));
    }

    /// A problem of a key's value.
    pub(super) fn error_at(&self, key: &str, problem: &str) {
        self.problems.push(self.line_of(key), format!("{}: {problem}", self.place));
    }

    /// Where a key stands; the table where it is not there.
    fn line_of(&self, key: &str) -> usize {
        self.keys.get(key).map_or(self.line, |item| item.line)
    }

    /// Where the table stands.
    pub(super) const fn line(&self) -> usize {
        self.line
    }

    /// Where each key stands, and each key of the tables in it.
    pub(super) fn lines(&self) -> Vec<(String, usize)> {
        let mut lines: Vec<(String, usize)> = self.keys.iter().map(|(key, item)| (key.clone(), item.line)).collect();
        for item in self.keys.values() {
            if let Value::Table(keys) = &item.value {
                lines.extend(keys.iter().map(|(key, item)| (key.clone(), item.line)));
            }
        }
        lines
    }

    /// What the table of a key is called.
    pub(super) fn place_of(&self, key: &str) -> String {
        format!("{} {key}", self.place)
    }

    pub(super) fn problems(&self) -> &Problems {
        &self.problems
    }

    /// Tells every key that was never asked for.
    pub(super) fn finish(self) {
        let known = self.asked.borrow();
        for (key, item) in self.keys.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            let text = format!("{}: unknown key {key:?}; {}", self.place, suggest::hint(key, &known));
            self.problems.push(item.line, text);
        }
    }

    fn get(&self, key: &'static str) -> Option<&Item> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.keys.get(key)
    }

    fn read<T>(&self, key: &'static str, what: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let item = self.get(key)?;
        read(&item.value).or_else(|| self.wrong(key, item, what))
    }

    fn wrong<T>(&self, key: &str, item: &Item, what: &str) -> Option<T> {
        self.problems.push(item.line, format!("{}: {key} = {} is not {what}", self.place, item.value));
        None
    }
}
