//! The page: what it is given to draw, and that it loads nothing.

use super::*;
use crate::{outcome::StageOutcome, report::sample};

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
    assert_eq!((&data["state"], &data["told"][0]), (&json!("bad"), &json!("1 lost at QoS 1")));
    assert_eq!(data["date"], "2024-12-31 23:59 UTC");
    assert_eq!(data["series"].as_array().unwrap().len(), 3);
    assert_eq!(data["series"][1]["p99"], 1.9);
    assert_eq!(data["curves"][0]["name"], "delivery");
    assert_eq!(data["tables"][1]["rows"][0][7], json!(["1", "bad"]));
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

fn shown(outcome: &Outcome) -> Value {
    let judgement = Judgement { exit: Exit::Ok, complaints: Vec::new(), thresholds: Vec::new() };
    embedded(&text(outcome, &judgement))
}

#[test]
fn a_run_that_was_interrupted_is_no_success_and_says_so() {
    let mut outcome = sample::outcome();
    let data = shown(&outcome);
    assert_eq!((&data["state"], &data["verdict"]), (&json!("good"), &json!("every promise kept")));
    outcome.ending = Ending::Interrupted;
    let data = shown(&outcome);
    assert_eq!((&data["state"], &data["verdict"]), (&json!("warn"), &json!("interrupted")));
    assert!(data["notes"][0].as_str().unwrap().starts_with("the run was interrupted after 3.0 s"), "{data}");
}

#[test]
fn the_wait_at_the_end_is_marked_where_there_was_one() {
    let mut outcome = sample::outcome();
    assert_eq!(shown(&outcome)["stages"].as_array().unwrap().len(), 2);
    outcome.duration_s = 13.0;
    let stages = shown(&outcome)["stages"].clone();
    assert_eq!(stages[2], json!({ "name": "waiting for the rest", "from_s": 3.0, "to_s": 13.0 }));
    outcome.ending = Ending::Interrupted;
    assert!(shown(&outcome)["notes"][0].as_str().unwrap().starts_with("the run was interrupted after 3.0 s"));
}

#[test]
fn every_curve_and_line_has_a_colour_of_its_own() {
    let from = PAGE.find("const COLORS = {").unwrap();
    let colours = &PAGE[from..from + PAGE[from..].find("};").unwrap()];
    let of = |name: &str| {
        let at = colours.find(&format!("\"{name}\": ")).unwrap_or_else(|| panic!("{name} has no colour"));
        colours[at..].split('"').nth(3).unwrap()
    };
    for together in
        [&CURVES[..], &["received", "sent"], &["p50", "p99", "max"], &["broker", "loadtest"], &["slab", "TCP buffers"]]
    {
        let mut seen: Vec<&str> = together.iter().map(|name| of(name)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), together.len(), "{together:?}: {seen:?}");
    }
}

#[test]
fn memory_is_growth_since_the_start() {
    let mut outcome = sample::outcome();
    outcome.broker.as_mut().unwrap().rss_start_bytes = 4 << 20;
    outcome.series[2].broker_rss_bytes = Some(3 << 20);
    outcome.series[1].slab_bytes = Some(900 << 20);
    outcome.series[2].slab_bytes = Some(901 << 20);
    let series = &shown(&outcome)["series"];
    assert_eq!((&series[0]["broker_rss"], &series[2]["broker_rss"]), (&json!(1 << 20), &json!(-(1 << 20))));
    assert_eq!(
        (&series[0]["slab"], &series[1]["slab"], &series[2]["slab"]),
        (&json!(null), &json!(0), &json!(1 << 20))
    );
}

#[test]
fn what_happens_between_two_samples_is_seen_at_the_end_of_its_stage() {
    let mut outcome = sample::outcome();
    let stage = |name: &str, ended_ms: f64, connected: u64| StageOutcome {
        name: name.to_owned(),
        started_ms: ended_ms - 10.0,
        ended_ms,
        connected,
        ..StageOutcome::default()
    };
    outcome.stages = vec![stage("drop", 1_300.0, 0), stage("resume", 1_310.0, 4)];
    let connected = &shown(&outcome)["connected"];
    assert_eq!(*connected, json!([[0.0, 0], [1.0, 4], [1.3, 0], [1.31, 4], [2.0, 4], [3.0, 4]]));
}

#[test]
fn a_short_run_is_shown_tenth_by_tenth() {
    let mut outcome = Outcome { duration_s: 0.35, ..sample::outcome() };
    outcome.series.truncate(1);
    outcome.series[0].at_s = 0.35;
    assert_eq!(shown(&outcome)["series"].as_array().unwrap().len(), 1, "what there is");
    let tenth = |at_s: f64| Second { at_s, ..outcome.series[0] };
    outcome.tenths = vec![tenth(0.1), tenth(0.2), tenth(0.3), tenth(0.35)];
    let series = shown(&outcome)["series"].clone();
    assert_eq!(series.as_array().unwrap().len(), 4);
    assert_eq!(series[0]["sent"].as_f64().unwrap().round() as u64, 1_000);
    outcome.duration_s = 30.0;
    assert_eq!(shown(&outcome)["series"].as_array().unwrap().len(), 1);
}

#[test]
fn the_title_says_what_and_when_and_cannot_leave_its_place() {
    let page = page("</title><b>&");
    assert!(page.contains("<title>&lt;/title>&lt;b>&amp;, 2024-12-31 23:59 UTC: loadtest</title>"));
    assert!(page.contains("color-scheme: light dark") && page.contains("light-dark("));
}

#[test]
fn a_curve_ends_where_the_count_does() {
    let outcome = sample::outcome();
    let curve = curve(&outcome.timings.latency_intended);
    let last = curve.last().unwrap();
    assert!(last[0] > 99.0 && last[0] < 99.6, "{last:?}");
    assert!(curve.windows(2).all(|two| two[0][0] < two[1][0] && two[0][1] <= two[1][1]));
}
