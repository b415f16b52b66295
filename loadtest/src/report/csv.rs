//! The series, second by second, as CSV (RFC 4180): for a spreadsheet or a plot of one's own.

use std::fmt::Write as _;

use crate::outcome::{Outcome, Second};

/// A column: its name and a second's value in it; an empty text where it was not measured.
type Column = (&'static str, fn(&Second) -> String);

const COLUMNS: &[Column] = &[
    ("time_s", |s| format!("{:.3}", s.at_s)),
    ("connected", |s| s.connected.to_string()),
    ("established", |s| s.established.to_string()),
    ("failed", |s| s.failed.to_string()),
    ("lost", |s| s.lost.to_string()),
    ("messages_sent", |s| s.traffic.messages_sent.to_string()),
    ("messages_received", |s| s.traffic.messages_received.to_string()),
    ("messages_acknowledged", |s| s.traffic.messages_acknowledged.to_string()),
    ("bytes_sent", |s| s.traffic.bytes_sent.to_string()),
    ("bytes_received", |s| s.traffic.bytes_received.to_string()),
    ("owed", |s| s.owed.to_string()),
    ("p50_us", |s| micros(s, s.p50_ns)),
    ("p99_us", |s| micros(s, s.p99_ns)),
    ("max_us", |s| micros(s, s.max_ns)),
    ("generator_cores", |s| format!("{:.3}", s.generator_cores)),
    ("broker_cores", |s| s.broker_cores.map(|cores| format!("{cores:.3}")).unwrap_or_default()),
    ("generator_rss_bytes", |s| optional(s.generator_rss_bytes)),
    ("broker_rss_bytes", |s| optional(s.broker_rss_bytes)),
    ("slab_bytes", |s| optional(s.slab_bytes)),
    ("tcp_buffer_bytes", |s| optional(s.tcp_buffer_bytes)),
];

/// The text: a header, then one line a second.
pub fn text(outcome: &Outcome) -> String {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    let mut text = format!("{},stage\n", names.join(","));
    for second in &outcome.series {
        for (_, value) in COLUMNS {
            let _ = write!(text, "{},", value(second));
        }
        let stage = outcome.stages.get(second.stage as usize).map_or("", |stage| stage.name.as_str());
        let _ = writeln!(text, "{}", quoted(stage));
    }
    text
}

fn micros(second: &Second, ns: u64) -> String {
    if second.max_ns == 0 { String::new() } else { format!("{:.1}", ns as f64 / 1e3) }
}

fn optional(value: Option<u64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn every_second_is_a_line_of_as_many_fields_as_the_header() {
        let mut outcome = sample::outcome();
        let text = text(&outcome);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.len() == COLUMNS.len() + 1), "{text}");
        let column = |name: &str| lines[0].iter().position(|field| *field == name).unwrap();
        assert_eq!(lines[1][column("p99_us")], "1900.0");
        assert_eq!((lines[1][column("broker_cores")], lines[2][column("broker_cores")]), ("", "0.250"));
        assert_eq!((lines[1][column("stage")], lines[2][column("stage")]), ("connect", "measure"));
        outcome.stages[0].name = "a, \"b\"".to_owned();
        assert!(super::text(&outcome).contains(",\"a, \"\"b\"\"\"\n"));
    }
}
