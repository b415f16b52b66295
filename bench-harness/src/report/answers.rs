//! What a user asks first, answered from a summary: the marked places of PERFORMANCE.md, README.md and docs/CAPACITY.md.
//!
//! Each is a short table: dunlin, the broker that everybody knows, and the best of the others, as medians. Where the ranges of
//! dunlin and the best other overlap, the row shows them: a median alone would claim what the rounds do not say.

use super::durable;
use super::tables::{self, DUNLIN, NOTHING, Notes, Row, YARDSTICK, best, number};
use crate::cells;
use crate::floor;
use crate::results::metric;
use crate::stats::Spread;
use crate::summary::Summary;
use crate::transport::Transport;
use std::fmt::Write as _;

/// All answers by the names of their places. `date` is the day of the summary, which names its files.
pub(super) fn all(summary: &Summary, date: &str) -> Vec<(String, String)> {
    let brokers = |rows: &[Row]| table(summary, rows, Floor::Hidden);
    let place = |name: &str, text: String| (name.to_owned(), text);
    vec![
        place("source", source(summary, date)),
        place("four-figures", brokers(&four_figures())),
        place("answer-clients", brokers(&clients())),
        place("answer-messages", brokers(&messages())),
        place("answer-latency", table(summary, &latency(), Floor::Shown)),
        place("answer-memory", brokers(&memory())),
        place("answer-fan-out", brokers(&fan_out())),
        place("answer-replay", brokers(&replay())),
        place("answer-cores", cores(summary)),
        place("answer-low-rate", brokers(&tables::low_rate())),
        place("answer-silence", brokers(&tables::silence())),
        place("answer-tls", brokers(&secured())),
        place("answer-durable", durable::in_short(summary)),
        place("answer-settings", settings(summary)),
        place("answer-losses", losses(summary)),
    ]
}

fn four_figures() -> [Row; 4] {
    [
        Row::new("messages a second through one core, QoS 1", "p2p-qos1-w8", metric::PER_SECOND),
        Row::new("microseconds until 99 of 100 messages are there, at 20,000 a second", "latency", metric::P99_US),
        Row::new("bytes of memory an idle client takes", "idle", metric::IDLE_BYTES),
        Row::new(
            "milliseconds for 100,000 retained messages to a new subscriber",
            "retained-sweep",
            metric::COMPLETE_MS,
        ),
    ]
}

fn clients() -> [Row; 2] {
    [
        Row::new("new connections a second, one core", "idle", metric::CONNECTS_PER_SECOND),
        Row::new("us of CPU a new connection", "idle", metric::ACCEPT_US),
    ]
}

fn messages() -> [Row; 6] {
    [
        Row::new("QoS 0, each publisher waits for its message to arrive", "p2p-qos0-w1", metric::PER_SECOND),
        Row::new("QoS 0, 16 in flight", "p2p-qos0-w16", metric::PER_SECOND),
        Row::new("QoS 1, each publisher waits", "p2p-qos1-w1", metric::PER_SECOND),
        Row::new("QoS 1, 8 in flight", "p2p-qos1-w8", metric::PER_SECOND),
        Row::new("QoS 2, 4 in flight", "p2p-qos2-w4", metric::PER_SECOND),
        Row::new("QoS 0, 1,000 publishers to one subscriber", "fan-in", metric::PER_SECOND),
    ]
}

fn latency() -> [Row; 3] {
    [
        Row::new("half arrive within, us", "latency", metric::P50_US),
        Row::new("99 of 100 arrive within, us", "latency", metric::P99_US),
        Row::new("999 of 1,000 arrive within, us", "latency", metric::P99_9_US),
    ]
}

fn memory() -> [Row; 1] {
    [Row::new("bytes an idle client, 15,000 of them", "idle", metric::IDLE_BYTES)]
}

fn fan_out() -> [Row; 3] {
    [
        Row::new("deliveries a second, one core, 1,000 subscribers", "fan-out", metric::PER_SECOND),
        Row::new("us of CPU a delivery, 1,000 subscribers", "fan-out", metric::CPU_US),
        Row::new("deliveries a second, 100,000 wildcard filters, 3-5 of them match", "wildcards", metric::PER_SECOND),
    ]
}

fn replay() -> [Row; 2] {
    [
        Row::new("ms for 100,000 retained messages to one new subscriber", "retained-sweep", metric::COMPLETE_MS),
        Row::new("ms until 1,000 sessions are back, 100 queued messages each", "offline-backlog", metric::COMPLETE_MS),
    ]
}

fn secured() -> Vec<Row> {
    let over =
        |label: &str, cell: &str, transport| Row::new(label, &cells::over_name(cell, transport), metric::PER_SECOND);
    vec![
        Row::new("us of CPU from accept to CONNACK, TLS 1.3, P-256", "accept-tls", metric::ACCEPT_US),
        Row::new("the same with a client certificate", "accept-tls-client", metric::ACCEPT_US),
        Row::new("the same with RSA-2048", "accept-tls-rsa", metric::ACCEPT_US),
        Row::new("new TLS connections a second, one core", "accept-tls", metric::CONNECTS_PER_SECOND),
        Row::new("bytes an idle client over TLS", "idle-tls", metric::IDLE_BYTES),
        Row::new("bytes an idle client over WebSocket", "idle-ws", metric::IDLE_BYTES),
        Row::new("bytes an idle client over secure WebSocket", "idle-wss", metric::IDLE_BYTES),
        over("messages a second over TLS, QoS 1, 8 in flight", "p2p-qos1-w8", Transport::Tls),
        over("messages a second over WebSocket, QoS 1, 8 in flight", "p2p-qos1-w8", Transport::Ws),
        Row::new(
            "us within which 99 of 100 messages of others are there, before 20,000 come back over TLS",
            cells::STORM,
            metric::OTHERS_QUIET_P99_US,
        ),
        Row::new("us within which they are there meanwhile", cells::STORM, metric::OTHERS_STORM_P99_US),
    ]
}

/// Whether the relay has a column.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Floor {
    Shown,
    Hidden,
}

fn table(summary: &Summary, rows: &[Row], floor: Floor) -> String {
    if !rows.iter().any(|row| summary.has_cell(&row.cell)) {
        return NOTHING.to_owned();
    }
    let (head, line) = if floor == Floor::Shown { (" bare relay |", "---|") } else { ("", "") };
    let mut text = format!("| | dunlin | {YARDSTICK} | best of the others |{head}\n|---|---|---|---|{line}\n");
    let names = summary.names();
    let mut notes = Notes::default();
    for row in rows {
        let overlaps = tables::against_the_best(summary, row).is_some_and(|standing| standing.overlaps);
        let first = best(summary, row, &names, |_| true);
        let mut figure = |name: &str| {
            if let Some(fault) = summary.fault(&row.cell, name) {
                return format!("failed ({})", notes.number(name, fault));
            }
            let Some(spread) = summary.spread(&row.cell, name, row.metric) else { return "-".to_owned() };
            let bold = if first.as_deref() == Some(name) { "**" } else { "" };
            let range = if overlaps { range(spread) } else { String::new() };
            format!("{bold}{}{bold}{range}{}", number(spread.median), notes.mark(summary, row, name))
        };
        let (own, yardstick) = (figure(DUNLIN), figure(YARDSTICK));
        let other = best(summary, row, &names, |name| name != DUNLIN && name != YARDSTICK);
        let other = other.map_or("-".to_owned(), |name| format!("{name}: {}", figure(&name)));
        let _ = write!(text, "| {} | {own} | {yardstick} | {other} |", row.label);
        let _ = if floor == Floor::Shown { writeln!(text, " {} |", figure(floor::NAME)) } else { writeln!(text) };
    }
    text + &notes.text()
}

fn range(spread: Spread) -> String {
    format!(" ({}-{})", number(spread.min), number(spread.max))
}

/// What dunlin carries on one core and on two.
fn cores(summary: &Summary) -> String {
    let mut text = String::new();
    for load in cells::SHARD_LOADS {
        let carried = |threads| {
            let cell = cells::on_shards_name(load, threads);
            let is_whole = summary.fault(&cell, DUNLIN).is_none();
            summary.spread(&cell, DUNLIN, metric::PER_SECOND).filter(|_| is_whole)
        };
        let (Some(one), Some(two)) = (carried(1), carried(2)) else { continue };
        let title = cells::all().into_iter().find(|cell| cell.name == load).map_or(String::new(), |cell| cell.title);
        let times = two.median / one.median;
        let _ = writeln!(text, "| {title} | {} | {} | {times:.2} |", number(one.median), number(two.median));
    }
    if text.is_empty() {
        return NOTHING.to_owned();
    }
    format!("| messages a second | one core | two cores | times |\n|---|---|---|---|\n{text}")
}

/// Which settings the peers ran with.
fn settings(summary: &Summary) -> String {
    let has_choices = |name: &String| summary.outcomes.iter().any(|one| one.broker == *name && !one.choices.is_empty());
    let names: Vec<String> = summary.names().into_iter().filter(has_choices).map(|name| format!("{name}'s")).collect();
    if names.is_empty() {
        return "Mosquitto and RMQTT ran with `TCP_NODELAY` on. With it off, as they ship, they are slower at the end of a burst and \
                carry more in bulk.\nAgainst the settings that are best for each, their distance in question 2 is smaller than \
                these tables say.\n"
            .to_owned();
    }
    format!(
        "Where the users of a broker choose a setting by their load (`TCP_NODELAY`), it was measured with both, and each figure \
         is\nthe better one: {}. A number beside it leads to which.\n",
        names.join(", ")
    )
}

fn source(summary: &Summary, date: &str) -> String {
    let machine = &summary.machine;
    let versions: Vec<&str> = summary.brokers.values().filter_map(|version| version.as_deref().ok()).collect();
    format!(
        "Measured on {date} on one machine: {}, {} logical cores, {} GiB of memory, Linux {}.\nBrokers: {}.\n\
         All figures: [docs/measurements/{date}.md](docs/measurements/{date}.md).\n",
        machine.cpu,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        versions.join(", ")
    )
}

/// Where dunlin is not ahead of every other, in words.
fn losses(summary: &Summary) -> String {
    let standings = tables::comparisons().into_iter().flat_map(|(_, first, rows)| {
        let named =
            move |row: Row| if first == "figure" { format!("{}: {}", row.cell, row.label) } else { row.label.clone() };
        rows.into_iter().filter_map(move |row| Some((tables::against_the_best(summary, &row)?, named(row))))
    });
    let all: Vec<_> = standings.collect();
    if all.is_empty() {
        return NOTHING.to_owned();
    }
    let list = |wanted: &dyn Fn(&tables::Standing) -> bool| -> Vec<String> {
        let wanted = all.iter().filter(|(standing, _)| wanted(standing));
        wanted.map(|(standing, label)| format!("- {label}: {}", standing.words().replace("**loses**: ", ""))).collect()
    };
    let behind = list(&|standing| standing.factor < 1.0);
    let alike = list(&|standing| standing.factor >= 1.0 && standing.overlaps);
    let mut text = format!(
        "Of {} figures dunlin is ahead of every other broker in {}.",
        all.len(),
        all.len() - behind.len() - alike.len()
    );
    for (words, items) in [("It loses", &behind), ("It is ahead, but not beyond the noise,", &alike)] {
        if !items.is_empty() {
            let _ = write!(text, "\n\n{words} in {}:\n\n{}", items.len(), items.join("\n"));
        }
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::Outcome;

    fn outcome(broker: &str, p50_us: [f64; 3], fault: Option<&str>) -> Outcome {
        Outcome {
            cell: "latency".to_owned(),
            broker: broker.to_owned(),
            rounds: 3,
            fault: fault.map(str::to_owned),
            values: [(metric::P50_US.to_owned(), p50_us)].into(),
            ..Outcome::default()
        }
    }

    fn answer(name: &str, outcomes: Vec<Outcome>) -> String {
        let summary = Summary { outcomes, ..Summary::default() };
        all(&summary, "2026-11-26").into_iter().find(|(known, _)| known == name).expect("an answer").1
    }

    #[test]
    fn an_answer_shows_dunlin_the_known_broker_and_the_best_other() {
        let outcomes = vec![
            outcome("dunlin", [5.0, 4.0, 6.0], None),
            outcome("mosquitto", [4.0, 4.0, 4.0], Some("1 lost")),
            outcome("nats", [9.0; 3], None),
            outcome("aedes", [8.0; 3], None),
            outcome(floor::NAME, [3.0; 3], None),
        ];
        let text = answer("answer-latency", outcomes);
        let row = "| half arrive within, us | **5.00** | failed (1) | aedes: 8.00 | 3.00 |";
        assert!(text.contains(row), "{text}");
        assert!(text.ends_with("\n\n1. mosquitto: 1 lost\n"), "{text}");
    }

    #[test]
    fn what_the_peers_ran_with_is_said_by_the_figures_themselves() {
        let mut chosen = outcome("mosquitto", [4.0; 3], None);
        assert!(answer("answer-settings", vec![chosen.clone()]).contains("ran with `TCP_NODELAY` on"));
        chosen.choices.insert(metric::P50_US.to_owned(), "TCP_NODELAY off, as it ships".to_owned());
        let text = answer("answer-settings", vec![chosen.clone()]);
        assert!(text.contains("the better one: mosquitto's") && !text.contains("ran with"), "{text}");
        let text = answer("answer-latency", vec![chosen]);
        assert!(text.contains("**4.00** (1)") && text.contains("1. mosquitto: TCP_NODELAY off"), "{text}");
    }

    #[test]
    fn ranges_that_overlap_are_shown_and_the_best_is_bold_whoever_it_is() {
        let outcomes = vec![outcome("dunlin", [5.0, 4.0, 6.0], None), outcome("mosquitto", [4.5, 4.0, 7.0], None)];
        let text = answer("answer-latency", outcomes);
        let row = "| half arrive within, us | 5.00 (4.00-6.00) | **4.50** (4.00-7.00) | - | - |";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn losses_are_listed_and_so_is_what_the_noise_hides() {
        let losing = vec![outcome("dunlin", [5.0; 3], None), outcome("nats", [4.0; 3], None)];
        let text = answer("answer-losses", losing);
        assert!(
            text.starts_with("Of 1 figures dunlin is ahead of every other broker in 0.\n\nIt loses in 1:"),
            "{text}"
        );
        assert!(text.contains("- latency: p50, us: 1.25x worse than nats"), "{text}");
        let alike = vec![outcome("dunlin", [5.0, 4.0, 9.0], None), outcome("nats", [6.0, 4.0, 7.0], None)];
        let text = answer("answer-losses", alike);
        assert!(text.contains("It is ahead, but not beyond the noise, in 1:\n\n- latency: p50, us: 1.20x"), "{text}");
        assert_eq!(answer("answer-losses", Vec::new()), NOTHING);
    }
}
