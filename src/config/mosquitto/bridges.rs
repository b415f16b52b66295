//! `connection` sections of a mosquitto.conf as `[[bridge]]` tables.
//!
//! Always holds: no secret is copied: a password becomes the name of a file that is to hold it. A bridge that could only connect with less
//! protection than it had is left out.

use super::ImportNote;
use super::lines::ConfLine;
use super::sections::ConfBridge;
use crate::config::bridges::{
    BridgeAddress, BridgeNotifications, BridgeSecret, BridgeSettings, BridgeStart, BridgeTransport, BridgeVersion,
};

/// What a section comes to.
#[derive(Clone, Debug)]
pub(super) struct DraftBridge {
    pub(super) settings: BridgeSettings,
    /// Where it stands.
    pub(super) from: String,
    /// Why it stands there as comments only.
    pub(super) left_out: Option<String>,
}

/// Options that mean here what they are where nothing is said, or nothing at all.
const WITHOUT_EFFECT: &[&str] = &[
    "bridge_attempt_unsubscribe",
    "bridge_max_topic_alias",
    "bridge_reload_type",
    "bridge_tcp_keepalive",
    "bridge_tcp_user_timeout",
    "bridge_use_os_certs",
];

/// What of an option there is not.
const MISSING: &[(&str, &str)] = &[
    ("bridge_bind_address", "the system chooses the address that a bridge connects from"),
    ("bridge_ciphers", "TLS has the cipher suites that rustls has"),
    ("bridge_ciphers_tls1.3", "TLS has the cipher suites that rustls has"),
    ("bridge_require_ocsp", "OCSP answers are not asked for"),
    ("bridge_max_packet_size", "what the other broker says that it takes is the bound of what goes out"),
    ("local_clientid", "the session here is called $bridge/NAME"),
    ("local_username", "a bridge is let in by being configured: it needs no user here"),
    ("local_password", "a bridge is let in by being configured: it needs no password here"),
    ("bridge_capath", "authorities are a file (tls_ca); without one they are the system's"),
];

/// Takes a section over.
pub(super) fn take_over(bridge: &ConfBridge, notes: &mut Vec<ImportNote>) -> DraftBridge {
    let name: String = bridge.opened.value.chars().take(64).map(|c| if is_of_name(c) { c } else { '-' }).collect();
    let mut draft = DraftBridge {
        settings: BridgeSettings::new(&name, Vec::new(), Vec::new()),
        from: bridge.opened.place.to_string(),
        left_out: None,
    };
    draft.settings.version = BridgeVersion::V311;
    if name != bridge.opened.value {
        notes.push(bridge.opened.note(format!("it is called {name} here: a name is letters, digits, . - and _")));
    }
    for line in &bridge.lines {
        if let Err(text) = take_line(line, &mut draft) {
            notes.push(line.note(text));
        }
    }
    let has_tls = bridge.lines.iter().any(|line| is_of_tls(&line.option));
    if has_tls {
        draft.settings.addresses.iter_mut().for_each(|address| address.transport = BridgeTransport::Tls);
    }
    // Where nothing is said of the session here it is as the one there.
    if !bridge.lines.iter().any(|line| line.option == "local_cleansession") {
        draft.settings.local_clean_start = draft.settings.clean_start;
    }
    if draft.settings.addresses.is_empty() {
        draft.left_out.get_or_insert_with(|| "it has no address".to_owned());
    } else if draft.settings.topics.is_empty() {
        draft.left_out.get_or_insert_with(|| "it has no topic that can be taken over".to_owned());
    }
    if let Some(why) = &draft.left_out {
        notes.push(bridge.opened.note(format!("the bridge is left out: {why}")));
    }
    draft
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
}

/// Options with which Mosquitto speaks TLS.
fn is_of_tls(option: &str) -> bool {
    matches!(option, "bridge_cafile" | "bridge_capath" | "bridge_certfile" | "bridge_keyfile" | "bridge_use_os_certs")
}

/// One line. The error says what of it is not here.
fn take_line(line: &ConfLine, draft: &mut DraftBridge) -> Result<(), String> {
    let bridge = &mut draft.settings;
    let text = || Some(line.value.as_str().into());
    match line.option.as_str() {
        "address" | "addresses" => {
            for word in line.value.split_whitespace() {
                bridge.addresses.push(word.parse::<BridgeAddress>()?);
            }
        }
        "topic" => bridge.topics.push(line.value.parse()?),
        "remote_username" | "username" => bridge.username = text(),
        "remote_password" | "password" => {
            let path = format!("/etc/dunlin/bridge-{}.password", bridge.name);
            let told = format!("no secret is copied: write it into {path}, which only the broker may read (0600)");
            bridge.password = BridgeSecret::File(path.into());
            return Err(told);
        }
        "remote_clientid" | "clientid" => bridge.client_id = text(),
        "bridge_cafile" => bridge.tls.ca = text(),
        "bridge_certfile" => bridge.tls.certificate = text(),
        "bridge_keyfile" => bridge.tls.key = text(),
        "bridge_alpn" => bridge.tls.alpn = text(),
        "notification_topic" => bridge.notification_topic = text(),
        "bridge_identity" | "bridge_psk" => {
            draft.left_out = Some(format!("{}: there are no pre-shared keys here", line.option));
        }
        "bridge_insecure" if line.is_on() => {
            return Err(
                "the name in the other broker's certificate is always checked: tls_server_name can say which".into()
            );
        }
        "bridge_tls_version" if !matches!(line.word(), "tlsv1.2" | "tlsv1.3") => {
            return Err("TLS is 1.2 or 1.3".into());
        }
        "bridge_insecure" | "bridge_tls_version" => {}
        option if WITHOUT_EFFECT.contains(&option) => {}
        option => return take_behaviour(line, bridge).unwrap_or_else(|| Err(missing(option))),
    }
    Ok(())
}

fn missing(option: &str) -> String {
    let known = MISSING.iter().find(|(name, _)| *name == option);
    known.map_or("bridges here have nothing like it", |(_, text)| text).to_owned()
}

/// How it behaves; `None` for an option that is about something else.
fn take_behaviour(line: &ConfLine, bridge: &mut BridgeSettings) -> Option<Result<(), String>> {
    let number = || line.word().parse::<u32>().map_err(|_| format!("{:?} is no number", line.word()));
    let within = |low: u32, high: u32| number().map(|number| number.clamp(low, high));
    let result = match line.option.as_str() {
        "cleansession" => Ok(bridge.clean_start = line.is_on()),
        "local_cleansession" => Ok(bridge.local_clean_start = line.is_on()),
        "round_robin" => Ok(bridge.round_robin = line.is_on()),
        "try_private" => Ok(bridge.tells_bridge = line.is_on()),
        "bridge_outgoing_retain" => Ok(bridge.outgoing_retain = line.is_on()),
        "notifications" if !line.is_on() => Ok(bridge.notifications = BridgeNotifications::Off),
        "notifications_local_only" if line.is_on() => {
            if bridge.notifications == BridgeNotifications::Both {
                bridge.notifications = BridgeNotifications::Local;
            }
            Ok(())
        }
        "notifications" | "notifications_local_only" => Ok(()),
        "keepalive_interval" => within(5, 65_535).map(|seconds| bridge.keep_alive_s = seconds as u16),
        "idle_timeout" => within(1, 86_400).map(|seconds| bridge.idle_timeout_s = seconds),
        "threshold" => within(1, 1_000_000).map(|messages| bridge.lazy_messages = messages),
        "bridge_receive_maximum" => within(1, 65_535).map(|messages| bridge.inflight_max = messages as u16),
        "bridge_session_expiry_interval" => number().map(|seconds| bridge.session_expiry_s = seconds),
        "restart_timeout" => restart_timeout(line, bridge),
        "start_type" => match line.word() {
            "automatic" => Ok(bridge.start = BridgeStart::Automatic),
            "lazy" => Ok(bridge.start = BridgeStart::Lazy),
            "once" => Ok(bridge.start = BridgeStart::Once),
            other => Err(format!("{other:?} is none of automatic, lazy and once: it starts automatically")),
        },
        "bridge_protocol_version" => match line.word() {
            "mqttv31" => Ok(bridge.version = BridgeVersion::V31),
            "mqttv311" => Ok(bridge.version = BridgeVersion::V311),
            "mqttv50" => Ok(bridge.version = BridgeVersion::V5),
            other => Err(format!("{other:?} is no version of MQTT: 3.1.1 is spoken")),
        },
        _ => return None,
    };
    Some(result)
}

/// `restart_timeout SECONDS`, or `BASE CAP`.
fn restart_timeout(line: &ConfLine, bridge: &mut BridgeSettings) -> Result<(), String> {
    let numbers: Vec<u32> = line.value.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [seconds] => bridge.reconnect_s = (seconds.clamp(1, 3600), seconds.clamp(1, 3600)),
        [base, cap] => bridge.reconnect_s = (base.clamp(1, 3600), cap.clamp(base.clamp(1, 3600), 3600)),
        _ => return Err("it is a number of seconds, or two".to_owned()),
    }
    Ok(())
}
