//! What users of other brokers write: their flags and keys, and a `mosquitto.conf` where TOML is expected.
//!
//! Always holds: a name in the table is no setting of ours, so an unknown flag or key gets the true answer, never merely
//! the name that looks most like it. A test keeps it so.

/// What other brokers call something, and what to do here.
pub(super) struct Foreign {
    /// As keys, with underscores; Mosquitto's first.
    pub(super) names: &'static [&'static str],
    /// In words that end a sentence.
    pub(super) answer: &'static str,
}

const fn of(names: &'static [&'static str], answer: &'static str) -> Foreign {
    Foreign { names, answer }
}

/// In the order of the documentation.
pub(super) const FOREIGN: &[Foreign] = &[
    of(
        &["listener", "bind_address", "bind_interface", "host", "listen"],
        "use [listener] bind and port (--bind, --port)",
    ),
    of(
        &["protocol", "websockets", "ws"],
        "use [listener] ws_port (--ws-port), or kind = \"websocket\" in a [[listener]] table",
    ),
    of(&["http_dir"], "files are not served: a web server does that"),
    of(&["websockets_origin"], "use [listener] ws_origins (--ws-origins)"),
    of(&["websockets_headers_size"], "the head of a request may have 8 KiB; that cannot be set"),
    of(
        &[
            "cafile",
            "capath",
            "certfile",
            "keyfile",
            "crlfile",
            "require_certificate",
            "use_identity_as_username",
            "tls_version",
            "ciphers",
            "tls",
            "ssl",
            "cert",
        ],
        "TLS is a matter of a listener: tls_cert and tls_key (--tls-cert, --tls-key) make one, or a [[listener]] table with kind = \"tls\"; for client certificates tls_ca and tls_client_cert",
    ),
    of(&["unix_socket"], "use [listener] unix (--unix)"),
    of(
        &["enable_proxy_protocol", "proxy_protocol_v2_require_tls"],
        "use [listener] proxy_protocol and proxy_from (--proxy-protocol, --proxy-from)",
    ),
    of(
        &["psk_file", "plugin", "auth_plugin", "users", "dynamic_security", "require_credentials"],
        "use [auth] password_file, jwt_key, jwks_url or auth_http_url for who comes in, acl_file or acl_http_url for what they may do; \
         [auth] allow_anonymous (--allow-anonymous) says who comes in without a password",
    ),
    of(
        &["persistence", "autosave_interval", "autosave_on_changes"],
        "use [store] storage (--storage): disk, which it is unless you say memory, writes each change before it is acknowledged, and needs no saving",
    ),
    of(&["persistence_location", "persistence_file"], "use [store] data_dir (--data-dir)"),
    of(&["persistent_client_expiration"], "use [session] expiry_max (--session-expiry-max)"),
    of(
        &["max_keepalive", "server_keepalive"],
        "use [mqtt] keep_alive_max (--keep-alive-max), and keep_alive_max_before_v5 for clients before MQTT 5.0",
    ),
    of(&["max_inflight_messages"], "use [mqtt] max_inflight (--max-inflight)"),
    of(&["max_inflight_bytes"], "what is in flight is bounded in messages alone: [mqtt] max_inflight (--max-inflight)"),
    of(&["max_qos_allowed", "maximum_qos"], "use [mqtt] max_qos (--max-qos)"),
    of(&["retain_expiry_interval"], "retained messages that have expired go by themselves, and need no interval"),
    of(&["msg_expiry_interval"], "use [mqtt] retained_expiry (--retained-expiry)"),
    of(&["max_retained_messages"], "use [mqtt] retained_max (--retained-max)"),
    of(&["max_topic_levels"], "use [mqtt] topic_levels_max (--topic-levels-max)"),
    of(&["max_topic_alias", "max_topic_alias_broker"], "use [mqtt] topic_alias_max (--topic-alias-max)"),
    of(
        &["message_size_limit", "max_payload_size"],
        "use [mqtt] max_message_size (--max-message-size), which refuses the message and not the client",
    ),
    of(&["queue_qos0_messages"], "use [session] queue_qos0 (--queue-qos0)"),
    of(&["allow_zero_length_clientid"], "use [mqtt] empty_client_ids (--empty-client-ids)"),
    of(&["auto_id_prefix"], "clients without an id are given one that begins with auto-; that cannot be set"),
    of(
        &["check_retain_source"],
        "there is no such check: what was retained stays when its publisher may no longer publish",
    ),
    of(
        &["max_clients", "global_max_clients", "global_max_connections"],
        "use [node] max_connections (--max-connections)",
    ),
    of(&["memory_limit"], "use [session] max_queued_memory (--max-queued-memory)"),
    of(&["set_tcp_nodelay"], "TCP_NODELAY is always on"),
    of(&["upgrade_outgoing_qos"], "a message goes out with the lower QoS of publisher and subscriber, always"),
    of(
        &["log_dest", "loglevel", "log_type", "connection_messages"],
        "use [log] file and level (--log-file, --log-level)",
    ),
    of(&["log_timestamp", "log_timestamp_format"], "log lines begin with the time in RFC 3339, always"),
    of(&["per_listener_settings"], "nothing needs it: each [[listener]] table has its own"),
    of(&["pid_file", "daemon", "daemonize", "d"], "dunlin stays in the foreground: a service manager runs and ends it"),
    of(&["user", "chroot"], "dunlin keeps the user that it is started as: say so to the service manager"),
    of(
        &["include_dir"],
        "there is one file; environment variables are the way to change single settings. dunlin import makes one of a mosquitto.conf and what it includes",
    ),
    of(
        &[
            "connection",
            "address",
            "bridge_attempt_unsubscribe",
            "bridge_protocol_version",
            "cleansession",
            "topic",
            "remote_username",
            "remote_password",
            "notifications",
            "start_type",
            "try_private",
            "bridge",
        ],
        "a bridge is a [[bridge]] table of its own; dunlin import makes one of each connection of a mosquitto.conf",
    ),
    of(&["http_port", "metrics", "prometheus"], "use [admin] port (--admin-port): it has /metrics, health and an API"),
    of(&["cluster", "cookie", "join", "peers"], "clusters are not built yet"),
];

/// What to do in place of a flag or key that others have.
pub(super) fn answer(name: &str) -> Option<&'static str> {
    let name = name.trim_start_matches('-').replace('-', "_").to_ascii_lowercase();
    FOREIGN.iter().find(|foreign| foreign.names.contains(&name.as_str())).map(|foreign| foreign.answer)
}

/// What a `mosquitto.conf` at this path is told first.
pub(super) fn mosquitto_conf_head(path: &str) -> String {
    format!(
        "this is a mosquitto.conf; dunlin reads TOML: dunlin import {path} -o dunlin.toml makes one of it. Each line below says \
         what its setting is here; docs/MOVING-FROM-MOSQUITTO.md has the whole way"
    )
}

/// Options of Mosquitto with a setting of the same name here.
pub(super) const ALIKE: &[(&str, &str)] = &[
    ("port", "is [listener] port (--port)"),
    ("allow_anonymous", "is [auth] allow_anonymous (--allow-anonymous)"),
    ("password_file", "is [auth] password_file (--password-file), in the same format"),
    ("acl_file", "is [auth] acl_file (--acl-file), in the same form"),
    ("max_connections", "is [node] max_connections (--max-connections), or that of a [[listener]] table"),
    ("max_packet_size", "is [mqtt] max_packet_size (--max-packet-size)"),
    ("max_qos", "is [mqtt] max_qos (--max-qos), of all listeners"),
    ("retain_available", "is [mqtt] retain_available (--retain-available)"),
    ("max_queued_messages", "is [session] max_queued_messages (--max-queued-messages)"),
    ("max_queued_bytes", "is [session] max_queued_bytes (--max-queued-bytes)"),
    ("sys_interval", "is [node] sys_interval (--sys-interval)"),
];

/// Lines of a `mosquitto.conf` with what their settings are here; `None` if the text is no such file.
pub(super) fn mosquitto_conf(text: &str) -> Option<Vec<(usize, String)>> {
    let lines: Vec<(usize, &str, &str)> = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .map(|(number, line)| {
            let (name, value) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
            (number, name, value.trim())
        })
        .collect();
    let is_option = |&(_, name, value): &(usize, &str, &str)| {
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            && !value.is_empty()
            && !value.starts_with('=')
    };
    let known = lines.iter().filter(|(_, name, _)| here(name).is_some()).count();
    if lines.is_empty() || !lines.iter().all(is_option) || known * 2 < lines.len() {
        return None;
    }
    let told = lines.iter().map(|&(number, name, _)| {
        let answer = here(name).unwrap_or_else(|| "has no counterpart that is known here".to_owned());
        (number, format!("{name}: {answer}"))
    });
    Some(told.collect())
}

fn here(name: &str) -> Option<String> {
    let alike = ALIKE.iter().find(|(option, _)| *option == name).map(|(_, answer)| *answer);
    alike.or_else(|| answer(name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mosquitto_conf_is_known_by_its_lines() {
        let conf = "# Plain\nlistener 1883 0.0.0.0\nallow_anonymous true\n\nmax_inflight_messages 40\nlog_facility 5\n";
        let told = mosquitto_conf(conf).expect("it is one");
        assert_eq!(told.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 5, 6]);
        assert_eq!(told[1].1, "allow_anonymous: is [auth] allow_anonymous (--allow-anonymous)");
        assert_eq!(told[2].1, "max_inflight_messages: use [mqtt] max_inflight (--max-inflight)");
        assert_eq!(told[3].1, "log_facility: has no counterpart that is known here");
        for other in
            ["", "# nothing\n", "[listener]\nport = 1\n", "port = 1\nbind = x\n", "hello world\nport 1\nx y z\n"]
        {
            assert_eq!(mosquitto_conf(other), None, "{other}");
        }
    }
}
