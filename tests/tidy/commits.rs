//! Commit subjects, from the history where there is one.

use crate::Finding;
use crate::words::Named;

/// The longest subject of a commit, in characters.
pub(crate) const SUBJECT_CHARS_MAX: usize = 72;
/// The rule holds for what came after this commit: history is not written anew.
pub(crate) const SINCE: &str = "34a9fbb";

/// Rule: a subject fits a line of `git log`. `log` has a commit a line: its short hash, a blank, its subject.
pub(crate) fn long_subjects(log: &str) -> Vec<Named> {
    let long = log.lines().enumerate().filter_map(|(at, line)| {
        let (hash, subject) = line.split_once(' ')?;
        let chars = subject.chars().count();
        let remedy = format!(
            "commit {hash} has a subject of {chars} characters, {SUBJECT_CHARS_MAX} are the end: reword it, the reason \
             goes to the body"
        );
        (chars > SUBJECT_CHARS_MAX).then(|| (hash.to_owned(), Finding::new("git log", at + 1, remedy)))
    });
    long.collect()
}
