//! One self-contained page: the figures of a run as plots and tables, for a browser without a network.
//!
//! The page (`page.html`) draws; here is what it draws, as JSON inside it. Nothing is loaded from anywhere, and the page's own
//! policy forbids that it could be.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::{loop_words, per_second, pipeline_words, timings};
use crate::{
    exit::{self, Exit, Judgement},
    machine::describe,
    outcome::{Outcome, Second, Timing},
    units::{grouped, measured, show_size, show_span},
};

const PAGE: &str = include_str!("page.html");
const MARK: &str = "/*DATA*/";

/// The page.
pub fn text(outcome: &Outcome, judgement: &Judgement) -> String {
    // A script element ends at the first `</`, and `<!--` changes its meaning: no bracket may stand in it as it is.
    let data = data(outcome, judgement).to_string().replace('<', "\\u003c");
    PAGE.replacen(MARK, &data, 1)
}

#[derive(Serialize)]
struct Table {
    title: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
}

fn data(outcome: &Outcome, judgement: &Judgement) -> Value {
    let notes: Vec<String> =
        exit::generator_bound(outcome).into_iter().chain(outcome.warnings.iter().cloned()).collect();
    let verdict = if judgement.exit == Exit::Ok { "every promise kept" } else { "failed" };
    let curves: Vec<Value> = timings(outcome)
        .into_iter()
        .filter(|(name, _)| {
            matches!(*name, "delivery" | "delivery since sent" | "delivery, slow" | "acknowledgement" | "CONNACK")
        })
        .map(|(name, timing)| json!({ "name": name, "points": curve(timing) }))
        .collect();
    let stages: Vec<Value> = outcome
        .stages
        .iter()
        .map(|stage| json!({ "name": stage.name, "from_s": stage.started_ms / 1e3, "to_s": stage.ended_ms / 1e3 }))
        .collect();
    json!({
        "title": outcome.name,
        "good": judgement.exit == Exit::Ok,
        "verdict": verdict,
        "lead": lead(outcome),
        "told": judgement.complaints,
        "notes": notes,
        "duration_s": outcome.duration_s.max(outcome.series.last().map_or(0.0, |second| second.at_s)),
        "tiles": tiles(outcome),
        "series": series(&outcome.series),
        "curves": curves,
        "stages": stages,
        "tables": [times(outcome), deliveries(outcome), stages_table(outcome), thresholds(judgement)],
        "machine": machine(outcome),
        "foot": format!("loadtest {}, {}", env!("CARGO_PKG_VERSION"), describe::rfc3339(outcome.started_unix_ms / 1_000)),
    })
}

fn lead(outcome: &Outcome) -> String {
    let mut lead = format!("{}. Against {}.", outcome.description.trim_end_matches('.'), outcome.target);
    for words in std::iter::once(loop_words(outcome).as_str()).chain(pipeline_words(outcome)) {
        let _ = write!(lead, " {}.", capital(words));
    }
    lead
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn tiles(outcome: &Outcome) -> Vec<Value> {
    let mut tiles = vec![json!(["connections", grouped(outcome.connections.peak)])];
    let latency = &outcome.timings.latency_intended;
    if outcome.traffic.messages_sent + outcome.traffic.messages_received > 0 {
        let rate = per_second(outcome, outcome.measured.messages_received);
        tiles.push(json!(["received", format!("{} /s", measured(rate))]));
    }
    if latency.is_empty() {
        let connack = &outcome.timings.connack;
        for (name, percent) in [("CONNACK p50", 50.0), ("CONNACK p99", 99.0), ("CONNACK p99.99", 99.99)] {
            tiles.push(json!([name, show_span(connack.percentile_ns(percent))]));
        }
        tiles.push(json!(["CONNACK max", show_span(connack.max_ns())]));
    } else {
        for (name, percent) in [("p50", 50.0), ("p99", 99.0), ("p99.99", 99.99)] {
            tiles.push(json!([name, show_span(latency.percentile_ns(percent))]));
        }
        tiles.push(json!(["max", show_span(latency.max_ns())]));
        tiles.push(json!(["lost", grouped(outcome.verdict.lost()), outcome.verdict.lost() > 0]));
    }
    tiles
}

/// The seconds as the plots take them. A last one that is too short to have a rate is left out.
fn series(seconds: &[Second]) -> Vec<Value> {
    let mut before_s = 0.0;
    let mut values = Vec::new();
    for one in seconds {
        let took_s = one.at_s - std::mem::replace(&mut before_s, one.at_s);
        if took_s > 0.2 {
            values.push(second(one, took_s));
        }
    }
    values
}

fn second(second: &Second, took_s: f64) -> Value {
    let ms = |ns: u64| (second.max_ns > 0).then_some(ns as f64 / 1e6);
    json!({
        "t": second.at_s,
        "sent": second.traffic.messages_sent as f64 / took_s,
        "received": second.traffic.messages_received as f64 / took_s,
        "connected": second.connected,
        "p50": ms(second.p50_ns),
        "p99": ms(second.p99_ns),
        "max": ms(second.max_ns),
        "generator_cpu": second.generator_cores,
        "broker_cpu": second.broker_cores,
        "generator_rss": second.generator_rss_bytes,
        "broker_rss": second.broker_rss_bytes,
        "slab": second.slab_bytes,
        "tcp_buffers": second.tcp_buffer_bytes,
    })
}

/// Percentile and milliseconds, denser towards the tail and never beyond what the count can tell.
fn curve(timing: &Timing) -> Vec<[f64; 2]> {
    let mut points = Vec::new();
    for nines in 0..=24_i32 {
        let rest = 10_f64.powf(-f64::from(nines) / 4.0);
        if rest * timing.count() as f64 >= 1.0 {
            let percent = (1.0 - rest) * 100.0;
            points.push([percent, timing.percentile_ns(percent).max(timing.min_ns()) as f64 / 1e6]);
        }
    }
    points
}

fn times(outcome: &Outcome) -> Table {
    let rows = timings(outcome).into_iter().map(|(name, timing)| {
        let percentiles =
            [50.0, 90.0, 99.0, 99.9, 99.99].map(|percent| json!(show_span(timing.percentile_ns(percent))));
        let mut row = vec![json!(name), json!(grouped(timing.count()))];
        row.extend(percentiles);
        row.push(json!(show_span(timing.max_ns())));
        row
    });
    Table {
        title: "How long things took",
        columns: vec!["", "count", "p50", "p90", "p99", "p99.9", "p99.99", "max"],
        rows: rows.collect(),
    }
}

fn deliveries(outcome: &Outcome) -> Table {
    let verdict = &outcome.verdict;
    let names = ["QoS 0", "QoS 1", "QoS 2"];
    let kinds = names.into_iter().zip(verdict.deliveries.iter().zip(verdict.messages.iter().map(Some)));
    let slow =
        ["QoS 0, slow", "QoS 1, slow", "QoS 2, slow"].into_iter().zip(verdict.slow.iter().map(|owed| (owed, None)));
    let kinds = kinds.chain(slow).chain([("retained", (&verdict.retained, None))]);
    let rows = kinds.filter(|(_, (owed, sent))| owed.expected > 0 || sent.is_some_and(|sent| sent.sent > 0));
    let rows = rows.map(|(name, (owed, sent))| {
        // What a QoS does not promise is shown but not as a fault.
        let fault =
            |count: u64, is_promised: bool| json!([grouped(count), if count > 0 && is_promised { "bad" } else { "" }]);
        let number = |count: Option<u64>| json!(count.map_or_else(|| "-".to_owned(), grouped));
        vec![
            json!(name),
            number(sent.map(|sent| sent.sent)),
            number(sent.filter(|_| !name.starts_with("QoS 0")).map(|sent| sent.acknowledged)),
            json!(grouped(owed.expected)),
            json!(grouped(owed.received)),
            fault(owed.lost(), !name.starts_with("QoS 0")),
            fault(owed.duplicated, !name.starts_with("QoS 1")),
            fault(owed.reordered, true),
            json!(grouped(owed.copies)),
        ]
    });
    Table {
        title: "What became of every message",
        columns: vec!["", "sent", "acknowledged", "owed", "received", "lost", "duplicated", "reordered", "copies"],
        rows: rows.collect(),
    }
}

fn stages_table(outcome: &Outcome) -> Table {
    let rows = outcome.stages.iter().map(|stage| {
        vec![
            json!(stage.name),
            json!(format!("{:.2} s", (stage.ended_ms - stage.started_ms) / 1e3)),
            json!(grouped(stage.established)),
            json!(grouped(stage.traffic.messages_sent)),
            json!(grouped(stage.traffic.messages_received)),
            json!(if stage.latency.is_empty() { "-".to_owned() } else { show_span(stage.latency.percentile_ns(99.0)) }),
            json!(stage.completed_in_ms.map_or_else(|| "-".to_owned(), |ms| format!("{:.3} s", ms / 1e3))),
        ]
    });
    Table {
        title: "Stages",
        columns: vec!["", "took", "connected", "sent", "received", "p99", "all delivered after"],
        rows: rows.collect(),
    }
}

fn thresholds(judgement: &Judgement) -> Table {
    let rows = judgement.thresholds.iter().map(|held| {
        let result = if held.broken { json!(["broken", "bad"]) } else { json!(["held", "good"]) };
        vec![json!(held.threshold), json!(held.shown), result]
    });
    Table { title: "Thresholds", columns: vec!["fails if", "measured", ""], rows: rows.collect() }
}

fn machine(outcome: &Outcome) -> Vec<[String; 2]> {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let mut rows = vec![row("command", describe::command_line(&outcome.command_line))];
    if let Some(machine) = &outcome.machine {
        rows.push(row("processor", format!("{} x {}", machine.cores, machine.cpu)));
        rows.push(row("memory", show_size(machine.memory_bytes)));
        rows.push(row("kernel", machine.kernel.clone()));
        rows.push(row("open files", grouped(machine.open_files_max)));
        rows.extend(machine.sysctls.iter().map(|(name, value)| row(name, value.clone())));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn page(name: &str) -> String {
        let outcome = Outcome { name: name.to_owned(), ..sample::outcome() };
        let judgement =
            Judgement { exit: Exit::Broken, complaints: vec!["1 lost at QoS 1".to_owned()], thresholds: Vec::new() };
        text(&outcome, &judgement)
    }

    fn embedded(page: &str) -> Value {
        let from = page.find("id=\"data\">").unwrap() + "id=\"data\">".len();
        let to = page[from..].find("</script>").unwrap();
        serde_json::from_str(&page[from..from + to]).unwrap()
    }

    #[test]
    fn the_page_holds_the_figures() {
        let data = embedded(&page("quick"));
        assert_eq!(data["title"], "quick");
        assert_eq!((&data["good"], &data["told"][0]), (&json!(false), &json!("1 lost at QoS 1")));
        assert_eq!(data["series"].as_array().unwrap().len(), 3);
        assert_eq!(data["series"][1]["p99"], 1.9);
        assert_eq!(data["curves"][0]["name"], "delivery");
        assert_eq!(data["tables"][1]["rows"][0][5], json!(["1", "bad"]));
        assert!(data["machine"][0][1].as_str().unwrap().ends_with("--fail-if 'p99>5ms'"));
    }

    #[test]
    fn the_page_loads_nothing_and_a_name_cannot_leave_its_place() {
        let page = page("</script><script>alert(1)</script><!--");
        assert_eq!(embedded(&page)["title"], "</script><script>alert(1)</script><!--");
        assert_eq!(page.matches("<script").count(), 2);
        assert_eq!(page.matches("</script>").count(), 2);
        for word in ["src=", "href=", "url(", "@import", "fetch("] {
            assert!(!page.contains(word), "{word}");
        }
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn a_curve_ends_where_the_count_does() {
        let outcome = sample::outcome();
        let curve = curve(&outcome.timings.latency_intended);
        let last = curve.last().unwrap();
        assert!(last[0] > 99.0 && last[0] < 99.6, "{last:?}");
        assert!(curve.windows(2).all(|two| two[0][0] < two[1][0] && two[0][1] <= two[1][1]));
    }
}
