//! Numbers as people write and read them: `50K`, `16KiB`, `300s`, `1.25 ms`, `1,000,000`.
//!
//! Owns: reading counts, sizes and spans of time from flags, scenarios, names and thresholds, and showing them in reports.
//! Always holds: a unit is never guessed. A count's `K` is 1,000 (workload names are written so), a size's `KiB` is 1,024
//! and its `KB` 1,000; a bare `K` after a size is refused. A span without a unit is refused, except where the caller says
//! what a plain number counts.

use std::time::Duration;

const COUNTS: &[(&str, f64)] = &[("", 1.0), ("k", 1e3), ("m", 1e6), ("g", 1e9)];
const SIZES: &[(&str, f64)] = &[
    ("", 1.0),
    ("b", 1.0),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("kib", 1024.0),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
];
/// Suffixes of spans, in nanoseconds.
const SPANS: &[(&str, f64)] =
    &[("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("min", 60e9), ("h", 3600e9)];

/// Where the number ends and the unit begins. `None`: it does not begin with a number.
fn split(text: &str) -> Option<(f64, String)> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.replace('_', "").parse().ok()?;
    Some((number, unit.trim().to_lowercase()))
}

fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, unit) = split(text)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    Some(number * factor)
}

/// A whole number, `K` and `M` allowed: `50K` is 50,000.
pub fn count(text: &str) -> Result<u64, String> {
    match scaled(text, COUNTS) {
        Some(number) if number.fract() == 0.0 && number < 1e15 => Ok(number as u64),
        _ => Err(format!("{text:?} is not a count: write a whole number, or one with K or M as in 50K")),
    }
}

/// Bytes: a plain number, or one with B, KB, MB, GB (powers of 1000), KiB, MiB or GiB (powers of 1024).
pub fn size(text: &str) -> Result<u64, String> {
    match scaled(text, SIZES) {
        Some(number) if number.fract() == 0.0 && number < 1e15 => Ok(number as u64),
        _ => Err(format!("{text:?} is not a size: write bytes, or a number with KB, MB, KiB or MiB")),
    }
}

/// A span of time with its unit. `plain` is what a number without one counts, where the caller allows that.
pub fn span(text: &str, plain: Option<Duration>) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a span of time: write a number with us, ms, s, m or h as in 250ms");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let nanos = match SPANS.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => number * factor,
        None if unit.is_empty() => number * plain.ok_or_else(wrong)?.as_nanos() as f64,
        None => return Err(wrong()),
    };
    if nanos > 1e18 { Err(wrong()) } else { Ok(Duration::from_nanos(nanos.round() as u64)) }
}

/// A span where a plain number counts seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    span(text, Some(Duration::from_secs(1)))
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 publisher`, `2,000 publishers`.
pub fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A rate or another measured number: whole and grouped where it is large, two digits behind the point where it is small.
pub fn measured(number: f64) -> String {
    if number.abs() >= 100.0 || number.fract() == 0.0 { grouped(number.round() as u64) } else { format!("{number:.2}") }
}

/// A span in the unit that leaves one to four digits before the point.
pub fn show_span(nanos: u64) -> String {
    let value = nanos as f64;
    match nanos {
        0 => "0".to_owned(),
        1..1_000 => format!("{nanos} ns"),
        1_000..100_000 => format!("{:.1} us", value / 1e3),
        100_000..1_000_000 => format!("{:.0} us", value / 1e3),
        1_000_000..100_000_000 => format!("{:.2} ms", value / 1e6),
        100_000_000..1_000_000_000 => format!("{:.0} ms", value / 1e6),
        1_000_000_000..60_000_000_000 => format!("{:.2} s", value / 1e9),
        _ => {
            let seconds = (value / 1e9).round() as u64;
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            if hours > 0 { format!("{hours} h {minutes} min") } else { format!("{minutes} min {seconds} s") }
        }
    }
}

/// Bytes in the binary unit that fits.
pub fn show_size(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..10_240 => format!("{} B", grouped(bytes)),
        10_240..1_048_576 => format!("{:.1} KiB", value / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", value / 1_048_576.0),
        _ => format!("{:.2} GiB", value / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_take_k_and_m() {
        for (text, number) in
            [("5", 5), ("1K", 1_000), ("50k", 50_000), ("1M", 1_000_000), ("1.5K", 1_500), ("2_000", 2_000)]
        {
            assert_eq!(count(text), Ok(number), "{text}");
        }
        for text in ["", "K", "-1", "1.5", "1KiB", "1e9", "0x10", "five"] {
            assert!(count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_name_their_power() {
        for (text, number) in [("16", 16), ("1KB", 1_000), ("1KiB", 1_024), ("2 MiB", 2_097_152), ("256B", 256)] {
            assert_eq!(size(text), Ok(number), "{text}");
        }
        for text in ["1K", "1M", "-3", "KiB", "1.0001B"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_need_a_unit_unless_a_plain_number_has_a_meaning() {
        for (text, nanos) in
            [("5ms", 5_000_000), ("250us", 250_000), ("1.5s", 1_500_000_000), ("2m", 120_000_000_000), ("7ns", 7)]
        {
            assert_eq!(span(text, None), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for text in ["5", "", "ms", "-5ms", "5 parsecs"] {
            assert!(span(text, None).is_err(), "{text}");
        }
        assert_eq!(seconds("5"), Ok(Duration::from_secs(5)));
        assert_eq!(seconds("5ms"), Ok(Duration::from_millis(5)));
    }

    #[test]
    fn what_is_shown_is_short() {
        for (nanos, text) in [
            (0, "0"),
            (999, "999 ns"),
            (1_500, "1.5 us"),
            (640_200, "640 us"),
            (2_345_678, "2.35 ms"),
            (345_678_901, "346 ms"),
            (12_345_678_901, "12.35 s"),
            (75_000_000_000, "1 min 15 s"),
            (7_500_000_000_000, "2 h 5 min"),
        ] {
            assert_eq!(show_span(nanos), text);
        }
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(
            [counted(1, "agent"), counted(0, "agent"), counted(2_000, "agent")],
            ["1 agent", "0 agents", "2,000 agents"]
        );
        for (bytes, text) in [(12, "12 B"), (1_024, "1,024 B"), (20_480, "20.0 KiB"), (1_572_864, "1.5 MiB")] {
            assert_eq!(show_size(bytes), text);
        }
        for (number, text) in [(0.0, "0"), (0.5, "0.50"), (50.0, "50"), (1234.5, "1,235"), (12.345, "12.35")] {
            assert_eq!(measured(number), text);
        }
    }
}
