//! The table of settings. Each setting is written down here once; its flag, variable, key, help text, documentation and
//! typed field all follow from its row.
//!
//! A row reads: explanation (first paragraph for `-h`, all of it for `--help` and the documentation), the field with
//! its type, and the setting with its flag, unit, bounds and default. Bounds and defaults live in [`crate::limits`].

#![allow(clippy::doc_markdown, reason = "what explains a setting is shown on terminals, as it stands")]

use super::{
    setting::{Default, Kind, Section, Setting},
    units::Unit::{Bytes, Count, Seconds},
    value::{AnonymousAccess, BindAddress, FromValue, LogFormat, LogLevel, LogTarget, Value},
};
use crate::limits;

/// Makes the table and the struct of typed values from the rows.
macro_rules! settings {
    ($( $section:ident { $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $setting:expr; )+ } )+) => {
        /// Every setting, in the order of the documentation.
        pub const SETTINGS: &[Setting] = &[
            $( $( Setting { section: Section::$section, doc: &[$($doc),+], ..$setting }, )+ )+
        ];

        /// Every setting's value, checked against its bounds. Units come last in a field's name.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Values {
            $( $( $(#[doc = $doc])+ pub $field: $type, )+ )+
        }

        impl Values {
            /// From one value per row of [`SETTINGS`], in the same order.
            pub(super) fn from_values(values: impl IntoIterator<Item = Value>) -> Self {
                let mut values = values.into_iter();
                // Fields are evaluated in the order they are written, which is that of the table.
                Self {
                    $( $( $field: FromValue::from_value(values.next().expect("one value per setting")), )+ )+
                }
            }
        }
    };
}

settings! {
    Listener {
        /// Addresses to listen on.
        ///
        /// IPv4 or IPv6, each with a port of its own or with that of --port; repeat the flag or separate them with
        /// commas. 0.0.0.0 is every IPv4 address of the machine, :: every address of both kinds.
        bind: Vec<BindAddress> = Setting::new("bind", Kind::Addresses, Default::Text("127.0.0.1"));

        /// TCP port of every address that names none.
        ///
        /// 0 lets the kernel choose a free one; the log names it.
        port: u16 = Setting::number("port", Count, 0, u16::MAX as u64, 1883).short('p');

        /// Most connections at one time, over all listeners.
        ///
        /// Further ones are closed at once. Each shard needs its share of it within the limit on open files.
        connections_max: u32 = Setting::number(
            "max-connections", Count, 1, limits::CONNECTIONS_MAX as u64, limits::CONNECTIONS_DEFAULT as u64,
        );

        /// Time from accepting a connection to its complete CONNECT.
        connect_timeout_s: u16 = Setting::number(
            "connect-timeout", Seconds, 1, limits::CONNECT_TIMEOUT_MAX_S as u64,
            limits::CONNECT_TIMEOUT_DEFAULT_S as u64,
        );

        /// Most bytes that wait for one slow connection.
        ///
        /// Beyond it QoS 0 messages for that client are dropped and counted; QoS 1 and 2 stay in its session's queue.
        outbox_max_bytes: u32 = Setting::number(
            "outbox-max-bytes", Bytes, limits::OUTBOX_MIN_BYTES as u64, limits::OUTBOX_MAX_BYTES as u64,
            limits::OUTBOX_DEFAULT_BYTES as u64,
        );
    }

    Auth {
        /// Admit clients without credentials: loopback, true (all) or false.
        ///
        /// loopback admits those of loopback listeners and nobody else. true (or the bare flag) admits every client of
        /// every listener; false admits none, not even on loopback.
        allow_anonymous: AnonymousAccess = Setting::new(
            "allow-anonymous", Kind::Choice { words: AnonymousAccess::WORDS, value_name: "WHO", bare: Some("true") },
            Default::Text("loopback"),
        );
    }

    Mqtt {
        /// Largest packet taken from a client.
        ///
        /// The whole packet counts, fixed header included. A longer one closes its connection before anything is
        /// allocated for it.
        packet_size_max_bytes: u32 = Setting::number(
            "max-packet-size", Bytes, limits::PACKET_SIZE_MIN_BYTES as u64, limits::PACKET_SIZE_MAX_BYTES as u64,
            limits::PACKET_SIZE_DEFAULT_BYTES as u64,
        );

        /// Most QoS 1 and 2 messages in flight to one client.
        ///
        /// Further ones wait in its session's queue. An MQTT 5.0 client may ask for fewer with its receive maximum.
        inflight_max: u16 = Setting::number(
            "max-inflight", Count, 1, u16::MAX as u64, limits::INFLIGHT_DEFAULT as u64,
        );

        /// Most QoS 1 and 2 messages in flight from one client.
        ///
        /// Announced to MQTT 5.0 clients as the receive maximum.
        receive_maximum: u16 = Setting::number(
            "receive-max", Count, 1, u16::MAX as u64, limits::RECEIVE_MAXIMUM_DEFAULT as u64,
        );

        /// Longest keep alive a client may have.
        ///
        /// A client is closed after 1.5 times its keep alive without a packet. A client that asks for a longer one, or
        /// for none, gets this one; "any" leaves every client its choice.
        keep_alive_max_s: u16 = Setting::number(
            "keep-alive-max", Seconds, 1, u16::MAX as u64, limits::KEEP_ALIVE_DEFAULT_S as u64,
        ).word("any", u16::MAX as u64);

        /// Most topic aliases of one connection, in each direction.
        topic_alias_max: u16 = Setting::number(
            "topic-alias-max", Count, 0, u16::MAX as u64, limits::TOPIC_ALIAS_DEFAULT as u64,
        );

        /// Most levels of a topic name or filter.
        topic_levels_max: u16 = Setting::number(
            "topic-levels-max", Count, limits::TOPIC_LEVELS_MIN as u64, limits::TOPIC_LEVELS_MAX as u64,
            limits::TOPIC_LEVELS_DEFAULT as u64,
        );

        /// Most retained messages, over the whole broker.
        ///
        /// At the limit a new topic is refused; a topic that has one already can still be replaced.
        retained_max: u32 = Setting::number(
            "retained-max", Count, 0, limits::RETAINED_MAX as u64, limits::RETAINED_DEFAULT as u64,
        );

        /// Most bytes of retained messages, over the whole broker.
        ///
        /// Topic, properties and payload count. A message that does not fit, in place of the one its topic has, is
        /// refused.
        retained_max_bytes: u64 = Setting::number(
            "retained-max-bytes", Bytes, 0, limits::RETAINED_MAX_BYTES, limits::RETAINED_DEFAULT_BYTES,
        );
    }

    Session {
        /// Most sessions, connected or not, over the whole broker.
        ///
        /// Each shard has an equal part of it. At the limit a client comes back to the session that it has, and one that has
        /// none is refused: with 0x97, with 3 before MQTT 5.0.
        sessions_max: u32 = Setting::number(
            "max-sessions", Count, 1, limits::SESSIONS_MAX as u64, limits::SESSIONS_DEFAULT as u64,
        );

        /// Most messages queued for one session.
        ///
        /// Beyond it further ones for that session are dropped and counted, unless older ones have expired meanwhile: those
        /// give way.
        queued_messages_max: u32 = Setting::number(
            "max-queued-messages", Count, 1, limits::QUEUED_MESSAGES_MAX as u64,
            limits::QUEUED_MESSAGES_DEFAULT as u64,
        );

        /// Most bytes queued for one session.
        ///
        /// Topic, properties and payload count.
        queued_bytes_max: u64 = Setting::number(
            "max-queued-bytes", Bytes, limits::QUEUED_MIN_BYTES, limits::QUEUED_MAX_BYTES,
            limits::QUEUED_DEFAULT_BYTES,
        );

        /// Most memory for what is queued for all sessions together.
        ///
        /// A message that waits for many sessions counts once, with some bytes more for each of them. Beyond it messages that
        /// would have to be queued are dropped, counted and reported in the log; what can be sent at once is sent.
        queued_memory_max_bytes: u64 = Setting::number(
            "max-queued-memory", Bytes, limits::QUEUED_MEMORY_MIN_BYTES, limits::QUEUED_MEMORY_MAX_BYTES,
            limits::QUEUED_MEMORY_DEFAULT_BYTES,
        );

        /// Longest time a session outlives its connection.
        ///
        /// Also the life of MQTT 3.1.1 sessions with clean session off, which ask for no end. 0 ends every session
        /// with its connection.
        session_expiry_max_s: u32 = Setting::number(
            "session-expiry-max", Seconds, 0, limits::SESSION_EXPIRY_NEVER_S as u64,
            limits::SESSION_EXPIRY_DEFAULT_S as u64,
        ).word("never", limits::SESSION_EXPIRY_NEVER_S as u64).key_in_file("expiry_max");

        /// Most subscriptions of one session.
        subscriptions_max: u32 = Setting::number(
            "max-subscriptions", Count, 1, limits::SUBSCRIPTIONS_MAX as u64, limits::SUBSCRIPTIONS_DEFAULT as u64,
        );
    }

    Node {
        /// This broker's name in $SYS topics and metrics.
        node_name: String = Setting::new("node-name", Kind::Name, Default::HostName).key_in_file("name");

        /// Threads that each serve a part of the clients.
        ///
        /// A session stays with one of them, and they share nothing. The default follows the process's CPU affinity and
        /// its cgroup's quota. More shards than cores is legal and seldom of use.
        shards: usize = Setting::number("shards", Count, 1, limits::SHARDS_MAX as u64, 1)
            .default_from(Default::Cores);

        /// Keep each shard on a core of its own.
        ///
        /// Switch it off where another busy process shares the cores.
        pin: bool = Setting::new("pin", Kind::Switch { off_flag: "no-pin" }, Default::Switch(true));

        /// How long SIGTERM and SIGINT wait for queued packets to leave.
        shutdown_timeout_s: u16 = Setting::number(
            "shutdown-timeout", Seconds, 0, limits::SHUTDOWN_TIMEOUT_MAX_S as u64,
            limits::SHUTDOWN_TIMEOUT_DEFAULT_S as u64,
        );

        /// Time from one publication of the $SYS topics to the next.
        sys_interval_s: u16 = Setting::number(
            "sys-interval", Seconds, 0, limits::SYS_INTERVAL_MAX_S as u64, limits::SYS_INTERVAL_DEFAULT_S as u64,
        ).word("off", 0);
    }

    Log {
        /// Shape of a log line.
        ///
        /// text is a time, a level, an event and key=value fields; json is one object with the same names.
        log_format: LogFormat = Setting::new(
            "log-format", Kind::Choice { words: LogFormat::WORDS, value_name: "text|json", bare: None },
            Default::Text("text"),
        ).key_in_file("format");

        /// Least severe line that is logged: error, warn, info, debug or trace.
        log_level: LogLevel = Setting::new(
            "log-level", Kind::Choice { words: LogLevel::WORDS, value_name: "LEVEL", bare: None },
            Default::Text("info"),
        ).key_in_file("level");

        /// Where log lines go.
        ///
        /// A path is appended to and opened again on SIGUSR1, after the file was moved away.
        log_file: LogTarget = Setting::new("log-file", Kind::Path, Default::Text("stderr")).key_in_file("file");

        /// Most lines a second about one kind of event.
        ///
        /// Kinds are connects, disconnects, refusals and the like: a storm of them costs no more. The rest is counted,
        /// and the count is logged.
        log_rate: u32 = Setting::number(
            "log-rate", Count, 0, limits::LOG_RATE_MAX as u64, limits::LOG_RATE_DEFAULT as u64,
        ).word("all", 0).key_in_file("rate");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_flags_are_the_keys_with_at_most_their_section_in_front() {
        let mut seen = HashSet::new();
        for setting in SETTINGS {
            assert!(seen.insert(setting.path()), "{}", setting.path());
            assert!(seen.insert(setting.flag.to_owned()), "--{}", setting.flag);
            let flag = setting.flag.replace('-', "_");
            let long = format!("{}_{}", setting.section.name(), setting.key());
            assert!(flag == setting.key() || flag == long, "--{} and {}", setting.flag, setting.path());
        }
    }

    #[test]
    fn sections_follow_each_other_in_the_order_of_the_documentation() {
        let mut order: Vec<Section> = SETTINGS.iter().map(|setting| setting.section).collect();
        order.dedup();
        assert_eq!(order, Section::ALL);
    }

    #[test]
    fn every_default_is_within_its_bounds_and_every_bound_fits_its_field() {
        let of_machine = |default: Default| match default {
            Default::Number(number) => number.to_string(),
            Default::Switch(on) => on.to_string(),
            Default::Text(text) => text.to_owned(),
            Default::Cores => "4".to_owned(),
            Default::HostName => "host".to_owned(),
        };
        let all = |text: &dyn Fn(&Setting) -> String| {
            let parse = |setting: &Setting| setting.parse(&[text(setting)]).expect(setting.flag);
            Values::from_values(SETTINGS.iter().map(parse))
        };
        let extreme = |setting: &Setting, most: bool| match setting.kind {
            Kind::Number { min, max, .. } => if most { max } else { min }.to_string(),
            _ => of_machine(setting.default),
        };
        assert_eq!(all(&|setting| of_machine(setting.default)).port, 1883);
        assert_eq!(all(&|setting| extreme(setting, false)).shards, 1);
        assert_eq!(all(&|setting| extreme(setting, true)).session_expiry_max_s, u32::MAX);
    }

    #[test]
    fn every_word_of_a_choice_reaches_its_field() {
        for setting in SETTINGS {
            let Kind::Choice { words, bare, .. } = setting.kind else { continue };
            for word in words.iter().chain(&bare) {
                let values = SETTINGS.iter().map(|row| match row.default {
                    _ if row.flag == setting.flag => row.parse(&[(*word).to_owned()]).expect(word),
                    Default::Number(number) => Value::Number(number),
                    Default::Switch(on) => Value::Switch(on),
                    Default::Text(text) => row.parse(&[text.to_owned()]).expect(text),
                    Default::Cores => Value::Number(1),
                    Default::HostName => Value::Text("host".to_owned()),
                });
                let shown = format!("{:?}", Values::from_values(values)).to_lowercase();
                let variant = match *word {
                    "true" => "everywhere",
                    "false" => "nowhere",
                    word => word,
                };
                assert!(shown.contains(&format!(": {variant}")), "{word}: {shown}");
            }
        }
    }

    #[test]
    fn every_setting_explains_itself_in_one_sentence_first() {
        for setting in SETTINGS {
            let summary = setting.summary();
            assert!((10..=90).contains(&summary.len()), "--{}: {summary:?}", setting.flag);
            assert!(!summary.ends_with('.') && setting.doc[0].trim_end().ends_with('.'), "--{}", setting.flag);
        }
    }
}
