//! TOML with the line of every key: so that a mistake is told with the place where it is.
//!
//! Owns: reading a text into tables whose entries know their lines. Leaves to others: which keys there are, and what their
//! values mean.

use std::{collections::BTreeMap, fmt};

use toml::de::{DeTable, DeValue};

use super::problem::Problems;

/// A table: its keys, each with its value.
pub(super) type Keys = BTreeMap<String, Item>;

/// A value and the line where its key stands; in a list, the line where the value itself begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    List(Vec<Item>),
    Table(Keys),
    /// A date, which no key takes.
    Date(String),
}

/// Reads a text. Whatever is no TOML is told, all of it at once.
pub(super) fn read(text: &str, problems: &Problems) -> Option<Keys> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let lines = Lines::new(text);
    let has_failed = !errors.is_empty();
    for error in errors {
        let line = error.span().map_or(1, |span| lines.of(span.start));
        problems.push(line, format!("this is not TOML: {}", error.message()));
    }
    (!has_failed).then(|| keys(table.get_ref(), &lines))
}

fn keys(table: &DeTable<'_>, lines: &Lines) -> Keys {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let key: &toml::Spanned<std::borrow::Cow<'_, str>> = key;
        let line = lines.of(key.span().start);
        (key.get_ref().clone().into_owned(), Item { line, value: self::value(value.get_ref(), lines) })
    };
    table.iter().map(entry).collect()
}

fn value(value: &DeValue<'_>, lines: &Lines) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(number) => {
            // What no counting number holds is shown as it stands, and is then none.
            i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Value::Date(number.as_str().to_owned()), Value::Integer)
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(values) => {
            let item = |one: &toml::Spanned<DeValue<'_>>| Item {
                line: lines.of(one.span().start),
                value: self::value(one.get_ref(), lines),
            };
            Value::List(values.iter().map(item).collect())
        }
        DeValue::Table(table) => Value::Table(keys(table, lines)),
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Date(text) => f.write_str(text),
            Self::List(_) => f.write_str("a list"),
            Self::Table(_) => f.write_str("a table"),
        }
    }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect())
    }

    /// From 1.
    fn of(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_knows_its_line() {
        let problems = Problems::default();
        let text = "a = 1\n\n[b]\nc = 'x'\nd = [\n  2,\n  { e = true },\n]\n[[g]]\nh = 0x1f\n[[g]]\nh = 1.5\n";
        let keys = read(text, &problems).unwrap();
        assert_eq!(keys["a"], Item { line: 1, value: Value::Integer(1) });
        let Value::Table(b) = &keys["b"].value else { panic!("a table") };
        assert_eq!((b["c"].line, &b["c"].value), (4, &Value::Text("x".to_owned())));
        let Value::List(d) = &b["d"].value else { panic!("a list") };
        assert_eq!((b["d"].line, d[0].line, d[1].line), (5, 6, 7));
        let Value::List(g) = &keys["g"].value else { panic!("tables") };
        let h: Vec<(usize, &Value)> = g
            .iter()
            .map(|one| match &one.value {
                Value::Table(table) => (table["h"].line, &table["h"].value),
                other => panic!("{other}"),
            })
            .collect();
        assert_eq!(h, [(10, &Value::Integer(31)), (12, &Value::Float(1.5))]);
        assert!(problems.is_empty());
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let problems = Problems::default();
        assert_eq!(read("a = 1\nb = = 2\nc = 3\nd = [1,\n", &problems), None);
        let lines: Vec<usize> = problems.take().iter().map(|problem| problem.line).collect();
        assert!(lines.contains(&2) && lines.len() > 1, "{lines:?}");
    }
}
