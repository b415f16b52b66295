//! What a configuration that was read again changes.
//!
//! Always holds: each change is told by a name, with what was and what is.
//! Leaves to others: finding them (`reload`), but for tables of connectors, which are compared here.

use std::sync::Arc;

/// One setting that is another than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// As the file has it.
    pub name: String,
    /// What it was, as a flag would have it.
    pub old: String,
    /// What it is now.
    pub new: String,
}

/// What reading the configuration again has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In effect from now on.
    pub now: Vec<Changed>,
    /// Left as it was until the broker starts again.
    pub at_start: Vec<Changed>,
}

/// What bridges, sinks and sources have in common in the file: each is told of by its name.
pub(super) trait ConnectorTable: PartialEq {
    /// What the file calls a table of this kind, without brackets.
    const SECTION: &'static str;

    /// The connector's own.
    fn name(&self) -> &str;

    /// Where its messages come from or go to, for whoever is told that it has changed.
    fn told(&self) -> String;
}

/// Connectors of a kind that come, go, or are others than before.
pub(super) fn changed_tables<T: ConnectorTable>(old: &[Arc<T>], new: &[Arc<T>]) -> Vec<Changed> {
    let changed = |name: &str, old: Option<&T>, new: Option<&T>| {
        let told = |table: Option<&T>| table.map_or("none".to_owned(), T::told);
        Changed { name: format!("[[{}]] {name}", T::SECTION), old: told(old), new: told(new) }
    };
    let mut changes = Vec::new();
    for before in old {
        let after = named(new, before.name());
        if after.is_none_or(|after| after != before.as_ref()) {
            changes.push(changed(before.name(), Some(before), after));
        }
    }
    let comes = new.iter().filter(|after| named(old, after.name()).is_none());
    changes.extend(comes.map(|after| changed(after.name(), None, Some(after))));
    changes
}

fn named<'a, T: ConnectorTable>(tables: &'a [Arc<T>], name: &str) -> Option<&'a T> {
    tables.iter().map(AsRef::as_ref).find(|table: &&T| table.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(PartialEq)]
    struct SampleTable {
        name: &'static str,
        place: &'static str,
        more: &'static str,
    }

    impl ConnectorTable for SampleTable {
        const SECTION: &'static str = "sample";

        fn name(&self) -> &str {
            self.name
        }

        fn told(&self) -> String {
            self.place.to_owned()
        }
    }

    /// From its name, its place, and whatever else it may have.
    fn table(text: &'static str) -> Arc<SampleTable> {
        let mut words = text.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default();
        Arc::new(SampleTable { name: word(), place: word(), more: word() })
    }

    #[test]
    fn who_goes_changes_and_comes_is_told_by_name_and_who_stays_is_not() {
        let old = ["goes a", "moves b", "stays c", "hushes d"].map(table);
        let new = ["comes e", "hushes d quietly", "stays c", "moves f"].map(table);
        let told: Vec<(String, String, String)> =
            changed_tables(&old, &new).into_iter().map(|Changed { name, old, new }| (name, old, new)).collect();
        let expected = [
            ("[[sample]] goes", "a", "none"),
            ("[[sample]] moves", "b", "f"),
            ("[[sample]] hushes", "d", "d"),
            ("[[sample]] comes", "none", "e"),
        ];
        assert_eq!(told, expected.map(|(name, old, new)| (name.to_owned(), old.to_owned(), new.to_owned())));
    }
}
