//! Writes to retained topics that a crash may bring back: the last one that was acknowledged, and whatever came behind it.

use std::collections::BTreeMap;

use super::Key;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// By topic, in their order.
    topics: BTreeMap<String, Vec<Write>>,
    newest: u64,
}

#[derive(Clone, Copy, Debug)]
struct Write {
    serial: u64,
    /// `None`: deleted.
    key: Option<Key>,
    is_told: bool,
}

impl Writes {
    /// A message is retained from now on, or none any more.
    pub(super) fn add(&mut self, topic: &str, key: Option<Key>) {
        self.newest += 1;
        let write = Write { serial: self.newest, key, is_told: false };
        self.topics.entry(topic.to_owned()).or_default().push(write);
    }

    /// The latest write of all.
    pub(super) const fn newest(&self) -> u64 {
        self.newest
    }

    /// A write was acknowledged: none before it comes back.
    pub(super) fn told(&mut self, topic: &str, serial: u64) {
        let Some(writes) = self.topics.get_mut(topic) else { return };
        writes.retain(|write| write.serial >= serial);
        writes.iter_mut().filter(|write| write.serial == serial).for_each(|write| write.is_told = true);
    }

    /// Those that were ever written to.
    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(String::as_str)
    }

    /// What a topic may retain after a crash.
    pub(super) fn may_be(&self, topic: &str) -> Vec<Option<Key>> {
        let writes = self.topics.get(topic).map(Vec::as_slice).unwrap_or_default();
        let before = if writes.first().is_some_and(|write| write.is_told) { None } else { Some(None) };
        before.into_iter().chain(writes.iter().map(|write| write.key)).collect()
    }

    /// After a crash this is what the topic retains.
    pub(super) fn is_now(&mut self, topic: &str, key: Option<Key>) {
        self.newest += 1;
        self.topics.insert(topic.to_owned(), vec![Write { serial: self.newest, key, is_told: true }]);
    }
}
