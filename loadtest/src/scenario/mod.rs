//! Scenario files: groups of clients and the stages they go through, as TOML.
//!
//! Owns: the file's keys, and turning them into a [`Plan`]. Always holds: an unknown key is an error that names the
//! nearest known one; what a plan refuses ([`Plan::check`]) is refused before anything runs. `docs/LOADTEST.md` teaches
//! the format, and its example is one of the tests here.

mod fields;
mod stages;

use fields::Fields;
use toml::{Table, Value};

use crate::{
    plan::{
        Group, MqttVersion, Order, Pace, Plan, Publishing, Reads, RetainHandling, Sources, Subscription, Target,
        Targets, Template,
    },
    threshold::Threshold,
    units,
};

/// A scenario: what to do, and what makes it fail.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What to do.
    pub plan: Plan,
    /// `fail_if` of the file.
    pub thresholds: Vec<Threshold>,
    /// Keys of `[broker]` that the file has, so that flags that were not given leave them alone.
    pub names_broker: bool,
}

/// Reads a scenario. `name` is used where the file has none.
pub fn read(name: &str, text: &str) -> Result<Scenario, String> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())?;
    let file = Fields::new("scenario", table);
    let target = file.table("broker")?;
    let names_broker = target.as_ref().is_some_and(|broker| broker.has("host"));
    let plan = Plan {
        name: file.text("name")?.unwrap_or_else(|| name.to_owned()),
        description: file.text("description")?.unwrap_or_default(),
        target: target.map_or_else(|| Ok(Target::default()), broker)?,
        groups: file.tables("group")?.into_iter().map(group).collect::<Result<_, _>>()?,
        stages: file.tables("stage")?.into_iter().map(stages::stage).collect::<Result<_, _>>()?,
        workers: file.count("workers")?.unwrap_or(0),
        sources: Sources::Auto,
        run_id: 0,
        seed: file.count("seed")?.unwrap_or(1),
        drain_s: file.whole_seconds("drain")?.unwrap_or(10),
        part: crate::plan::Part::default(),
        clocks: Vec::new(),
    };
    let thresholds = file.texts("fail_if")?.iter().map(|text| Threshold::parse(text)).collect::<Result<Vec<_>, _>>()?;
    file.finish()?;
    plan.check().map_err(|error| error.to_string())?;
    Ok(Scenario { plan, thresholds, names_broker })
}

const VERSIONS: &[(&str, MqttVersion)] = &[
    ("5.0", MqttVersion::V5),
    ("5", MqttVersion::V5),
    ("3.1.1", MqttVersion::V311),
    ("4", MqttVersion::V311),
    ("3.1", MqttVersion::V31),
    ("3", MqttVersion::V31),
];

/// The version that a text names, by MQTT's own number or by the protocol level.
pub fn version(text: &str) -> Result<MqttVersion, String> {
    let found = VERSIONS.iter().find(|(name, _)| *name == text);
    found.map(|(_, version)| *version).ok_or_else(|| format!("{text:?} is no version of MQTT: 5, 3.1.1 or 3.1"))
}

fn broker(fields: Fields) -> Result<Target, String> {
    let usual = Target::default();
    let target = Target {
        host: fields.text("host")?.unwrap_or(usual.host),
        port: fields.count("port")?.unwrap_or(usual.port),
        version: fields.word("version", VERSIONS)?.unwrap_or(usual.version),
        username: fields.text("username")?.map(Template::new),
        password: fields.text("password")?,
        keep_alive_s: fields.whole_seconds("keep_alive")?.unwrap_or(usual.keep_alive_s),
        connect_timeout_s: fields.whole_seconds("connect_timeout")?.unwrap_or(usual.connect_timeout_s),
    };
    fields.finish()?;
    Ok(target)
}

fn group(fields: Fields) -> Result<Group, String> {
    let name = fields.needed("name", fields.text("name")?)?;
    let clients = fields.needed("clients", fields.count("clients")?)?;
    let client_id = fields.text("client_id")?.unwrap_or_else(|| format!("loadtest-{name}-%i"));
    let mut group = Group::new(&name, clients, &client_id);
    let qos = fields.count("qos")?.unwrap_or(1);
    group.first = fields.count("first")?.unwrap_or(group.first);
    group.clean_start = fields.flag("clean_start")?.unwrap_or(group.clean_start);
    group.session_expiry_s = fields.whole_seconds("session_expiry")?.unwrap_or(group.session_expiry_s);
    group.receive_maximum = fields.count("receive_maximum")?.unwrap_or(group.receive_maximum);
    group.subscriptions =
        fields.values("subscribe")?.iter().map(|value| subscription(&fields, value, qos)).collect::<Result<_, _>>()?;
    group.pipeline = fields.flag("pipeline")?.unwrap_or(group.pipeline);
    group.publishing = fields.table("publish")?.map(|publish| publishing(publish, clients, qos)).transpose()?;
    group.reads = match fields.text("reads")?.as_deref() {
        None | Some("all") => Reads::AllTheTime,
        Some("stalled") => Reads::Stalled,
        Some(text) => {
            let bytes = units::size(text.trim_end_matches("/s")).ok().and_then(|bytes| u32::try_from(bytes).ok());
            let wrong =
                || fields.error(&format!("reads = {text:?} is not \"all\", \"stalled\" or a size such as \"10KB/s\""));
            Reads::Slow { bytes_per_s: bytes.ok_or_else(wrong)? }
        }
    };
    fields.finish()?;
    Ok(group)
}

fn subscription(group: &Fields, value: &Value, qos: u8) -> Result<Subscription, String> {
    let table = match value {
        Value::String(filter) => return Ok(Subscription::new(filter, qos)),
        Value::Table(table) => table.clone(),
        other => return Err(group.error(&format!("subscribe holds {other}, which is neither a filter nor a table"))),
    };
    let fields = Fields::new(group.error("subscribe"), table);
    let filter = fields.needed("filter", fields.text("filter")?)?;
    let mut subscription = Subscription::new(&filter, fields.count("qos")?.unwrap_or(qos));
    subscription.no_local = fields.flag("no_local")?.unwrap_or(false);
    subscription.retain_as_published = fields.flag("retain_as_published")?.unwrap_or(false);
    let handling = [
        ("send", RetainHandling::Send),
        ("send_if_new", RetainHandling::SendIfNew),
        ("do_not_send", RetainHandling::DoNotSend),
    ];
    subscription.retain_handling = fields.word("retain_handling", &handling)?.unwrap_or_default();
    fields.finish()?;
    Ok(subscription)
}

fn publishing(fields: Fields, clients: u32, qos: u8) -> Result<Publishing, String> {
    let paces = [
        fields.number("rate")?.map(|rate| Pace::Open { per_client_per_s: rate / f64::from(clients) }),
        fields.span("every")?.map(|span| Pace::Open { per_client_per_s: 1.0 / span.as_secs_f64() }),
        fields.count("window")?.map(|window| Pace::Closed { window }),
    ];
    let mut paces = paces.into_iter().flatten();
    let (Some(pace), None) = (paces.next(), paces.next()) else {
        return Err(fields.error(
            "one of rate (messages a second of the whole group), every (of each client) and window (the closed loop) is \
             needed",
        ));
    };
    let order = fields.word("target_order", &[("random", Order::Random), ("in_turn", Order::InTurn)])?;
    let first = fields.count("target_first")?;
    let targets = match fields.count("targets")? {
        Some(count) => Some(Targets { first: first.unwrap_or_default(), count, order: order.unwrap_or_default() }),
        None if order.is_some() || first.is_some() => return Err(fields.error("targets is missing")),
        None => None,
    };
    let publishing = Publishing {
        topic: Template::new(fields.needed("topic", fields.text("topic")?)?),
        qos: fields.count("qos")?.unwrap_or(qos),
        retain: fields.flag("retain")?.unwrap_or(false),
        payload_bytes: fields.size("payload")?.unwrap_or(64),
        pace,
        messages_per_client: fields.count("messages")?,
        targets,
    };
    fields.finish()?;
    Ok(publishing)
}

#[cfg(test)]
mod tests;
