//! When certificates and revocation lists end, and what is said of that before and after.
//!
//! Always holds: nothing here looks at a clock or a file; each mark before an end is told once while the broker runs, and at each start and
//! reload what holds then.

use super::problem::place_name;
use crate::limits::TLS_EXPIRY_WARNING_DAYS;
use crate::settings::ExpiredLists;

const DAY_S: i64 = 24 * 60 * 60;
/// Days before the end of a certificate at which a broker that runs says so.
const CERTIFICATE_MARKS: &[i64] = &[TLS_EXPIRY_WARNING_DAYS, 14, 7, 3, 1, 0];
/// Lists are made anew each day or week: whoever does that needs no word before.
const LIST_MARKS: &[i64] = &[1, 0];

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndOf {
    /// A certificate that a listener shows.
    Certificate,
    /// A list that client certificates are looked up in, and what holds once it has expired.
    RevocationList(ExpiredLists),
}

/// A file that is good for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileEnd {
    pub(super) of: EndOf,
    /// The listener that uses it.
    pub(super) listener: String,
    pub(super) file: String,
    /// In Unix seconds.
    pub(super) end_s: i64,
}

impl FileEnd {
    /// What is worth a word now, if anything is.
    pub(super) fn warning(&self, now_s: i64) -> Option<String> {
        let left_s = self.end_s - now_s;
        let first_mark = self.marks()[0];
        if left_s > first_mark * DAY_S {
            return None;
        }
        let (place, file) = (place_name(&self.listener), &self.file);
        let days = (left_s.abs() / DAY_S, if left_s < 0 { "ago" } else { "left" });
        Some(match (self.of, days) {
            (EndOf::Certificate, (days, "left")) => format!("{place} tls_cert: {file} expires in {days} days"),
            (EndOf::Certificate, (days, _)) => {
                format!("{place} tls_cert: {file} expired {days} days ago: clients refuse it")
            }
            (EndOf::RevocationList(_), (days, "left")) => {
                format!("{place} tls_crl: a list of {file} expires in {days} days: a newer one is due")
            }
            (EndOf::RevocationList(ExpiredLists::Refuse), (days, _)) => format!(
                "{place} tls_crl: a list of {file} expired {days} days ago: clients whose certificates it is about are refused"
            ),
            (EndOf::RevocationList(ExpiredLists::Accept), (days, _)) => {
                format!(
                    "{place} tls_crl: a list of {file} expired {days} days ago: what was revoked since is not known"
                )
            }
        })
    }

    /// What is to be told now that was not at `before_s`: a mark lies between.
    pub(super) fn due(&self, before_s: i64, now_s: i64) -> Option<String> {
        let is_passed = self.mark_times().any(|mark_s| before_s < mark_s && mark_s <= now_s);
        if is_passed { self.warning(now_s) } else { None }
    }

    /// When there may be something to tell after this.
    pub(super) fn next_mark_s(&self, now_s: i64) -> Option<i64> {
        self.mark_times().filter(|mark_s| *mark_s > now_s).min()
    }

    /// Behind the end a second more: an end is the last moment at which it is good.
    fn mark_times(&self) -> impl Iterator<Item = i64> + '_ {
        self.marks().iter().map(|days| self.end_s - days * DAY_S + i64::from(*days == 0))
    }

    const fn marks(&self) -> &'static [i64] {
        match self.of {
            EndOf::Certificate => CERTIFICATE_MARKS,
            EndOf::RevocationList(_) => LIST_MARKS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END_S: i64 = 100 * DAY_S;

    fn end(of: EndOf) -> FileEnd {
        FileEnd { of, listener: "secure".into(), file: "a.pem".into(), end_s: END_S }
    }

    #[test]
    fn each_mark_is_told_once_and_nothing_between_them() {
        let lists = EndOf::RevocationList(ExpiredLists::Refuse);
        for (of, marks) in [(EndOf::Certificate, &[30, 14, 7, 3, 1, 0][..]), (lists, &[1, 0])] {
            let end = end(of);
            // Looked at every hour, from forty days before to two days after the end.
            let hours = (END_S - 40 * DAY_S..END_S + 2 * DAY_S).step_by(3_600);
            let told: Vec<i64> = hours
                .filter(|now_s| end.due(now_s - 3_600, *now_s).is_some())
                .map(|now_s| (END_S - now_s).div_euclid(DAY_S))
                .collect();
            let expected: Vec<i64> = marks.iter().map(|days| if *days == 0 { -1 } else { *days }).collect();
            assert_eq!(told, expected, "{of:?}");
            for days in marks {
                let at_s = END_S - days * DAY_S + i64::from(*days == 0);
                assert!(end.due(at_s - 1, at_s).is_some(), "{days}");
                assert_eq!(end.due(at_s, at_s + 1), None, "{days}: once");
                assert_eq!(end.next_mark_s(at_s - 1), Some(at_s), "{days}");
            }
            assert_eq!(end.next_mark_s(END_S + 1), None);
        }
    }

    #[test]
    fn what_is_told_says_how_long_it_is_and_what_comes_of_it() {
        let lists = |expired| end(EndOf::RevocationList(expired));
        let (refuse, accept) = (lists(ExpiredLists::Refuse), lists(ExpiredLists::Accept));
        for (end, left_s, expected) in [
            (end(EndOf::Certificate), 30 * DAY_S + 1, None),
            (end(EndOf::Certificate), 30 * DAY_S, Some("[[listener]] secure tls_cert: a.pem expires in 30 days")),
            (end(EndOf::Certificate), 0, Some("[[listener]] secure tls_cert: a.pem expires in 0 days")),
            (end(EndOf::Certificate), -2 * DAY_S, Some("a.pem expired 2 days ago: clients refuse it")),
            (refuse.clone(), DAY_S + 1, None),
            (refuse.clone(), DAY_S, Some("[[listener]] secure tls_crl: a list of a.pem expires in 1 days")),
            (refuse, -1, Some("expired 0 days ago: clients whose certificates it is about are refused")),
            (accept, -DAY_S, Some("expired 1 days ago: what was revoked since is not known")),
        ] {
            let told = end.warning(END_S - left_s);
            match expected {
                Some(text) => assert!(told.as_deref().is_some_and(|told| told.contains(text)), "{left_s}: {told:?}"),
                None => assert_eq!(told, None, "{left_s}"),
            }
        }
    }
}
