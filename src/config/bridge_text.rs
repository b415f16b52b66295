//! A bridge as a `[[bridge]]` table: what is written here reads back as the same bridge.

use std::fmt::Write as _;

use super::bridges::{
    BridgeNotifications, BridgeSecret, BridgeSettings, BridgeStart, BridgeVersion, NOTIFICATIONS, STARTS, VERSIONS,
};
use super::print::quoted;
use crate::settings::Unit;

/// The table, with all that differs from what holds where nothing is said. `before` stands before each line.
pub(super) fn table(bridge: &BridgeSettings, before: &str) -> String {
    let plain = BridgeSettings::new(&bridge.name, bridge.addresses.clone(), bridge.topics.clone());
    let mut lines = BridgeLines { text: format!("{before}[[bridge]]\n"), before };
    lines.put("name", &quoted(&bridge.name));
    lines.put("address", &list(&bridge.addresses));
    lines.put("topics", &list(&bridge.topics));
    lines.put_if(bridge.round_robin, "round_robin", "true");
    let version = word::<BridgeVersion>(&VERSIONS, bridge.version);
    lines.put_if(bridge.version != plain.version, "version", &quoted(version));
    lines.put_text("client_id", bridge.client_id.as_deref());
    lines.put_if(bridge.clean_start, "clean_start", "true");
    let seconds = |seconds: u32| quoted(&Unit::Seconds.show(seconds.into()));
    lines.put_if(
        bridge.session_expiry_s != plain.session_expiry_s,
        "session_expiry",
        &seconds(bridge.session_expiry_s),
    );
    lines.put_if(bridge.local_clean_start, "local_clean_start", "true");
    let keep_alive = seconds(bridge.keep_alive_s.into());
    lines.put_if(bridge.keep_alive_s != plain.keep_alive_s, "keep_alive", &keep_alive);
    lines.put_text("username", bridge.username.as_deref());
    match &bridge.password {
        BridgeSecret::None => {}
        BridgeSecret::File(path) => lines.put("password_file", &quoted(path)),
        BridgeSecret::Variable(name) => lines.put("password_variable", &quoted(name)),
    }
    for (key, value) in [
        ("tls_ca", &bridge.tls.ca),
        ("tls_cert", &bridge.tls.certificate),
        ("tls_key", &bridge.tls.key),
        ("tls_server_name", &bridge.tls.server_name),
        ("tls_alpn", &bridge.tls.alpn),
        ("notification_topic", &bridge.notification_topic),
    ] {
        lines.put_text(key, value.as_deref());
    }
    lines.put_if(!bridge.tells_bridge, "tell_bridge", "false");
    let told = word::<BridgeNotifications>(&NOTIFICATIONS, bridge.notifications);
    lines.put_if(bridge.notifications != plain.notifications, "notifications", &quoted(told));
    let start = word::<BridgeStart>(&STARTS, bridge.start);
    lines.put_if(bridge.start != plain.start, "start", &quoted(start));
    let number = |number: u64| number.to_string();
    lines.put_if(bridge.lazy_messages != plain.lazy_messages, "lazy_messages", &number(bridge.lazy_messages.into()));
    lines.put_if(bridge.idle_timeout_s != plain.idle_timeout_s, "idle_timeout", &seconds(bridge.idle_timeout_s));
    lines.put_if(bridge.reconnect_s.0 != plain.reconnect_s.0, "reconnect_min", &seconds(bridge.reconnect_s.0));
    lines.put_if(bridge.reconnect_s.1 != plain.reconnect_s.1, "reconnect_max", &seconds(bridge.reconnect_s.1));
    let timeout = seconds(bridge.connect_timeout_s);
    lines.put_if(bridge.connect_timeout_s != plain.connect_timeout_s, "connect_timeout", &timeout);
    lines.put_if(bridge.inflight_max != plain.inflight_max, "max_inflight", &number(bridge.inflight_max.into()));
    let bytes = quoted(&Unit::Bytes.show(bridge.packet_size_max_bytes.into()));
    lines.put_if(bridge.packet_size_max_bytes != plain.packet_size_max_bytes, "max_packet_size", &bytes);
    lines.put_if(!bridge.outgoing_retain, "outgoing_retain", "false");
    lines.put_if(bridge.hops_max != plain.hops_max, "max_hops", &number(bridge.hops_max.into()));
    lines.text
}

struct BridgeLines<'a> {
    text: String,
    before: &'a str,
}

impl BridgeLines<'_> {
    fn put(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.text, "{}{key} = {value}", self.before);
    }

    fn put_if(&mut self, is_said: bool, key: &str, value: &str) {
        if is_said {
            self.put(key, value);
        }
    }

    fn put_text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.put(key, &quoted(value));
        }
    }
}

fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], wanted: T) -> &'static str {
    words.iter().find(|(_, meaning)| *meaning == wanted).map_or("", |(word, _)| word)
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}
