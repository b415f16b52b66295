//! What files of ours in TOML have in common: errors by line, groups of users, lists of names and of networks.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::acl::PeerNetwork;

/// What is wrong in a file, and in which line, from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text}")]
pub struct LineError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub text: Box<str>,
}

/// User names by the name of their group.
pub(super) type Groups = BTreeMap<String, Vec<Box<str>>>;

/// A file's text.
#[derive(Clone, Copy, Debug)]
pub(super) struct TomlText<'a>(&'a str);

impl<'a> TomlText<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The line that something stands in.
    pub(super) fn line(self, span: &Range<usize>) -> usize {
        self.0.get(..span.start).unwrap_or(self.0).matches('\n').count() + 1
    }

    pub(super) fn error(self, span: &Range<usize>, text: impl Into<Box<str>>) -> LineError {
        LineError { line: self.line(span), text: text.into() }
    }

    /// The whole of it.
    pub(super) fn document(self) -> Result<Spanned<DeTable<'a>>, LineError> {
        DeTable::parse(self.0).map_err(|error| {
            let words = error.message().lines().map(str::trim).collect::<Vec<_>>().join(" ");
            self.error(&error.span().unwrap_or_default(), format!("this is not TOML: {words}"))
        })
    }

    /// The section of that name, which need not be there.
    pub(super) fn groups(self, sections: &DeTable<'_>) -> Result<Groups, LineError> {
        let mut groups = BTreeMap::new();
        if let Some((key, value)) = sections.iter().find(|(key, _)| &**key.get_ref() == "groups") {
            let DeValue::Table(table) = value.get_ref() else {
                return Err(self.error(&key.span(), "groups is a section: write [groups] on a line of its own"));
            };
            for (name, members) in table {
                groups.insert(name.get_ref().to_string(), self.texts(members, "user names")?);
            }
        }
        Ok(groups)
    }

    /// The users of some groups.
    pub(super) fn members(self, value: &Spanned<DeValue<'_>>, groups: &Groups) -> Result<Vec<Box<str>>, LineError> {
        let mut members = Vec::new();
        for group in self.texts(value, "names of groups")? {
            let unknown = || self.error(&value.span(), format!("no group is called {group:?}"));
            members.extend(groups.get(&*group).ok_or_else(unknown)?.iter().cloned());
        }
        Ok(members)
    }

    /// One text or a list of them; an empty list would read like "all" and is refused.
    pub(super) fn texts(self, value: &Spanned<DeValue<'_>>, what: &str) -> Result<Vec<Box<str>>, LineError> {
        let texts = match value.get_ref() {
            DeValue::String(text) => Some(vec![Box::from(&**text)]),
            DeValue::Array(values) => values.iter().map(|value| value.get_ref().as_str().map(Box::from)).collect(),
            _ => None,
        };
        let texts: Option<Vec<Box<str>>> = texts.filter(|texts: &Vec<Box<str>>| !texts.is_empty());
        texts.ok_or_else(|| self.error(&value.span(), format!("here stand {what}: a text or a list of some")))
    }

    pub(super) fn networks(self, value: &Spanned<DeValue<'_>>) -> Result<Vec<PeerNetwork>, LineError> {
        let read = |text: &str| {
            let (address, bits) = text.split_once('/').unwrap_or((text, ""));
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = if text.contains('/') { bits.parse().ok().filter(|bits| *bits <= most)? } else { most };
            Some(PeerNetwork { address, bits })
        };
        let unknown = |text: &str| {
            let wrong = format!("{text:?} is no network: write 10.0.0.0/8, 2001:db8::/32 or an address");
            self.error(&value.span(), wrong)
        };
        self.texts(value, "networks")?.iter().map(|text| read(text).ok_or_else(|| unknown(text))).collect()
    }
}
