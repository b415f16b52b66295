//! The last lines of the log, for whoever reads them without a way to the machine.
//!
//! Owns: copies of those lines, which the writer's thread makes.
//! Always holds: they are bounded in number and bytes, the oldest go first; a password that the log tells once is not among them.
//! Leaves to others: who may read them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::limits::{LOG_RECENT_LINES, LOG_RECENT_MAX_BYTES};

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentLine {
    /// Counted from 1 since the start of the process.
    pub number: u64,
    /// As it was written, without its end. One for the journal has its time in place of the priority.
    pub text: Box<str>,
}

/// The lines that are kept.
#[derive(Debug)]
struct RecentLines {
    lines: VecDeque<RecentLine>,
    bytes: usize,
    last: u64,
}

static RECENT: Mutex<RecentLines> = Mutex::new(RecentLines { lines: VecDeque::new(), bytes: 0, last: 0 });

/// The newest lines after the one with a number, `most` of them, oldest first.
pub fn recent_lines(after: u64, most: usize) -> Vec<RecentLine> {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner).after(after, most)
}

/// A line was written.
pub(super) fn keep(line: &[u8]) {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner).keep(line);
}

impl RecentLines {
    fn keep(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = with_time(text.trim_end_matches('\n'));
        if has_password(&text) {
            return;
        }
        self.last += 1;
        self.bytes += text.len();
        self.lines.push_back(RecentLine { number: self.last, text: text.into_boxed_str() });
        while self.lines.len() > LOG_RECENT_LINES || self.bytes > LOG_RECENT_MAX_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.text.len();
        }
    }

    fn after(&self, after: u64, most: usize) -> Vec<RecentLine> {
        let newer = self.lines.iter().rev().take_while(|line| line.number > after);
        let mut found: Vec<RecentLine> = newer.take(most).cloned().collect();
        found.reverse();
        found
    }
}

/// A line with its time first, as it stands in every log but the journal, which has times of its own.
fn with_time(line: &str) -> String {
    let for_journal = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let Some((_, rest)) = for_journal else { return line.to_owned() };
    // An object has its time in it.
    if rest.starts_with('{') {
        return rest.to_owned();
    }
    let mut time = String::new();
    // A string takes everything.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    format!("{time} {rest}")
}

/// Whether it is the line that tells a password, in either format.
fn has_password(line: &str) -> bool {
    line.split_whitespace().nth(2) == Some("admin_password") || line.contains("\"event\":\"admin_password\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> RecentLines {
        RecentLines { lines: VecDeque::new(), bytes: 0, last: 0 }
    }

    #[test]
    fn the_newest_lines_are_kept_within_a_number_and_bytes() {
        let mut recent = none();
        for number in 0..LOG_RECENT_LINES + 5 {
            recent.keep(format!("line {number}\n").as_bytes());
        }
        let all = recent.after(0, usize::MAX);
        assert_eq!((all.len(), all[0].number, &*all[0].text), (LOG_RECENT_LINES, 6, "line 5"));
        let newest = recent.after(0, 2);
        assert_eq!(newest.iter().map(|line| line.number).collect::<Vec<_>>(), [1_004, 1_005]);
        assert!(recent.after(1_005, 10).is_empty());
        recent.keep(&vec![b'x'; LOG_RECENT_MAX_BYTES]);
        assert_eq!((recent.lines.len(), recent.bytes), (1, LOG_RECENT_MAX_BYTES));
        recent.keep(&vec![b'x'; LOG_RECENT_MAX_BYTES + 1]);
        assert_eq!((recent.lines.len(), recent.bytes), (0, 0), "one that is larger than all may be is none");
    }

    #[test]
    fn lines_for_the_journal_have_a_time_and_no_priority() {
        let mut recent = none();
        recent.keep(b"<6>INFO  client_connected client=<4>x\n");
        recent.keep(b"<6>{\"time\":\"t\",\"level\":\"info\",\"event\":\"ready\"}\n");
        recent.keep(b"<4>WARN  admin_password user=admin password=secret\n");
        recent.keep(b"<4>{\"time\":\"t\",\"level\":\"warn\",\"event\":\"admin_password\",\"password\":\"secret\"}\n");
        let lines = recent.after(0, 10);
        assert_eq!(lines.len(), 2, "a password is not kept: {lines:?}");
        let (time, rest) = lines[0].text.split_once(' ').expect("a time, and the line");
        assert_eq!(rest, "INFO  client_connected client=<4>x");
        assert!(time.len() == "2026-03-01T12:00:00.123456Z".len() && time.ends_with('Z'), "{time}");
        assert_eq!(&*lines[1].text, "{\"time\":\"t\",\"level\":\"info\",\"event\":\"ready\"}");
    }

    #[test]
    fn a_password_is_not_kept_and_who_is_called_like_its_line_is() {
        let mut recent = none();
        recent.keep(b"2026-03-01T12:00:00Z WARN  admin_password user=admin password=secret\n");
        recent.keep(b"{\"time\":\"t\",\"level\":\"warn\",\"event\":\"admin_password\",\"password\":\"secret\"}\n");
        assert!(recent.after(0, 10).is_empty());
        recent.keep(b"2026-03-01T12:00:00Z INFO  client_connected client=admin_password\n");
        assert_eq!(recent.after(0, 10).len(), 1);
    }
}
