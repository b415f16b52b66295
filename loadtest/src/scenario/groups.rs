//! The groups of a scenario file.
//!
//! What is missing or wrong has been told when these return, and stands in the group as what is usual.

use std::path::Path;
use std::time::Duration;

use super::document::{Item, Value};
use super::fields::Fields;
use crate::{
    plan::{Content, Group, Order, Pace, Publishing, Reads, RetainHandling, Subscription, Targets, Template},
    units,
};

/// Reads a `[[group]]`; what is wrong goes to the problems of `fields`. Payload files are looked for in `folder`.
pub(super) fn group(fields: Fields, folder: &Path) -> Group {
    let name = fields.needed("name", fields.text("name")).unwrap_or_else(|| format!("of line {}", fields.line()));
    let clients = fields.needed("clients", fields.count("clients")).unwrap_or(1);
    let client_id = fields.text("client_id").unwrap_or_else(|| format!("loadtest-{name}-%i"));
    let mut group = Group::new(&name, clients, &client_id);
    let qos = fields.count("qos").unwrap_or(1);
    group.first = fields.count("first").unwrap_or(group.first);
    group.clean_start = fields.flag("clean_start").unwrap_or(group.clean_start);
    group.session_expiry_s = fields.whole_seconds("session_expiry").unwrap_or(group.session_expiry_s);
    group.receive_maximum = fields.count("receive_maximum").unwrap_or(group.receive_maximum);
    group.subscriptions =
        fields.items("subscribe").iter().filter_map(|item| subscription(&fields, item, qos)).collect();
    group.pipeline = fields.flag("pipeline").unwrap_or(group.pipeline);
    group.publishing = fields.table("publish").map(|publish| publishing(publish, clients, qos, folder));
    group.reads = reads(&fields);
    fields.finish();
    group
}

fn reads(fields: &Fields) -> Reads {
    match fields.text("reads").as_deref() {
        None | Some("all") => Reads::AllTheTime,
        Some("stalled") => Reads::Stalled,
        Some(text) => {
            let bytes = units::size(text.trim_end_matches("/s")).ok().and_then(|bytes| u32::try_from(bytes).ok());
            if let Some(bytes_per_s) = bytes {
                return Reads::Slow { bytes_per_s };
            }
            let problem = format!("reads = {text:?} is not \"all\", \"stalled\" or a size such as \"10KB/s\"");
            fields.error_at("reads", &problem);
            Reads::AllTheTime
        }
    }
}

fn subscription(group: &Fields, item: &Item, qos: u8) -> Option<Subscription> {
    let keys = match &item.value {
        Value::Text(filter) => return Some(Subscription::new(filter, qos)),
        Value::Table(keys) => keys.clone(),
        other => {
            group.error_at("subscribe", &format!("subscribe holds {other}, which is neither a filter nor a table"));
            return None;
        }
    };
    let fields = Fields::new(group.place_of("subscribe"), item.line, keys, group.problems());
    let filter = fields.needed("filter", fields.text("filter")).unwrap_or_else(|| "#".to_owned());
    let mut subscription = Subscription::new(&filter, fields.count("qos").unwrap_or(qos));
    subscription.no_local = fields.flag("no_local").unwrap_or(false);
    subscription.retain_as_published = fields.flag("retain_as_published").unwrap_or(false);
    let handling = [
        ("send", RetainHandling::Send),
        ("send_if_new", RetainHandling::SendIfNew),
        ("do_not_send", RetainHandling::DoNotSend),
    ];
    subscription.retain_handling = fields.word("retain_handling", &handling).unwrap_or_default();
    fields.finish();
    Some(subscription)
}

fn publishing(fields: Fields, clients: u32, qos: u8, folder: &Path) -> Publishing {
    let pace = pace(&fields, clients);
    let targets = targets(&fields);
    let topic = fields.needed("topic", fields.text("topic"));
    let publishing = Publishing {
        topic: Template::new(topic.unwrap_or_else(|| "missing".to_owned())),
        qos: fields.count("qos").unwrap_or(qos),
        retain: fields.flag("retain").unwrap_or(false),
        payload_bytes: fields.size("payload").unwrap_or(64),
        content: content(&fields, folder),
        pace: pace.unwrap_or(Pace::Closed { window: 1 }),
        messages_per_client: fields.count("messages"),
        targets,
    };
    fields.finish();
    publishing
}

/// What payloads hold: a text, a text in a file, or files. Paths count from the scenario's folder.
fn content(fields: &Fields, folder: &Path) -> Vec<Content> {
    let given: Vec<&str> =
        ["payload", "message", "message_file", "files"].into_iter().filter(|key| fields.has(key)).collect();
    if given.len() > 1 {
        fields.error_at(given[1], &format!("{} and {} are one too many", given[0], given[1]));
    }
    let failed =
        |key: &str, name: &str, error: std::io::Error| fields.error_at(key, &format!("{key}: {name}: {error}"));
    let mut contents: Vec<Content> = fields.text("message").map(Content::Template).into_iter().collect();
    if let Some(name) = fields.text("message_file") {
        match std::fs::read_to_string(folder.join(&name)) {
            Ok(text) => contents.push(Content::Template(text)),
            Err(error) => failed("message_file", &name, error),
        }
    }
    for name in fields.names("files") {
        match std::fs::read(folder.join(&name)) {
            Ok(bytes) => contents.push(Content::Bytes(bytes)),
            Err(error) => failed("files", &name, error),
        }
    }
    contents
}

fn pace(fields: &Fields, clients: u32) -> Option<Pace> {
    let given = ["rate", "every", "window"].into_iter().filter(|key| fields.has(key)).count();
    if given != 1 {
        fields.error(
            "one of rate (messages a second of the whole group), every (of each client) and window (the closed loop) is \
             needed",
        );
    }
    let paces = [
        fields.number("rate").map(|rate| Pace::Open { per_client_per_s: rate / f64::from(clients.max(1)) }),
        fields.span("every").filter(|span| is_above_0(fields, *span)).map(every),
        fields.count("window").map(|window| Pace::Closed { window }),
    ];
    paces.into_iter().flatten().next()
}

fn every(span: Duration) -> Pace {
    Pace::Open { per_client_per_s: 1.0 / span.as_secs_f64() }
}

fn is_above_0(fields: &Fields, span: Duration) -> bool {
    if span.is_zero() {
        fields.error_at("every", "every is the time from one message of a client to its next, and above 0");
    }
    !span.is_zero()
}

fn targets(fields: &Fields) -> Option<Targets> {
    let order = fields.word("target_order", &[("random", Order::Random), ("in_turn", Order::InTurn)]);
    let first = fields.count("target_first");
    let count = fields.count("targets");
    if count.is_none() && !fields.has("targets") && (order.is_some() || first.is_some()) {
        fields.error("targets is missing");
    }
    Some(Targets { first: first.unwrap_or_default(), count: count?, order: order.unwrap_or_default() })
}
