//! Answers of the API as people read them.
//!
//! Always holds: what a client could choose takes one line, and no control character reaches the terminal.

use std::fmt::Write as _;

use serde_json::Value;

/// Columns of a table: a heading, and the text of each line.
type Column = (&'static str, fn(&Value) -> String);

/// One value a line, with its name.
pub(super) fn fields(value: &Value) -> String {
    let mut lines = Vec::new();
    collect("", value, &mut lines);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name:width$}  {value}");
        text
    })
}

/// What a moment is called without its unit, where a field is one.
fn moment_of(name: &str) -> Option<&str> {
    let is_moment = name.ends_with("_at_ms") || matches!(name, "until_ms" | "since_ms" | "last_error_ms");
    name.strip_suffix("_ms").filter(|_| is_moment)
}

fn collect(name: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    let below = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| collect(&below(key), value, lines)),
        Value::Array(values) if values.iter().all(Value::is_object) => {
            let texts = values.iter().map(|value| {
                let members = value.as_object().into_iter().flatten();
                members.map(|(_, value)| plain(value)).collect::<Vec<_>>().join(" ")
            });
            lines.push((name.to_owned(), or_dash(texts.collect::<Vec<_>>().join(", "))));
        }
        Value::Array(values) => {
            lines.push((name.to_owned(), or_dash(values.iter().map(plain).collect::<Vec<_>>().join(" "))));
        }
        other => match moment_of(name).zip(other.as_u64()) {
            Some((moment, unix_ms)) => lines.push((moment.to_owned(), rfc3339(unix_ms))),
            None => lines.push((name.to_owned(), plain(other))),
        },
    }
}

/// One line for each, with what it holds.
pub(super) fn clients(list: &Value) -> String {
    table(
        list,
        &[
            ("CLIENT", |client| plain(&client["client_id"])),
            ("CONNECTED", |client| if client["connected"] == true { "yes".into() } else { "no".into() }),
            ("VERSION", |client| plain(&client["protocol_version"])),
            ("SUBSCRIPTIONS", |client| plain(&client["subscriptions"])),
            ("QUEUED", |client| plain(&client["queued_messages"])),
            ("ADDRESS", |client| plain(&client["address"])),
            ("USER", |client| plain(&client["user"])),
        ],
    )
}

/// Who is subscribed, one a line.
pub(super) fn subscriptions(list: &Value) -> String {
    table(
        list,
        &[
            ("CLIENT", |row| plain(&row["client_id"])),
            ("CONNECTED", |row| if row["connected"] == true { "yes".into() } else { "no".into() }),
            ("QOS", |row| plain(&row["qos"])),
            ("HEARS", |row| if row["may_receive"] == false { "no: rules".into() } else { "yes".into() }),
            ("FILTER", |row| plain(&row["filter"])),
        ],
    )
}

/// The members of a shared subscription.
pub(super) fn members(list: &Value) -> String {
    table(
        list,
        &[
            ("CLIENT", |row| plain(&row["client_id"])),
            ("CONNECTED", |row| if row["connected"] == true { "yes".into() } else { "no".into() }),
            ("QOS", |row| plain(&row["qos"])),
            ("PICKED", |row| plain(&row["picked_messages"])),
        ],
    )
}

/// Sinks, one a line.
pub(super) fn sinks(list: &Value) -> String {
    table(
        list,
        &[
            ("SINK", |row| plain(&row["name"])),
            ("STATUS", |row| plain(&row["status"])),
            ("QUEUED", |row| plain(&row["queued_messages"])),
            ("LAG", |row| row["oldest_queued_ms"].as_u64().map_or("-".to_owned(), |ms| format!("{} s", ms / 1_000))),
            ("DELIVERED", |row| plain(&row["delivered"])),
            ("DEAD", |row| plain(&row["dead_letters"])),
            ("FAILED", |row| plain(&row["failed_attempts"])),
            ("DROPPED", |row| plain(&row["queue_dropped"])),
            ("TARGET", |row| plain(&row["target"])),
            ("LAST ERROR", last_error),
        ],
    )
}

/// Sources, one a line.
pub(super) fn sources(list: &Value) -> String {
    table(
        list,
        &[
            ("SOURCE", |row| plain(&row["name"])),
            ("STATUS", |row| plain(&row["status"])),
            ("LAG", |row| row["lag_messages"].as_u64().map_or("-".to_owned(), |messages| messages.to_string())),
            ("MESSAGES", |row| plain(&row["messages"])),
            ("LEFT BEHIND", |row| plain(&row["left_behind"])),
            ("FAILED", |row| plain(&row["failures"])),
            ("ADDRESS", |row| plain(&row["address"])),
            ("LAST ERROR", last_error),
        ],
    )
}

/// What went wrong last with a bridge, a sink or a source: now, or when that was.
fn last_error(row: &Value) -> String {
    if row["last_error"].is_null() {
        return plain(&row["last_error"]);
    }
    let when = if row["failing"] == true {
        "now".to_owned()
    } else {
        let at = row["last_error_at_ms"].as_u64().or_else(|| row["last_error_ms"].as_u64());
        at.map_or_else(String::new, rfc3339)
    };
    format!("{when}: {}", plain(&row["last_error"]))
}

/// A list of shared subscriptions.
pub(super) fn groups(list: &Value) -> String {
    table(
        list,
        &[
            ("MEMBERS", |group| plain(&group["members"])),
            ("CONNECTED", |group| plain(&group["connected"])),
            ("FILTER", |group| plain(&group["filter"])),
        ],
    )
}

/// The first clients in an order of what is known of each at any time.
pub(super) fn top(answer: &Value) -> String {
    let columns: [Column; 2] = [("VALUE", |row| plain(&row["value"])), ("CLIENT", |row| plain(&row["client_id"]))];
    table(&answer["clients"], &columns)
}

/// The first clients in an order of what is counted while somebody looks.
pub(super) fn top_counted(answer: &Value) -> String {
    counted(answer, &top(answer))
}

/// The first topics in some order.
pub(super) fn topics(answer: &Value) -> String {
    let columns: [Column; 6] = [
        ("MESSAGES", |row| plain(&row["messages"])),
        ("A SECOND", |row| plain(&row["messages_per_s"])),
        ("BYTES A SECOND", |row| plain(&row["bytes_per_s"])),
        ("LAST", |row| format!("{} ms ago", plain(&row["last_ago_ms"]))),
        ("CLIENTS", |row| plain(&row["publishers"])),
        ("TOPIC", |row| plain(&row["topic"])),
    ];
    counted(answer, &table(&answer["topics"], &columns))
}

/// A table of what is counted while somebody looks.
fn counted(answer: &Value, table: &str) -> String {
    format!("{table}(counted for {} s)\n", answer["counted_ms"].as_u64().unwrap_or_default() / 1_000)
}

/// A list of retained messages.
pub(super) fn retained(list: &Value) -> String {
    table(
        list,
        &[
            ("TOPIC", |message| plain(&message["topic"])),
            ("QOS", |message| plain(&message["qos"])),
            ("BYTES", |message| plain(&message["payload_bytes"])),
            ("EXPIRES", |message| message["expires_at_ms"].as_u64().map_or_else(|| "never".to_owned(), rfc3339)),
            ("PAYLOAD", |message| match &message["payload"] {
                Value::String(text) => plain(&Value::String(text.clone())),
                _ => format!("base64:{}", plain(&message["payload_base64"])),
            }),
        ],
    )
}

/// Where the broker accepts, one a line.
pub(super) fn listeners(list: &Value) -> String {
    table(
        list,
        &[
            ("LISTENER", |row| plain(&row["name"])),
            ("ADDRESS", |row| plain(&row["address"])),
            ("KIND", |row| plain(&row["kind"])),
            ("ACCEPTS", |row| if row["accepting"] == true { "yes".into() } else { "no".into() }),
            ("CONNECTIONS", |row| plain(&row["connections"])),
        ],
    )
}

/// Bridges to other brokers, one a line.
pub(super) fn bridges(list: &Value) -> String {
    table(
        list,
        &[
            ("BRIDGE", |row| plain(&row["name"])),
            ("STATUS", |row| plain(&row["status"])),
            ("SINCE", |row| row["since_ms"].as_u64().map_or_else(String::new, rfc3339)),
            ("ADDRESS", |row| plain(&row["address"])),
            ("IN", |row| plain(&row["messages_in"])),
            ("OUT", |row| plain(&row["messages_out"])),
            ("CONNECTS", |row| plain(&row["connects"])),
            ("QUEUED", |row| plain(&row["queued_messages"])),
            ("LAST ERROR", last_error),
        ],
    )
}

/// Who is not let in, one a line.
pub(super) fn bans(list: &Value) -> String {
    table(
        list,
        &[
            ("CLIENT", |ban| plain(&ban["client_id"])),
            ("NETWORK", |ban| plain(&ban["network"])),
            ("UNTIL", |ban| ban["until_ms"].as_u64().map_or_else(String::new, rfc3339)),
            ("REASON", |ban| plain(&ban["reason"])),
        ],
    )
}

/// What is told to whom, one a line.
pub(super) fn traces(list: &Value) -> String {
    table(
        list,
        &[
            ("ID", |trace| plain(&trace["id"])),
            ("TO", |trace| plain(&trace["to"])),
            ("DETAIL", |trace| plain(&trace["detail"])),
            ("CLIENT", |trace| plain(&trace["client_id"])),
            ("ADDRESS", |trace| plain(&trace["address"])),
            ("TOPIC", |trace| plain(&trace["topic"])),
        ],
    )
}

/// One line of a trace.
pub(super) fn traced(event: &Value) -> String {
    if event["lines"].is_u64() {
        return format!("({} lines were lost so far)\n", plain(&event["lines"]));
    }
    let seconds_of_day = event["at_ms"].as_u64().unwrap_or_default() % 86_400_000;
    let (hours, rest) = (seconds_of_day / 3_600_000, seconds_of_day % 3_600_000);
    let (minutes, ms) = (rest / 60_000, rest % 60_000);
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    let [name, client, address, topic, text] =
        ["event", "client_id", "address", "topic", "text"].map(|key| plain(&event[key]));
    format!(
        "{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z {name} client={client} peer={address} topic={topic} {text}\n"
    )
}

/// Settings in effect.
pub(super) fn settings(list: &Value) -> String {
    table(
        list,
        &[
            ("SETTING", |setting| plain(&setting["name"])),
            ("VALUE", |setting| plain(&setting["value"])),
            ("FROM", |setting| plain(&setting["source"])),
            ("CHANGES AT", |setting| if setting["reloadable"] == true { "reload".into() } else { "start".into() }),
        ],
    )
}

/// What a message has met.
pub(super) fn published(answer: &Value) -> String {
    let text = if answer["matched"] == true { "somebody is subscribed" } else { "nobody is subscribed" };
    format!("published; {text}\n")
}

/// It was done, and there is no more to say of it.
pub(super) fn done(_: &Value) -> String {
    "done\n".to_owned()
}

/// What a reload has come to.
pub(super) fn reloaded(answer: &Value) -> String {
    let mut text = String::new();
    for (list, after) in [("changed", ""), ("needs_start", " (at the next start)")] {
        for changed in answer[list].as_array().into_iter().flatten() {
            let [name, old, new] = ["name", "old", "new"].map(|key| plain(&changed[key]));
            let _ = writeln!(text, "{name}: {old} -> {new}{after}");
        }
    }
    if text.is_empty() { "nothing has changed\n".to_owned() } else { text }
}

fn table(list: &Value, columns: &[Column]) -> String {
    let lines = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let cells: Vec<Vec<String>> =
        lines.iter().map(|line| columns.iter().map(|(_, cell)| cut(cell(line))).collect()).collect();
    let width = |at: usize| {
        let longest = cells.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
        longest.max(columns[at].0.len())
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let headings: Vec<String> = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let mut text = String::new();
    for line in std::iter::once(&headings).chain(&cells) {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

/// A time as the log writes it, to the second.
fn rfc3339(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their odd day at the end; 400 of them have 146,097 days. Day 0 is 1970-01-01.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let of_era_years = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * of_era_years + of_era_years / 4 - of_era_years / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + of_era_years + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Characters of a cell; the whole is in what --json prints.
const CELL_MAX: usize = 80;

fn cut(cell: String) -> String {
    if cell.chars().count() <= CELL_MAX {
        return cell;
    }
    cell.chars().take(CELL_MAX - 3).chain("...".chars()).collect()
}

/// What a list that holds nothing is shown as.
fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// One value in one line.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.chars().flat_map(visible).collect(),
        other => other.to_string(),
    }
}

/// A text as a terminal may be given it.
pub(super) fn visible_text(text: &str) -> String {
    text.chars().flat_map(visible).collect()
}

/// A character as a terminal may be given it.
fn visible(c: char) -> Vec<char> {
    let is_hidden = matches!(c, '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}');
    if c.is_control() || is_hidden { c.escape_default().collect() } else { vec![c] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_dates() {
        for (unix_ms, shown) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59Z"),
            (1_772_366_400_000, "2026-03-01T12:00:00Z"),
            (4_102_444_799_000, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(unix_ms), shown, "{unix_ms}");
        }
        let list = json!([{"client_id": "a", "until_ms": 1_772_366_400_000_u64, "reason": "x"}, {"client_id": "b", "reason": "y"}]);
        let shown = bans(&list);
        assert!(
            shown.contains("UNTIL") && shown.contains("2026-03-01T12:00:00Z") && !shown.contains("null"),
            "{shown}"
        );
        assert_eq!(fields(&json!({"until_ms": 1_772_366_400_000_u64})), "until  2026-03-01T12:00:00Z\n");
        let away = json!({"disconnected_at_ms": 1_772_366_400_000_u64, "oldest_queued_ms": 300});
        assert_eq!(fields(&away), "disconnected_at   2026-03-01T12:00:00Z\noldest_queued_ms  300\n");
        let kept = json!([{"topic": "a", "qos": 0, "payload_bytes": 1, "payload": "x", "expires_at_ms": 1_772_366_400_000_u64},
                          {"topic": "b", "qos": 1, "payload_bytes": 1, "payload": "y"}]);
        let shown = retained(&kept);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1], "a      0    1      2026-03-01T12:00:00Z  x");
        assert_eq!(lines[2], "b      1    1      never                 y");
    }

    #[test]
    fn a_table_is_aligned_and_what_clients_chose_does_no_harm() {
        let list = json!([
            {"client_id": "a", "connected": true, "protocol_version": "5.0", "subscriptions": 12, "queued_messages": 0,
             "address": "192.0.2.1:9", "user": "ann"},
            {"client_id": "evil\u{1b}[2J\n", "connected": false, "subscriptions": 1, "queued_messages": 7},
        ]);
        let lines = clients(&list);
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines[0], "CLIENT           CONNECTED  VERSION  SUBSCRIPTIONS  QUEUED  ADDRESS      USER");
        assert_eq!(lines[1], "a                yes        5.0      12             0       192.0.2.1:9  ann");
        assert_eq!(lines[2], "evil\\u{1b}[2J\\n  no         -        1              7       -            -");
    }

    #[test]
    fn fields_are_named_by_where_they_stand() {
        let value = json!({"node": "n", "connection": {"silent_s": 3}, "filters": ["a", "b"], "drops": [{"reason": "x", "messages": 2}],
                           "bans": []});
        let text = fields(&value);
        for line in [
            "connection.silent_s  3",
            "filters              a b",
            "drops                2 x",
            "node                 n",
            "bans                 -",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_reload_is_told_setting_by_setting() {
        let answer = json!({"changed": [{"name": "[a] b", "old": "1", "new": "2"}],
                            "needs_start": [{"name": "[c] d", "old": "x", "new": "y"}]});
        assert_eq!(reloaded(&answer), "[a] b: 1 -> 2\n[c] d: x -> y (at the next start)\n");
        assert_eq!(reloaded(&json!({"changed": [], "needs_start": []})), "nothing has changed\n");
    }
}
