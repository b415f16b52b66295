//! Numbers as operators write them: `1MB`, `64KiB`, `30s`, `7d`, `100_000`.
//!
//! Owns: reading and writing of sizes, durations and counts.
//! Always holds: a unit is never guessed. `MB` is 10^6 and `MiB` is 2^20 bytes; `1M` is refused because it could be
//! either. A plain number counts the setting's own unit (bytes or seconds). What [`Unit::show`] writes,
//! [`Unit::parse`] reads back as the same number.

/// What the number of a setting counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things: connections, messages, levels.
    Count,
    /// Sizes, with or without a suffix such as `KiB`.
    Bytes,
    /// Durations, with or without a suffix such as `m`.
    Seconds,
}

/// Suffixes of sizes with their bytes; matched without regard to case, written as spelled here.
pub(super) const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Suffixes of durations with their seconds; matched without regard to case, written as spelled here.
pub(super) const DURATIONS: &[(&str, u64)] = &[("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)];

/// Durations that are read but never written.
const DURATIONS_LONG: &[(&str, u64)] = &[("sec", 1), ("min", 60)];

impl Unit {
    /// The number that `text` stands for, or what is wrong with it in words.
    pub fn parse(self, text: &str) -> Result<u64, String> {
        match self {
            Self::Count => digits(text).ok_or_else(|| format!("{text:?} is not a whole number such as 1000 or 1_000")),
            Self::Bytes => bytes(text),
            Self::Seconds => seconds(text),
        }
    }

    /// `number` in the largest unit that expresses it exactly.
    pub fn show(self, number: u64) -> String {
        let units = match self {
            Self::Count => return grouped(number),
            Self::Bytes => SIZES,
            Self::Seconds => DURATIONS,
        };
        // Weeks are read but not written: "14d" is easier to compare with "30d" than "2w" is.
        let largest = units
            .iter()
            .filter(|(suffix, factor)| {
                number != 0 && number.is_multiple_of(*factor) && *suffix != "w" && *suffix != "B"
            })
            .max_by_key(|(_, factor)| *factor);
        match largest {
            Some((suffix, factor)) => format!("{}{suffix}", number / factor),
            None if self == Self::Seconds => format!("{number}s"),
            None => number.to_string(),
        }
    }

    /// The word for a plain number in `--help`.
    pub const fn value_name(self) -> &'static str {
        match self {
            Self::Count => "N",
            Self::Bytes => "BYTES",
            Self::Seconds => "SECONDS",
        }
    }
}

/// With `_` between thousands where a reader would otherwise count digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    if digits.len() < 6 {
        return digits;
    }
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// A whole number, with `_` allowed between digits.
fn digits(text: &str) -> Option<u64> {
    let text = text.trim();
    let (begins, ends) = (text.starts_with('_'), text.ends_with('_'));
    if text.is_empty() || begins || ends || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_') {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// One number and its suffix: where the digits end.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    (number, rest.trim_start())
}

fn find(units: &[(&str, u64)], suffix: &str) -> Option<u64> {
    units.iter().find(|(name, _)| name.eq_ignore_ascii_case(suffix)).map(|(_, factor)| *factor)
}

fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, suffix) = split(text);
    let factor = if suffix.is_empty() { Some(1) } else { find(SIZES, suffix) };
    match (digits(number), factor) {
        (Some(number), Some(factor)) => {
            number.checked_mul(factor).ok_or_else(|| format!("{text:?} is more than any size can be"))
        }
        (Some(number), None) if ["k", "m", "g", "t"].iter().any(|letter| letter.eq_ignore_ascii_case(suffix)) => {
            let letter = suffix.to_ascii_uppercase();
            Err(format!(
                "{text:?} could mean two sizes: write {number}{letter}B (powers of 1000) or \
                 {number}{letter}iB (powers of 1024)"
            ))
        }
        _ => Err(format!(
            "{text:?} is not a size: write bytes as a whole number, or with B, KB, MB, GB, KiB, MiB or GiB"
        )),
    }
}

fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "{text:?} is not a duration: write seconds as a whole number, or with s, m, h, d or w, as in 90s or 1h30m"
        )
    };
    if let Some(number) = digits(text) {
        return Ok(number);
    }
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let (number, tail) = split(rest);
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (suffix, tail) = tail.split_at(end);
        let factor = find(DURATIONS, suffix).or_else(|| find(DURATIONS_LONG, suffix)).ok_or_else(wrong)?;
        // From large to small, each unit once: "30m1h" is a slip more likely than a wish.
        if factor >= smallest {
            return Err(wrong());
        }
        smallest = factor;
        let part = digits(number).ok_or_else(wrong)?.checked_mul(factor);
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = tail.trim_start();
    }
    if smallest == u64::MAX { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_durations_and_counts_are_read() {
        let table: &[(Unit, &str, u64)] = &[
            (Unit::Count, "0", 0),
            (Unit::Count, " 42 ", 42),
            (Unit::Count, "1_000_000", 1_000_000),
            (Unit::Bytes, "65536", 65_536),
            (Unit::Bytes, "7B", 7),
            (Unit::Bytes, "1KB", 1_000),
            (Unit::Bytes, "1kB", 1_000),
            (Unit::Bytes, "1MB", 1_000_000),
            (Unit::Bytes, "1mb", 1_000_000),
            (Unit::Bytes, "1MiB", 1_048_576),
            (Unit::Bytes, "64KiB", 65_536),
            (Unit::Bytes, "2 GiB", 2_147_483_648),
            (Unit::Bytes, "3GB", 3_000_000_000),
            (Unit::Bytes, "1TiB", 1 << 40),
            (Unit::Seconds, "30", 30),
            (Unit::Seconds, "30s", 30),
            (Unit::Seconds, "30 sec", 30),
            (Unit::Seconds, "5m", 300),
            (Unit::Seconds, "5min", 300),
            (Unit::Seconds, "2h", 7_200),
            (Unit::Seconds, "7d", 604_800),
            (Unit::Seconds, "2w", 1_209_600),
            (Unit::Seconds, "1h30m", 5_400),
            (Unit::Seconds, "1d 12h", 129_600),
        ];
        for (unit, text, number) in table {
            assert_eq!(unit.parse(text), Ok(*number), "{text}");
        }
    }

    #[test]
    fn what_is_ambiguous_or_no_number_is_refused_with_a_hint() {
        let table: &[(Unit, &str, &str)] = &[
            (Unit::Count, "", "whole number"),
            (Unit::Count, "-1", "whole number"),
            (Unit::Count, "1.5", "whole number"),
            (Unit::Count, "1k", "whole number"),
            (Unit::Count, "_1", "whole number"),
            (Unit::Count, "99999999999999999999", "whole number"),
            (Unit::Bytes, "", "not a size"),
            (Unit::Bytes, "MB", "not a size"),
            (Unit::Bytes, "1.5MB", "not a size"),
            (Unit::Bytes, "1M", "1MB (powers of 1000) or 1MiB (powers of 1024)"),
            (Unit::Bytes, "1Mbit", "not a size"),
            (Unit::Bytes, "99999999999TiB", "more than any size"),
            (Unit::Seconds, "", "not a duration"),
            (Unit::Seconds, "s", "not a duration"),
            (Unit::Seconds, "500ms", "not a duration"),
            (Unit::Seconds, "30m1h", "not a duration"),
            (Unit::Seconds, "1h1h", "not a duration"),
            (Unit::Seconds, "1h30", "not a duration"),
            (Unit::Seconds, "-5s", "not a duration"),
            (Unit::Seconds, "99999999999999999d", "not a duration"),
        ];
        for (unit, text, hint) in table {
            let error = unit.parse(text).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same_number() {
        let table: &[(Unit, u64, &str)] = &[
            (Unit::Count, 65_535, "65535"),
            (Unit::Count, 100_000, "100_000"),
            (Unit::Count, 1_000_000, "1_000_000"),
            (Unit::Bytes, 0, "0"),
            (Unit::Bytes, 1_023, "1023"),
            (Unit::Bytes, 1_048_576, "1MiB"),
            (Unit::Bytes, 1_000_000, "1MB"),
            (Unit::Bytes, 268_435_460, "268435460"),
            (Unit::Seconds, 0, "0s"),
            (Unit::Seconds, 10, "10s"),
            (Unit::Seconds, 90, "90s"),
            (Unit::Seconds, 604_800, "7d"),
            (Unit::Seconds, u32::MAX as u64, "4294967295s"),
        ];
        for (unit, number, text) in table {
            assert_eq!(unit.show(*number), *text);
            assert_eq!(unit.parse(text), Ok(*number), "{text}");
        }
    }
}
