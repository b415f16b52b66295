//! `docs/LOG-EVENTS.md` has each event of the log with its level and its fields, and no other: read from the code that
//! writes them, `src/telemetry/log/event.rs`.

use std::collections::{BTreeMap, BTreeSet};

/// What is known of an event.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    level: String,
    is_limited: bool,
    fields: BTreeSet<String>,
}

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The names of the kinds that are held to a rate, by their variants: rows `Self::Kind => "name"`.
fn kinds(rate: &str) -> BTreeMap<&str, &str> {
    let rows = rate.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \""));
    rows.map(|(kind, rest)| (kind, rest.trim_end_matches("\","))).collect()
}

/// Every call of a macro that writes a line: its level and what stands between its brackets.
fn calls(code: &str) -> Vec<(&str, &str)> {
    let mut calls = Vec::new();
    for level in LEVELS {
        for (at, _) in code.match_indices(&format!("{level}!(")) {
            // `tracing::enabled!` and the like end differently.
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let body = &code[at + level.len() + 2..];
            let (mut depth, mut is_text) = (1, false);
            let end = body.find(|c| {
                is_text ^= c == '"';
                depth += i32::from(c == '(' && !is_text) - i32::from(c == ')' && !is_text);
                depth == 0
            });
            calls.push((level, &body[..end.expect("brackets close")]));
        }
    }
    calls
}

/// The events of the code.
fn written(code: &str, kinds: &BTreeMap<&str, &str>) -> BTreeMap<String, Shape> {
    let mut events: BTreeMap<String, Shape> = BTreeMap::new();
    for (level, body) in calls(code) {
        let mut parts = body.split(',').map(str::trim).filter(|part| !part.is_empty());
        let target = parts.next();
        assert!(matches!(target, Some("target: TARGET" | "target: AUDIT_TARGET")), "{body}");
        let event = parts.next().and_then(|part| part.strip_prefix("event = ")).expect("the event comes first");
        let names: Vec<String> = if let Some(name) = event.strip_prefix('"') {
            vec![name.trim_end_matches('"').to_owned()]
        } else if let Some(kind) = event.strip_prefix("LogKind::") {
            vec![kinds[kind.trim_end_matches(".name()")].to_owned()]
        } else {
            // One line of code for several kinds: they are given to it by name.
            let given = code.split("self.log(LogKind::").skip(1).filter_map(|rest| rest.split(')').next());
            given.map(|kind| kinds[kind].to_owned()).collect()
        };
        assert!(!names.is_empty(), "{body}: no name");
        let fields: Vec<&str> =
            parts.map(|part| part.split(" = ").next().unwrap_or(part).trim_start_matches(['%', '?'])).collect();
        for name in names {
            let shape = events.entry(name.clone()).or_default();
            assert!(shape.level.is_empty() || shape.level == level, "{name} has two levels");
            level.clone_into(&mut shape.level);
            shape.is_limited = kinds.values().any(|kind| *kind == name);
            shape.fields.extend(fields.iter().map(|field| (*field).to_owned()));
        }
    }
    events
}

/// The events of the document.
fn documented(text: &str) -> BTreeMap<String, Shape> {
    let mut events = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, level, rate, fields, means] = cells.as_slice() else { panic!("{line}: five columns") };
        assert!(means.split(' ').count() >= 2, "{line}: say what it means");
        let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
        let shape = Shape { level: (*level).to_owned(), is_limited: *rate == "yes", fields: quoted(fields) };
        let known = events.insert(name.trim_matches('`').to_owned(), shape);
        assert_eq!(known, None, "{name} stands twice");
    }
    events
}

#[test]
fn every_event_of_the_log_is_documented_with_its_fields_and_no_other() {
    let (code, rate) = (super::read("src/telemetry/log/event.rs"), super::read("src/telemetry/log/rate.rs"));
    let written = written(&code, &kinds(&rate));
    assert!(written.len() > 50, "only {} events were found: they are written differently now", written.len());
    let documented = documented(&super::read("docs/LOG-EVENTS.md"));
    for (name, shape) in &written {
        assert_eq!(documented.get(name), Some(shape), "docs/LOG-EVENTS.md on the left: {name}");
    }
    let extra: Vec<&String> = documented.keys().filter(|name| !written.contains_key(*name)).collect();
    assert!(extra.is_empty(), "docs/LOG-EVENTS.md names events that nobody writes: {extra:?}");
}

#[test]
fn events_are_found_in_the_code_however_they_are_named() {
    let kinds = kinds("            Self::Came => \"came\",\n            Self::Went => \"went\",\n");
    let code = "fn came() { info!(target: TARGET, event = LogKind::Came.name(), client, %peer); }\n\
                fn both(&self) { self.log(LogKind::Went) } fn log(&self, kind: LogKind) {\n\
                trace!(\n target: TARGET,\n event = kind.name(),\n topic\n); }\n\
                fn full() { warn!(target: TARGET, event = \"full\", text = \"no (more) room\"); }";
    let shape = |level: &str, is_limited, fields: &[&str]| Shape {
        level: level.to_owned(),
        is_limited,
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
    };
    let expected = BTreeMap::from([
        ("came".to_owned(), shape("info", true, &["client", "peer"])),
        ("went".to_owned(), shape("trace", true, &["topic"])),
        ("full".to_owned(), shape("warn", false, &["text"])),
    ]);
    assert_eq!(written(code, &kinds), expected);
}
