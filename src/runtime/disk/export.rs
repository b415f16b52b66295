//! `dunlin store export`: everything in a directory, a JSON object a line.
//!
//! The first line is of kind `directory`; then a `session` for each, each followed by its `owner`, `allowed_filter`, `subscription`, `will`, `exchange`
//! and `delivery` lines, sorted by client id; then `retained` by topic, `forward`, and `damage` for what is lost. The last is of kind `end`: without it
//! an export was cut off.

use std::collections::HashMap;
use std::io::{self, Write};

use super::json::JsonLine;
use super::survey::{Survey, SurveyError};
use crate::auth::acl::RuleSet;
use crate::store::format::{BackEndDecision, FORMAT_VERSION, MessageId};
use crate::store::state::{StoredDelivery, StoredSession};
use crate::store::{RecoveredLog, StoredMessage};
use crate::topic::SubscribedFilter;

/// Writes everything to `out`.
pub fn export(survey: &Survey, out: &mut dyn Write) -> Result<io::Result<()>, SurveyError> {
    let mut export = Export { survey, out, names: SurveyNames::of(survey), result: Ok(()) };
    export.directory();
    let mut sessions: Vec<(&StoredSession, &RecoveredLog)> = Vec::new();
    for log in &survey.logs {
        sessions.extend(log.state.sessions().map(|(_, session)| (session, log)));
    }
    sessions.sort_by(|(left, _), (right, _)| left.client_id.cmp(&right.client_id));
    for (session, log) in sessions {
        export.session(session, log)?;
    }
    for log in &survey.logs {
        export.others(log)?;
    }
    export.write(JsonLine::end());
    Ok(export.result)
}

struct Export<'a> {
    survey: &'a Survey,
    out: &'a mut dyn Write,
    names: SurveyNames<'a>,
    /// The first thing that went wrong with `out`; nothing is written behind it.
    result: io::Result<()>,
}

impl Export<'_> {
    fn write(&mut self, line: JsonLine) {
        if self.result.is_ok() {
            self.result = self.out.write_all(line.finish().as_bytes());
        }
    }

    fn directory(&mut self) {
        let manifest = &self.survey.manifest;
        let mut line = JsonLine::of("directory");
        line.number("format", FORMAT_VERSION.into());
        line.text("node_name", &manifest.node_name);
        line.number("shards", manifest.shards.into());
        line.number("made_unix_ms", manifest.made.0);
        self.write(line);
    }

    fn session(&mut self, session: &StoredSession, log: &RecoveredLog) -> Result<(), SurveyError> {
        let mut line = JsonLine::of("session");
        line.text("client_id", &session.client_id);
        line.number("expiry_s", session.expiry_s.into());
        line.number("begun_unix_ms", session.begun.0);
        line.maybe("disconnected_unix_ms", session.disconnected.map(|at| at.0));
        self.write(line);
        self.owner(session);
        for (filter, subscription) in session.subscriptions.iter() {
            let mut line = JsonLine::of("subscription");
            line.text("client_id", &session.client_id);
            line.text("filter", filter);
            // As SUBSCRIBE packs them (MQTT 5.0, 3.8.3.1).
            let options = subscription.options;
            line.number("qos", (options & 3).into());
            line.flag("no_local", options & 4 != 0);
            line.flag("retain_as_published", options & 8 != 0);
            line.number("retain_handling", (options >> 4 & 3).into());
            line.maybe("identifier", subscription.identifier.map(|identifier| identifier.get().into()));
            self.write(line);
        }
        if let Some(will) = &session.will {
            let mut line = JsonLine::of("will");
            line.text("client_id", &session.client_id);
            line.number("delay_s", will.delay_s.into());
            line.maybe("message_expiry_s", will.message_expiry_s.map(u64::from));
            if let Some(decision) = will.decision {
                line.text("back_end", word_of(decision));
            }
            self.message(&mut line, log, will.message)?;
            self.write(line);
        }
        for packet_id in &session.exchanges {
            let mut line = JsonLine::of("exchange");
            line.text("client_id", &session.client_id);
            line.number("packet_id", packet_id.get().into());
            self.write(line);
        }
        for delivery in &session.deliveries {
            self.delivery(session, log, delivery)?;
        }
        Ok(())
    }

    /// Whose it is, if that was written down; `user` is null for a client without a user name.
    fn owner(&mut self, session: &StoredSession) {
        if let Some(owner) = session.owner() {
            let mut line = JsonLine::of("owner");
            line.text("client_id", &session.client_id);
            line.maybe_text("user", owner.user);
            line.text("listener", owner.listener);
            line.maybe_text("peer", owner.peer.map(|peer| peer.to_string()).as_deref());
            line.flag("superuser", owner.is_superuser);
            line.flag("back_end", owner.asks_back_end);
            if let Some(rules) = owner.rules {
                let rules = RuleSet::from_bytes(rules);
                line.value("rules", &rules.map_or(serde_json::Value::Null, |rules| rules.to_json()));
            }
            self.write(line);
        }
        for filter in session.allowed_filters() {
            let mut line = JsonLine::of("allowed_filter");
            line.text("client_id", &session.client_id);
            line.text("filter", filter);
            self.write(line);
        }
    }

    fn delivery(
        &mut self,
        session: &StoredSession,
        log: &RecoveredLog,
        delivery: &StoredDelivery,
    ) -> Result<(), SurveyError> {
        let mut line = JsonLine::of("delivery");
        line.text("client_id", &session.client_id);
        let state = match (delivery.message, delivery.packet_id) {
            (None, _) => "released",
            (Some(_), Some(_)) => "sent",
            (Some(_), None) => "queued",
        };
        line.text("state", state);
        line.number("qos", delivery.qos as u64);
        line.flag("retain", delivery.retain);
        line.maybe("packet_id", delivery.packet_id.map(|packet_id| packet_id.get().into()));
        if let Some(extra) = &delivery.extra {
            line.numbers("subscription_identifiers", extra.ids.iter().map(|identifier| identifier.get().into()));
            if let Some(group) = extra.group.and_then(|key| self.names.groups.get(&key)) {
                line.text("group", group);
            }
        }
        if let Some(message) = delivery.message {
            self.message(&mut line, log, message)?;
        }
        self.write(line);
        Ok(())
    }

    fn others(&mut self, log: &RecoveredLog) -> Result<(), SurveyError> {
        for (topic, retained) in &log.state.retained {
            let Some(message) = retained.message else { continue };
            let mut line = JsonLine::of("retained");
            line.text("retained_topic", topic);
            line.number("stamp_ns", retained.stamp.time_ns);
            self.message(&mut line, log, message)?;
            self.write(line);
        }
        for (to, _) in log.state.mailbox.numbered() {
            for forward in log.state.mailbox.forwards(to) {
                let mut line = JsonLine::of("forward");
                line.number("from_shard", log.log.shard.0.into());
                line.number("to_shard", to.0.into());
                line.number("number", forward.number);
                line.flag("plain", forward.plain);
                line.maybe("retained_stamp_ns", forward.retained.map(|stamp| stamp.time_ns));
                line.texts("groups", forward.groups.iter().filter_map(|key| self.names.groups.get(key).copied()));
                self.message(&mut line, log, forward.message)?;
                self.write(line);
            }
        }
        for damage in &log.scan.damage {
            let mut line = JsonLine::of("damage");
            line.text("log", &log.log.to_string());
            line.number("first_record", damage.first);
            line.number("records", damage.next - damage.first);
            self.write(line);
        }
        Ok(())
    }

    /// What there is to say of a message; that its bytes are lost, if they are.
    fn message(&self, line: &mut JsonLine, log: &RecoveredLog, id: MessageId) -> Result<(), SurveyError> {
        match self.survey.message(log, id)? {
            None => line.flag("lost", true),
            Some(message) => {
                describe(line, &message);
                if let Some(publisher) = message.publisher.and_then(|key| self.names.clients.get(&key.0)) {
                    line.text("publisher", publisher);
                }
            }
        }
        Ok(())
    }
}

/// What keys stand for, as far as there is a session that has the name: in a log there are keys alone.
struct SurveyNames<'a> {
    clients: HashMap<u64, &'a str>,
    /// `$share/name/filter`.
    groups: HashMap<u64, &'a str>,
}

impl<'a> SurveyNames<'a> {
    fn of(survey: &'a Survey) -> Self {
        let names = &survey.manifest.names;
        let (mut clients, mut groups) = (HashMap::new(), HashMap::new());
        for (_, session) in survey.logs.iter().flat_map(|log| log.state.sessions()) {
            clients.insert(names.client(&session.client_id).0, &*session.client_id);
            for (text, _) in session.subscriptions.iter().filter(|(text, _)| text.starts_with('$')) {
                let Ok(filter) = SubscribedFilter::parse(text, u16::MAX) else { continue };
                if let Some(share) = filter.share {
                    groups.insert(names.group(share, filter.filter.as_str()), text);
                }
            }
        }
        Self { clients, groups }
    }
}

const fn word_of(decision: BackEndDecision) -> &'static str {
    match decision {
        BackEndDecision::Allow => "allow",
        BackEndDecision::Deny => "deny",
        BackEndDecision::Ignore => "ignore",
    }
}

fn describe(line: &mut JsonLine, message: &StoredMessage) {
    line.text("topic", &message.topic);
    line.number("published_qos", message.qos as u64);
    line.flag("published_retain", message.retain);
    line.maybe("expires_unix_ms", message.expires.map(|at| at.0));
    if !message.properties().is_empty() {
        line.bytes("properties_base64", message.properties());
    }
    match std::str::from_utf8(message.payload()) {
        Ok(text) => line.text("payload", text),
        Err(_) => line.bytes("payload_base64", message.payload()),
    }
}
