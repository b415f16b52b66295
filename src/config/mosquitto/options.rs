//! What Mosquitto's options for the whole broker are here.
//!
//! Always holds: an option that stands in no table is told of as unknown; none is passed over in silence.

use super::draft::DraftTable;
use super::lines::{ConfLine, beyond};
use super::{ImportNote, sections::Sections};

/// What one value of an option is here.
enum OptionAnswer {
    /// The setting, with this value.
    Set(String),
    /// The same, with something to know.
    SetAnd(String, &'static str),
    /// It is more than there is here, which is this.
    Most { asked: u64, most: u64 },
    /// It is so in any case.
    Nothing,
    /// There is no counterpart.
    Lost(&'static str),
}

use OptionAnswer::{Lost, Most, Nothing, Set, SetAnd};

/// An option, the setting that it is, and how its value is read.
type CounterpartRow = (&'static str, &'static str, fn(&ConfLine) -> OptionAnswer);

const COUNTERPARTS: &[CounterpartRow] = &[
    ("max_inflight_messages", "max-inflight", |line| match number(line) {
        Some(0) => SetAnd("65535".into(), "0 is no bound with Mosquitto; here 65535 is the most"),
        Some(count) => at_most(count, 65_535),
        None => NO_NUMBER,
    }),
    ("max_packet_size", "max-packet-size", |line| match number(line) {
        Some(0) => Set("256MiB".into()),
        Some(bytes) => at_most(bytes, 256 << 20),
        None => NO_NUMBER,
    }),
    ("message_size_limit", "max-message-size", |line| match number(line) {
        Some(0) => Nothing,
        Some(bytes) => at_most(bytes, 268_435_455),
        None => NO_NUMBER,
    }),
    ("max_queued_messages", "max-queued-messages", |line| match number(line) {
        Some(0) => SetAnd(
            "10000000".into(),
            "0 is no bound with Mosquitto; here there is always one, and max_queued_bytes is another",
        ),
        Some(count) => at_most(count, 10_000_000),
        None => NO_NUMBER,
    }),
    ("max_queued_bytes", "max-queued-bytes", |line| match number(line) {
        Some(0) => Lost(
            "0 is no bound with Mosquitto; here a queue always has one: 16MiB unless [session] max_queued_bytes says more",
        ),
        Some(bytes) => Set(bytes.to_string()),
        None => NO_NUMBER,
    }),
    ("max_keepalive", "keep-alive-max", |line| match number(line) {
        Some(0 | 65_535..) => Nothing,
        Some(seconds) => SetAnd(
            seconds.to_string(),
            "Mosquitto refuses older clients than MQTT 5.0 that ask for a longer one; here they are closed after 1.5 times this \
             without a packet, unless [mqtt] keep_alive_max_before_v5 is longer",
        ),
        None => NO_NUMBER,
    }),
    ("global_max_connections", "max-connections", counted),
    ("global_max_clients", "max-sessions", counted),
    ("memory_limit", "max-queued-memory", |line| match number(line) {
        Some(0) => Nothing,
        Some(bytes) => SetAnd(
            bytes.to_string(),
            "here it bounds what is queued, not the whole process: that is a matter of the service manager (systemd: MemoryMax=)",
        ),
        None => NO_NUMBER,
    }),
    ("queue_qos0_messages", "queue-qos0", |line| if line.is_on() { Set("true".into()) } else { Nothing }),
    ("retain_available", "retain-available", |line| if line.is_on() { Nothing } else { Set("false".into()) }),
    ("sys_interval", "sys-interval", |line| match number(line) {
        Some(0) => Set("off".into()),
        Some(seconds) => at_most(seconds, 3_600),
        None => NO_NUMBER,
    }),
    ("persistent_client_expiration", "session-expiry-max", |line| {
        duration(line.word())
            .map_or(Lost("it is a number followed by h, d, w, m or y"), |seconds| at_most(seconds, EXPIRY_MAX_S))
    }),
];

const NO_NUMBER: OptionAnswer = Lost("its value is no number");
/// The longest that a session may have; beyond it it never ends.
const EXPIRY_MAX_S: u64 = 4_294_967_294;

fn at_most(asked: u64, most: u64) -> OptionAnswer {
    if asked > most { Most { asked, most } } else { Set(asked.to_string()) }
}

fn counted(line: &ConfLine) -> OptionAnswer {
    match line.word().parse::<i64>() {
        Ok(..0) => Nothing,
        Ok(count) => Set(count.to_string()),
        Err(_) => NO_NUMBER,
    }
}

fn number(line: &ConfLine) -> Option<u64> {
    line.word().parse().ok()
}

/// Seconds of a duration; its months have 30 days, and its years 365.
fn duration(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let factor = match unit {
        "s" => 1,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "m" => 30 * 86_400,
        "y" => 365 * 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// When there is something to say of an option that has no counterpart.
#[derive(Clone, Copy)]
enum When {
    Always,
    /// Off is what it is here.
    IfOn,
    /// On is what it is here.
    IfOff,
    /// Unless it is 0.
    IfSome,
}

/// Options without a counterpart, and what to do.
const LOST: &[(&str, When, &str)] = &[
    (
        "allow_duplicate_messages",
        When::IfOn,
        "a message comes once to a session, however many of its subscriptions it matches",
    ),
    ("auth_plugin_deny_special_chars", When::Always, "it is about a plugin"),
    ("auto_id_prefix", When::Always, "clients without an id are given one that begins with auto-; that cannot be set"),
    (
        "autosave_interval",
        When::Always,
        "nothing is saved at intervals: each change is on the disk before it is acknowledged",
    ),
    (
        "autosave_on_changes",
        When::IfOn,
        "nothing is saved at intervals: each change is on the disk before it is acknowledged",
    ),
    (
        "check_retain_source",
        When::IfOn,
        "a retained message stays when its publisher may no longer publish it; to take it away: dunlin ctl delete-retained TOPIC",
    ),
    (
        "connection_messages",
        When::IfOff,
        "[log] level = \"warn\" hides connects and disconnects, and all else that is no warning",
    ),
    (
        "enable_control_api",
        When::IfOn,
        "there is no $CONTROL: the admin API (port 18083) and dunlin ctl do what it does, see docs/ADMIN.md",
    ),
    ("log_facility", When::Always, "there is no syslog: lines go to standard error, which the service manager keeps"),
    ("log_timestamp", When::IfOff, "each line begins with its time; journald shows its own beside it"),
    ("log_timestamp_format", When::Always, "times are as in RFC 3339, in UTC"),
    ("max_inflight_bytes", When::IfSome, "what is in flight is bounded in messages: [mqtt] max_inflight"),
    ("persistence_file", When::Always, ""),
    ("persistence_location", When::Always, ""),
    (
        "pid_file",
        When::Always,
        "dunlin stays in the foreground, and its service manager knows its process: packaging/systemd/dunlin.service",
    ),
    (
        "retain_expiry_interval",
        When::IfSome,
        "retained messages that have expired go by themselves, and need no interval",
    ),
    ("set_tcp_nodelay", When::IfOff, "TCP_NODELAY is always on"),
    (
        "upgrade_outgoing_qos",
        When::IfOn,
        "a message goes out with the lower QoS of publisher and subscriber, as MQTT has it",
    ),
    ("user", When::Always, "dunlin keeps the user that it is started as: the unit file names it (User=)"),
    ("websockets_log_level", When::IfSome, "there is one level for everything: [log] level"),
];

/// Options that older versions of Mosquitto had, and others that mean nothing any more.
const GONE: &[&str] =
    &["retained_persistence", "store_clean_interval", "retry_interval", "allow_zero_length_client", "log_websockets"];

/// Options of the broker that others read: see `access`, `log` and `mod`.
const ELSEWHERE: &[&str] = &[
    "acl_file",
    "allow_anonymous",
    "allow_zero_length_clientid",
    "clientid_prefixes",
    "log_dest",
    "log_type",
    "password_file",
    "persistence",
    "psk_file",
];

/// Takes what is said of the whole broker over.
pub(super) fn take_over(sections: &Sections, broker: &mut DraftTable, notes: &mut Vec<ImportNote>) {
    for line in &sections.globals {
        let option = line.option.as_str();
        if let Some((_, flag, read)) = COUNTERPARTS.iter().find(|(name, ..)| *name == option) {
            take_one(line, flag, read(line), broker, notes);
        } else if let Some((_, when, text)) = LOST.iter().find(|(name, ..)| *name == option) {
            if is_time(*when, line) && !text.is_empty() {
                notes.push(line.note(*text));
            }
        } else if GONE.contains(&option) {
            notes.push(line.note("it means nothing to Mosquitto 2 either"));
        } else if !ELSEWHERE.contains(&option) {
            notes.push(line.note("no option of Mosquitto 2.0 or 2.1 is called so: is it misspelled?"));
        }
    }
}

fn take_one(line: &ConfLine, flag: &str, answer: OptionAnswer, broker: &mut DraftTable, notes: &mut Vec<ImportNote>) {
    let (value, remark) = match answer {
        Set(value) => (value, None),
        SetAnd(value, remark) => (value, Some(remark.to_owned())),
        Most { asked, most } => (most.to_string(), Some(beyond(asked, most))),
        Nothing => return,
        Lost(text) => {
            notes.push(line.note(text));
            return;
        }
    };
    match broker.set(flag, &[&value], line.place.to_string()) {
        Ok(()) => notes.extend(remark.map(|remark| line.note(remark))),
        Err(error) => notes.push(line.note(format!("{error}; it is left out"))),
    }
}

fn is_time(when: When, line: &ConfLine) -> bool {
    match when {
        When::Always => true,
        When::IfOn => line.is_on(),
        When::IfOff => !line.is_on(),
        When::IfSome => number(line) != Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_mosquittos() {
        for (text, seconds) in [
            ("30s", Some(30)),
            ("2h", Some(7_200)),
            ("14d", Some(1_209_600)),
            ("2w", Some(1_209_600)),
            ("2m", Some(5_184_000)),
            ("1y", Some(31_536_000)),
            ("9999y", Some(315_328_464_000)),
            ("99999999999999999999y", None),
            ("", None),
            ("d", None),
            ("14", None),
            ("1\u{e4}", None),
        ] {
            assert_eq!(duration(text), seconds, "{text}");
        }
    }
}
