//! Retained messages by topic, for replay to new subscriptions a page at a time.
//!
//! One ordered map by the topic's bytes. A filter walks it in order and leaps over what cannot match: to its literal
//! beginning, and out of or into the part of a `+` level where the literal level behind it is. A cursor is a place in
//! the order, not in the map, so between two pages anything may be inserted or removed: what was there all the time is
//! visited exactly once.
//!
//! Mind the order: `/` is not the least byte, so `a-b` stands between `a` and `a/b`. Only what begins with `a/` is one
//! contiguous run.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use super::filter::TopicFilter;

/// Topics and what is retained for each.
#[derive(Debug)]
pub struct RetainedTree<V> {
    by_topic: BTreeMap<Box<str>, V>,
}

/// How far a scan has come. Belongs to one filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    at: At,
    topic: String,
}

impl Cursor {
    /// As a text, for somebody who brings it back.
    pub fn to_text(&self) -> String {
        match self.at {
            At::Start => String::new(),
            At::From => format!("from:{}", self.topic),
            At::After => format!("after:{}", self.topic),
            At::End => "end".to_owned(),
        }
    }

    /// From such a text. One that somebody made up is a place like any other.
    pub fn parse(text: &str) -> Option<Self> {
        let place = |at, topic: &str| Some(Self { at, topic: topic.to_owned() });
        match (text, text.strip_prefix("from:"), text.strip_prefix("after:")) {
            ("", ..) => Some(Self::default()),
            ("end", ..) => place(At::End, ""),
            (_, Some(topic), _) => place(At::From, topic),
            (_, _, Some(topic)) => place(At::After, topic),
            _ => None,
        }
    }
}

/// What of the order is still to be scanned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Everything.
    #[default]
    Start,
    /// From the cursor's topic on.
    From,
    /// What comes after the cursor's topic.
    After,
    /// Nothing.
    End,
}

/// Whether a scan has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Every match has been visited.
    Done,
    /// The budget is used up, or the visitor broke off: call again with the same cursor.
    More,
}

/// What one topic means for the scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'f> {
    /// The topic matches: show it.
    Visit,
    /// It does not, and the next one may be anything.
    Next,
    /// Nothing matches before the first `keep` bytes of this topic, followed by `level` and `tail`.
    Leap { keep: usize, level: &'f str, tail: &'static str },
    /// Neither this topic nor any after it matches.
    End,
}

/// The byte after `/` in the order: `a0` is the first string after all that begin with `a/`.
const AFTER_SLASH: &str = "0";
/// The byte after `$`.
const AFTER_DOLLAR: &str = "%";

impl<V> RetainedTree<V> {
    /// A tree without topics, without an allocation.
    pub const fn new() -> Self {
        Self { by_topic: BTreeMap::new() }
    }

    /// What is retained for `topic`.
    pub fn get(&self, topic: &str) -> Option<&V> {
        self.by_topic.get(topic)
    }

    /// The same, to be changed in place.
    pub fn get_mut(&mut self, topic: &str) -> Option<&mut V> {
        self.by_topic.get_mut(topic)
    }

    /// Retains `value` for `topic` and returns what it replaces.
    pub fn insert(&mut self, topic: &str, value: V) -> Option<V> {
        if let Some(known) = self.by_topic.get_mut(topic) {
            return Some(std::mem::replace(known, value));
        }
        self.by_topic.insert(topic.into(), value)
    }

    /// Takes out what is retained for `topic`.
    pub fn remove(&mut self, topic: &str) -> Option<V> {
        self.by_topic.remove(topic)
    }

    /// How many topics there are.
    pub fn len(&self) -> usize {
        self.by_topic.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_topic.is_empty()
    }

    /// All topics in order, `$` topics included: for a snapshot.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.by_topic.iter().map(|(topic, value)| (&**topic, value))
    }

    /// Visits what matches `filter`, in order, from where `cursor` (a new one at first) is, and looks at no more than
    /// `budget` topics, which must not be zero. A visitor that breaks off has had the value that it broke off at.
    pub fn scan(
        &self,
        filter: TopicFilter<'_>,
        cursor: &mut Cursor,
        budget: usize,
        mut visit: impl FnMut(&str, &V) -> ControlFlow<()>,
    ) -> Scan {
        assert!(budget > 0, "a scan without a budget would never end");
        if !filter.has_wildcard() {
            if cursor.at == At::Start
                && let Some(value) = self.get(filter.as_str())
            {
                // There is nothing behind it to break off from.
                let _ = visit(filter.as_str(), value);
            }
            return cursor.end();
        }
        if cursor.at == At::Start {
            cursor.leap("", literal_start(filter), "");
        }
        let mut left = budget;
        loop {
            let from = match cursor.at {
                At::After => Bound::Excluded(cursor.topic.as_str()),
                At::Start | At::From => Bound::Included(cursor.topic.as_str()),
                At::End => return Scan::Done,
            };
            let mut leap = None;
            for (topic, value) in self.by_topic.range::<str, _>((from, Bound::Unbounded)) {
                if left == 0 {
                    cursor.leap("", topic, "");
                    return Scan::More;
                }
                left -= 1;
                match step(filter, topic) {
                    Step::Next => {}
                    Step::End => return cursor.end(),
                    Step::Visit => {
                        if visit(topic, value).is_break() {
                            cursor.leap("", topic, "");
                            cursor.at = At::After;
                            return Scan::More;
                        }
                    }
                    Step::Leap { keep, level, tail } => {
                        leap = Some((&topic[..keep], level, tail));
                        break;
                    }
                }
            }
            let Some((start, level, tail)) = leap else { return cursor.end() };
            cursor.leap(start, level, tail);
        }
    }
}

impl<V> Default for RetainedTree<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl Cursor {
    fn leap(&mut self, start: &str, level: &str, tail: &str) {
        self.topic.clear();
        for part in [start, level, tail] {
            self.topic.push_str(part);
        }
        self.at = At::From;
    }

    fn end(&mut self) -> Scan {
        self.at = At::End;
        self.topic = String::new();
        Scan::Done
    }
}

/// The least string that can match: the filter up to its first wildcard, less the slash before a `#` since `a/#` also
/// matches `a` [MQTT-4.7.1-2].
fn literal_start(filter: TopicFilter<'_>) -> &str {
    let filter = filter.as_str();
    let start = &filter[..filter.find(['+', '#']).unwrap_or(filter.len())];
    if filter[start.len()..].starts_with('#') { start.strip_suffix('/').unwrap_or(start) } else { start }
}

/// What `topic` means for a scan for `filter`.
fn step<'f>(filter: TopicFilter<'f>, topic: &str) -> Step<'f> {
    let filter = filter.as_str();
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return Step::Leap { keep: 0, level: "", tail: AFTER_DOLLAR }; // [MQTT-4.7.2-1]
    }
    // Where the level that the last `+` took ends: what begins like this topic up to there, slash included, is one run.
    let mut run_end = None;
    let leave_run = |run_end: Option<usize>| match run_end {
        Some(keep) => Step::Leap { keep, level: "", tail: AFTER_SLASH },
        None => Step::End,
    };
    let mut start = 0;
    for level in filter.split('/') {
        if level == "#" {
            return Step::Visit;
        }
        if start > topic.len() {
            // Too short. What continues it with a slash may come much later: `a-b` and its like are before `a/`.
            return Step::Next;
        }
        let rest = &topic[start..];
        let end = start + rest.find('/').unwrap_or(rest.len());
        if level == "+" {
            run_end = Some(end);
        } else if topic[start..end] != *level {
            if rest < level {
                return Step::Leap { keep: start, level, tail: "" };
            }
            let is_before_run = rest.strip_prefix(level).is_some_and(|rest| rest < "/");
            if is_before_run {
                return Step::Leap { keep: start, level, tail: "/" };
            }
            return leave_run(run_end);
        }
        start = end + 1;
    }
    if start > topic.len() { Step::Visit } else { leave_run(run_end) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{TopicName, matches};

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::parse(text, 128).unwrap()
    }

    fn tree(topics: &[&str]) -> RetainedTree<usize> {
        let mut tree = RetainedTree::new();
        for (value, topic) in topics.iter().enumerate() {
            assert_eq!(tree.insert(topic, value), None);
        }
        tree
    }

    /// All matches, and how many pages of `budget` they took.
    fn scan_all(tree: &RetainedTree<usize>, text: &str, budget: usize) -> (Vec<String>, usize) {
        let (mut cursor, mut found, mut pages) = (Cursor::default(), Vec::new(), 1);
        let mut visit = |topic: &str, _: &usize| {
            found.push(topic.to_owned());
            ControlFlow::Continue(())
        };
        while tree.scan(filter(text), &mut cursor, budget, &mut visit) == Scan::More {
            pages += 1;
        }
        (found, pages)
    }

    #[test]
    fn a_cursor_that_went_out_as_a_text_goes_on_where_it_was() {
        let mut tree = RetainedTree::new();
        for topic in ["a/1", "a/2", "b/1", "b/2", "c"] {
            tree.insert(topic, ());
        }
        let filter = TopicFilter::parse("+/2", u16::MAX).unwrap();
        let (mut text, mut seen) = (String::new(), Vec::new());
        for _ in 0..10 {
            let mut cursor = Cursor::parse(&text).unwrap();
            let scan = tree.scan(filter, &mut cursor, 1, |topic, ()| {
                seen.push(topic.to_owned());
                ControlFlow::Continue(())
            });
            text = cursor.to_text();
            assert_eq!(Cursor::parse(&text), Some(cursor));
            if scan == Scan::Done {
                break;
            }
        }
        assert_eq!((seen, text.as_str()), (vec!["a/2".to_owned(), "b/2".to_owned()], "end"));
        assert!(Cursor::parse("somewhere").is_none());
    }

    #[test]
    fn a_scan_finds_what_matches_in_whatever_pages() {
        let topics =
            ["a", "a-b", "a-b/c", "a/b", "a/b-x/c", "a/b/c", "a/b/d", "a/b0/c", "a//c", "/", "$SYS/b", "$SYS", "b/b/c"];
        let tree = tree(&topics);
        let filters = [
            "#", "+", "a/#", "a/+", "a/+/c", "a/+/d", "+/b", "+/b/#", "+/+/c", "$SYS/#", "$SYS/+", "a/b", "a/x", "/#",
            "+/+", "a/b/#", "b/+/c", "+/#", "a-b/#", "z/#", "z/+",
        ];
        for text in filters {
            let mut expected: Vec<&str> = topics
                .into_iter()
                .filter(|topic| matches(filter(text), TopicName::parse(topic, 128).unwrap()))
                .collect();
            expected.sort_unstable();
            for budget in [1, 2, 3, 100] {
                assert_eq!(scan_all(&tree, text, budget).0, expected, "{text} by {budget}");
            }
        }
    }

    #[test]
    fn a_scan_leaps_over_what_cannot_match() {
        let topics: Vec<String> =
            (0..100).flat_map(|site| (0..100).map(move |device| format!("s{site:02}/d{device:02}/temp"))).collect();
        let tree = tree(&topics.iter().map(String::as_str).collect::<Vec<_>>());
        let table = [
            ("s42/d17/temp", 1, 1),
            ("s42/#", 100, 101),
            ("+/d17/temp", 100, 301),
            ("+/d17/x", 0, 301),
            ("s42/+/x", 0, 201),
            ("x/#", 0, 1),
            ("#", 10_000, 10_000),
        ];
        for (text, expected, looked_at_max) in table {
            let (found, pages) = scan_all(&tree, text, 1);
            assert_eq!(found.len(), expected, "{text}");
            assert!(pages <= looked_at_max + 1, "{text}: {pages} pages of one topic each");
        }
    }

    #[test]
    fn a_visitor_that_breaks_off_goes_on_behind_the_value() {
        let tree = tree(&["a/1", "a/2", "a/3"]);
        let (mut cursor, mut found) = (Cursor::default(), Vec::new());
        loop {
            let scan = tree.scan(filter("a/+"), &mut cursor, 100, |topic, _| {
                found.push(topic.to_owned());
                ControlFlow::Break(())
            });
            if scan == Scan::Done {
                break;
            }
        }
        assert_eq!(found, ["a/1", "a/2", "a/3"]);
        let again = tree.scan(filter("a/+"), &mut cursor, 100, |_, _| panic!("a scan that is done stays done"));
        assert_eq!(again, Scan::Done);
    }

    #[test]
    fn insert_and_remove_return_what_was_there() {
        let mut tree = tree(&["a"]);
        assert_eq!(tree.insert("a", 7), Some(0));
        *tree.get_mut("a").unwrap() += 1;
        assert_eq!((tree.get("a"), tree.get("b"), tree.len()), (Some(&8), None, 1));
        assert_eq!((tree.remove("a"), tree.remove("a"), tree.is_empty()), (Some(8), None, true));
    }
}
