//! `connection` sections of a mosquitto.conf as `[[bridge]]` tables.
//!
//! Always holds: no secret is copied: a password becomes the name of a file that is to hold it. A bridge that could only connect with less
//! protection than it had is left out.

use super::ImportNote;
use super::lines::{ConfLine, beyond};
use super::sections::ConfBridge;
use crate::config::bridges::{
    BridgeAddress, BridgeNotifications, BridgeSecret, BridgeSettings, BridgeTransport, BridgeVersion, STARTS,
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
const WITHOUT_EFFECT: &[&str] = &["bridge_attempt_unsubscribe", "bridge_use_os_certs"];

/// What of an option there is not.
const MISSING: &[(&str, &str)] = &[
    ("bridge_bind_address", "the system chooses the address that a bridge connects from"),
    ("bridge_ciphers", "TLS has the cipher suites that rustls has"),
    ("bridge_ciphers_tls1.3", "TLS has the cipher suites that rustls has"),
    ("bridge_max_topic_alias", "bridges use no topic aliases: messages come over all the same, with whole topics"),
    (
        "bridge_tcp_keepalive",
        "TCP keep-alive of a bridge is the system's: keepalive_interval finds out that the other broker has gone",
    ),
    (
        "bridge_tcp_user_timeout",
        "TCP_USER_TIMEOUT of a bridge is the system's: keepalive_interval finds out that the other broker has gone",
    ),
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
        "bridge_reload_type" if line.word() != "immediate" => {
            return Err("a reload that changes a bridge's table starts that bridge anew at once".into());
        }
        "bridge_insecure" | "bridge_tls_version" | "bridge_reload_type" => {}
        option if WITHOUT_EFFECT.contains(&option) => {}
        option => return take_behaviour(line, bridge).unwrap_or_else(|| Err(missing(option))),
    }
    Ok(())
}

fn missing(option: &str) -> String {
    let known = MISSING.iter().find(|(name, _)| *name == option);
    known.map_or("bridges here have nothing like it", |(_, text)| text).to_owned()
}

/// A switch; whether it is one.
fn take_switch(line: &ConfLine, bridge: &mut BridgeSettings) -> bool {
    let is_on = line.is_on();
    match line.option.as_str() {
        "cleansession" => bridge.clean_start = is_on,
        "local_cleansession" => bridge.local_clean_start = is_on,
        "round_robin" => bridge.round_robin = is_on,
        "try_private" => bridge.tells_bridge = is_on,
        "bridge_outgoing_retain" => bridge.outgoing_retain = is_on,
        "notifications" if !is_on => bridge.notifications = BridgeNotifications::Off,
        "notifications_local_only" if is_on && bridge.notifications == BridgeNotifications::Both => {
            bridge.notifications = BridgeNotifications::Local;
        }
        "notifications" | "notifications_local_only" => {}
        _ => return false,
    }
    true
}

/// How it behaves; `None` for an option that is about something else.
fn take_behaviour(line: &ConfLine, bridge: &mut BridgeSettings) -> Option<Result<(), String>> {
    if take_switch(line, bridge) {
        return Some(Ok(()));
    }
    let number = || line.word().parse::<u32>().map_err(|_| format!("{:?} is no number", line.word()));
    let result = match line.option.as_str() {
        "keepalive_interval" => number().and_then(|seconds| {
            let (within, told) = nearest(seconds, 5, 65_535);
            bridge.keep_alive_s = within as u16;
            told
        }),
        "idle_timeout" => number().and_then(|seconds| {
            let (within, told) = nearest(seconds, 1, 86_400);
            bridge.idle_timeout_s = within;
            told
        }),
        "threshold" => number().and_then(|messages| {
            let (within, told) = nearest(messages, 1, 1_000_000);
            bridge.lazy_messages = within;
            told
        }),
        "bridge_receive_maximum" => number().and_then(|messages| {
            let (within, told) = nearest(messages, 1, 65_535);
            bridge.inflight_max = within as u16;
            told
        }),
        "bridge_session_expiry_interval" => number().map(|seconds| bridge.session_expiry_s = seconds),
        "restart_timeout" => restart_timeout(line, bridge),
        "start_type" => {
            take_word(&STARTS, &mut bridge.start, line, "automatic, lazy and once: it starts automatically")
        }
        "bridge_protocol_version" => {
            take_word(&VERSIONS, &mut bridge.version, line, "mqttv31, mqttv311 and mqttv50: 3.1.1 is spoken")
        }
        _ => return None,
    };
    Some(result)
}

/// The nearest number that there is here, and a note where that is another.
fn nearest(number: u32, least: u32, most: u32) -> (u32, Result<(), String>) {
    let within = number.clamp(least, most);
    let told = if within == number { Ok(()) } else { Err(beyond(number.into(), within.into())) };
    (within, told)
}

const VERSIONS: [(&str, BridgeVersion); 3] =
    [("mqttv31", BridgeVersion::V31), ("mqttv311", BridgeVersion::V311), ("mqttv50", BridgeVersion::V5)];

fn take_word<T: Copy>(words: &[(&str, T)], field: &mut T, line: &ConfLine, otherwise: &str) -> Result<(), String> {
    let known = words.iter().find(|(word, _)| *word == line.word());
    let (_, meaning) = known.ok_or_else(|| format!("{:?} is none of {otherwise}", line.word()))?;
    *field = *meaning;
    Ok(())
}

/// `restart_timeout SECONDS`, or `BASE CAP`.
fn restart_timeout(line: &ConfLine, bridge: &mut BridgeSettings) -> Result<(), String> {
    let numbers: Vec<u32> = line.value.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let (base, cap) = match numbers[..] {
        [seconds] => (seconds, seconds),
        [base, cap] => (base, cap),
        _ => return Err("it is a number of seconds, or two".to_owned()),
    };
    let (base, told_of_base) = nearest(base, 1, 3_600);
    let (cap, told_of_cap) = nearest(cap, base, 3_600);
    bridge.reconnect_s = (base, cap);
    told_of_base.and(told_of_cap)
}
