//! The settings of the process: where it listens when no table says so, its threads, its log.

#![allow(clippy::doc_markdown, reason = "what explains a setting is shown on terminals, as it stands")]

use std::{fmt, net::IpAddr, net::SocketAddr, path::PathBuf, str::FromStr};

use super::unix::{UnixMode, UnixOwner, UnixPath, check_mode, check_owner, check_unix};
use crate::auth::{AuthSettings, BanSettings};
use crate::limits;
use crate::settings::{
    Fallback, FromValue, Kind, OptionalFile, OptionalText, Section, Setting,
    Unit::{Count, Seconds},
    Value, check_file, check_text, declare_settings, words,
};

declare_settings! {
    /// What the operator chose, as the edge needs it.
    ProcessSettings, PROCESS_ROWS;

    Listener {
        /// Addresses to listen on.
        ///
        /// IPv4 or IPv6, each with a port of its own or with that of --port; repeat the flag or separate them with
        /// commas. 0.0.0.0 is every IPv4 address of the machine, :: every address of both kinds. A [[listener]] table has
        /// one address.
        bind: Vec<BindAddress> = Setting::new(
            "bind",
            Kind::Texts { check: check_address, noun: "address", most: limits::LISTENERS_MAX },
            Fallback::Text("127.0.0.1"),
        ).for_each_listener(), Reload;

        /// TCP port of every address that names none.
        ///
        /// 0 lets the kernel choose a free one; the log names it.
        port: u16 = Setting::number("port", Count, 0, u16::MAX as u64, 1883).short('p').for_each_listener(), Reload;

        /// TCP port of MQTT over WebSocket, at every address of --bind; 8083 is the usual one.
        ///
        /// off does not listen for it. In a [[listener]] table of the kind websocket, port is its port, or else this, or else
        /// 8083.
        ws_port: u32 = Setting::number("ws-port", Count, 0, PORT_OFF as u64, PORT_OFF as u64)
            .word("off", PORT_OFF as u64).for_each_listener(), Reload;

        /// TCP port of MQTT in TLS, at every address of --bind; 8883 is the usual one.
        ///
        /// off listens for it at 8883 where there is a tls_cert, and else not at all. In a [[listener]] table of the kind tls, port is its port,
        /// or else this, or else 8883.
        tls_port: u32 = Setting::number("tls-port", Count, 0, PORT_OFF as u64, PORT_OFF as u64)
            .word("off", PORT_OFF as u64).for_each_listener(), Reload;

        /// UDP port of MQTT-SN, on this machine alone; 1884 is the usual one.
        ///
        /// off does not listen for it. It stays on 127.0.0.1 whatever --bind says, because MQTT-SN has neither passwords nor encryption: a
        /// [[listener]] table of the kind mqtt-sn can name another address. There port is its port, or else this, or else 1884.
        sn_port: u32 = Setting::number("sn-port", Count, 0, PORT_OFF as u64, PORT_OFF as u64)
            .word("off", PORT_OFF as u64).for_each_listener(), Reload;

        /// TCP port of MQTT over secure WebSocket, at every address of --bind; 8084 is the usual one.
        ///
        /// off does not listen for it. It needs tls_cert and tls_key. In a [[listener]] table of the kind wss, port is its port, or else this,
        /// or else 8084.
        wss_port: u32 = Setting::number("wss-port", Count, 0, PORT_OFF as u64, PORT_OFF as u64)
            .word("off", PORT_OFF as u64).for_each_listener(), Reload;

        /// Path of a Unix socket to listen at, beside the addresses; off is none.
        ///
        /// A [[listener]] table of the kind unix listens there and at no address. A socket that an ended process left is
        /// replaced; beside it a file that ends in .lock keeps two brokers from listening at one path.
        unix: UnixPath = Setting::new(
            "unix", Kind::Text { check: check_unix, noun: "path", allowed: "off or a path of up to 100 bytes" },
            Fallback::Text("off"),
        ).for_each_listener(), Reload;

        /// Who may connect to a Unix socket, as for chmod: 660 is its owner and its group.
        unix_mode: UnixMode = Setting::new(
            "unix-mode", Kind::Text { check: check_mode, noun: "mode", allowed: "three octal digits such as 660" },
            Fallback::Text("660"),
        ).for_each_listener(), Start;

        /// Whose a Unix socket is, as for chown: user, user:group or :group.
        ///
        /// self leaves it to the user and group that the broker runs under. Names are those of /etc/passwd and /etc/group; numbers are taken as well.
        unix_owner: UnixOwner = Setting::new(
            "unix-owner", Kind::Text { check: check_owner, noun: "owner", allowed: "self, user, user:group or :group" },
            Fallback::Text("self"),
        ).for_each_listener(), Start;
    }

    Node {
        /// Most clients that are connected at one time, over all listeners.
        ///
        /// One more is refused with 0x97 (3 before 5.0), unless it takes over a connection of its own. Each shard needs its share of it within the limit on open files.
        connections_max: u32 = Setting::number(
            "max-connections", Count, 1, limits::CONNECTIONS_MAX as u64, limits::CONNECTIONS_DEFAULT as u64,
        ).also_in(Section::Listener), Start;

        /// Keep each shard on a core of its own.
        ///
        /// Worth a try on a machine with many cores and no other work; elsewhere the system knows better who waits for a core.
        pin: bool = Setting::new("pin", Kind::Switch { off_flag: "no-pin" }, Fallback::Switch(false)), Start;

        /// How often it is looked whether users, rules, keys or certificates have changed on disk.
        ///
        /// A file that has changed and then stood still for as long is read as at SIGHUP, all or nothing, and the
        /// configuration file with it. That file itself is not looked at: a change of it waits for SIGHUP, or for one of the others to
        /// change. off leaves all of it to SIGHUP.
        watch_files_s: u32 = Setting::number(
            "watch-files", Seconds, 0, limits::WATCH_FILES_MAX_S as u64, limits::WATCH_FILES_DEFAULT_S as u64,
        ).word("off", 0), Start;

        /// How long SIGTERM and SIGINT wait for queued packets to leave.
        shutdown_timeout_s: u16 = Setting::number(
            "shutdown-timeout", Seconds, 0, limits::SHUTDOWN_TIMEOUT_MAX_S as u64,
            limits::SHUTDOWN_TIMEOUT_DEFAULT_S as u64,
        ), Start;

        /// How long SIGTERM and SIGINT take to empty the broker before it ends.
        ///
        /// Nobody comes in any more, /readyz says 503, and clients are asked to go one after the other, evenly over this time, so that not all of them come
        /// to another broker at once. Who is left when it is over is closed, and shutdown_timeout begins. 0s closes all at once. Bridges, sinks and sources
        /// end before it. systemd is asked for the time.
        shutdown_drain_s: u16 = Setting::number(
            "shutdown-drain", Seconds, 0, limits::SHUTDOWN_TIMEOUT_MAX_S as u64, 0,
        ), Start;

        /// Where MQTT 5.0 clients are told to go (0x9C) when SIGTERM empties the broker, or none.
        shutdown_server: OptionalText = Setting::new(
            "shutdown-server", Kind::Text { check: check_text, noun: "server", allowed: "a server such as b.example:8883, or none" },
            Fallback::Text("none"),
        ), Start;
    }

    Auth {
        /// How long a password that was found right is remembered.
        ///
        /// A client that comes back with it then costs no hash: a whole fleet can. Kept is a keyed hash in memory, never the
        /// password; it is dropped when the user's line in the file changes.
        remember_logins_s: u32 = Setting::number(
            "remember-logins", Seconds, 0, limits::REMEMBER_LOGINS_MAX_S as u64, limits::REMEMBER_LOGINS_DEFAULT_S as u64,
        ).word("off", 0), Reload;

        /// Failed logins after which an address or a client id is turned away for a while.
        ///
        /// Counted are wrong passwords and unknown users within ban_window, of an IPv4 address, of an IPv6 address's /64, and of a
        /// client id. For ban_time they are then refused with 0x8A (5 before MQTT 5.0) and cost no hash. Clients behind one address share
        /// its count, and whoever knows a client id can have it banned: choose a number that honest mistakes do not reach.
        ban_after: u32 = Setting::number("ban-after", Count, 0, limits::BAN_AFTER_MAX as u64, 0).word("off", 0), Reload;

        /// Whom nobody lets in: a file with an address, a network, or a client id in each line.
        ///
        /// 192.0.2.7, 192.0.2.0/24 and 2001:db8::/32 are networks, client ID a client id to the end of the line; # begins a comment. Whoever is on it is
        /// refused with 0x8A (5 before MQTT 5.0), by a listener for TLS before a handshake is paid for. It is read at a start, at SIGHUP and when it
        /// changes; with anything wrong in it, or nothing, the broker does not start, or keeps the list that it has. Who is connected stays. What operators
        /// ban at run time is kept apart from it.
        bans_file: OptionalFile = Setting::new(
            "bans-file", Kind::Text { check: check_file, noun: "path", allowed: "a path, or none" }, Fallback::Text("none"),
        ), Reload;

        /// Time within which failed logins count towards ban_after.
        ban_window_s: u32 = Setting::number(
            "ban-window", Seconds, 1, limits::BAN_TIME_MAX_S as u64, limits::BAN_WINDOW_DEFAULT_S as u64,
        ), Reload;

        /// Time that a ban lasts.
        ban_time_s: u32 = Setting::number(
            "ban-time", Seconds, 1, limits::BAN_TIME_MAX_S as u64, limits::BAN_TIME_DEFAULT_S as u64,
        ), Reload;

        /// Who may publish and subscribe to what: a file of access rules.
        ///
        /// It is in Mosquitto's form, or in dunlin's own. It is read at a start and again at SIGHUP; with anything wrong in it, or no rule, the broker does not start, or keeps the
        /// rules that it has. What no rule allows is refused, the broker's own $SYS topics among it. Without a file everybody may do
        /// everything.
        acl_file: OptionalFile = Setting::new(
            "acl-file",
            Kind::Text { check: check_file, noun: "path", allowed: "a path, or none" },
            Fallback::Text("none"),
        ), Start;

        /// What holds for some clients only, in place of other settings: a file of profiles.
        ///
        /// Messages and bytes a second, subscriptions, queue, packets and keep alive, by user, group, client id, listener and network. It is
        /// read at a start and again at SIGHUP; with anything wrong in it, or no profile, the broker does not start, or keeps the
        /// profiles that it has. It holds for clients that connect from then on.
        profiles_file: OptionalFile = Setting::new(
            "profiles-file", Kind::Text { check: check_file, noun: "path", allowed: "a path, or none" }, Fallback::Text("none"),
        ), Start;
    }

    Auth {
        /// How often a JSON Web Key Set is fetched.
        jwks_refresh_s: u32 = Setting::number(
            "jwks-refresh", Seconds, limits::JWKS_REFRESH_MIN_S as u64, limits::JWKS_REFRESH_MAX_S as u64,
            limits::JWKS_REFRESH_DEFAULT_S as u64,
        ), Reload;

        /// How long a back end may take for an answer.
        ///
        /// From the look-up of its host to the last byte. A client waits no longer than five seconds in all.
        auth_http_timeout_s: u32 = Setting::number(
            "auth-http-timeout", Seconds, 1, limits::AUTH_HTTP_TIMEOUT_MAX_S as u64, limits::AUTH_HTTP_TIMEOUT_DEFAULT_S as u64,
        ), Reload;

        /// Most requests that back ends are sent at one time.
        ///
        /// Each takes a thread, and a connection that is kept.
        auth_http_connections: u32 = Setting::number(
            "auth-http-connections", Count, 1, limits::AUTH_HTTP_CONNECTIONS_MAX as u64,
            limits::AUTH_HTTP_CONNECTIONS_DEFAULT as u64,
        ), Start;

        /// Headers of each request to a back end, as a file, or none.
        ///
        /// One a line, as in X-API-Key: 0123456789. Requests for key sets do without. It is read at a start and again at SIGHUP.
        auth_http_headers: OptionalFile = Setting::new(
            "auth-http-headers", Kind::Text { check: check_file, noun: "path", allowed: "a path, or none" }, Fallback::Text("none"),
        ), Start;

        /// Authorities whose certificates jwks_url and the like must have, as a PEM file.
        ///
        /// none takes those that the system trusts (/etc/ssl/certs/ca-certificates.crt or /etc/pki/tls/certs/ca-bundle.crt). It is read at a start
        /// and again at SIGHUP.
        auth_http_ca: OptionalFile = Setting::new(
            "auth-http-ca", Kind::Text { check: check_file, noun: "path", allowed: "a path, or none" }, Fallback::Text("none"),
        ), Start;

        /// Users to whom no access rule applies; none, or user names.
        ///
        /// They publish and subscribe to everything, $SYS topics among it. Only verified user names count.
        superusers: Vec<String> = Setting::new(
            "superusers", Kind::Texts { check: check_user, noun: "name", most: limits::SUPERUSERS_MAX }, Fallback::Text("none"),
        ), Reload;
    }

    Log {
        /// Shape of a log line.
        ///
        /// text is a time, a level, an event and key=value fields; json is one object with the same names.
        log_format: LogFormat = Setting::new(
            "log-format", Kind::Choice { words: LogFormat::WORDS, planned: &[], bare: None },
            Fallback::Text("text"),
        ).key_in_file("format"), Start;

        /// Least severe line that is logged: error, warn, info, debug or trace.
        log_level: LogLevel = Setting::new(
            "log-level", Kind::Choice { words: LogLevel::WORDS, planned: &[], bare: None },
            Fallback::Text("info"),
        ).key_in_file("level"), Reload;

        /// Where log lines go.
        ///
        /// A path is appended to and opened again on SIGUSR1, after the file was moved away.
        log_file: LogTarget = Setting::new(
            "log-file",
            Kind::Text { check: check_path, noun: "path", allowed: "stderr or a path" },
            Fallback::Text("stderr"),
        ).key_in_file("file"), Start;

        /// Most lines a second about one kind of event.
        ///
        /// Kinds are connects, disconnects, refusals and the like: a storm of them costs no more. The rest is counted,
        /// and the count is logged.
        log_rate: u32 = Setting::number(
            "log-rate", Count, 0, limits::LOG_RATE_MAX as u64, limits::LOG_RATE_DEFAULT as u64,
        ).word("all", 0).key_in_file("rate"), Reload;
    }
}

impl ProcessSettings {
    /// Users to whom no access rule applies.
    pub fn superusers(&self) -> impl Iterator<Item = &str> {
        self.superusers.iter().map(String::as_str).filter(|user| *user != "none")
    }

    /// What the authenticator has to know.
    pub fn auth(&self) -> AuthSettings {
        let bans = BanSettings { after: self.ban_after, within_s: self.ban_window_s, lasts_s: self.ban_time_s };
        AuthSettings { remember_s: self.remember_logins_s, bans, key_set_refresh_s: self.jwks_refresh_s }
    }
}

/// No port: there is no listener of that kind.
pub(super) const PORT_OFF: u32 = u16::MAX as u32 + 1;
/// The port of MQTT over WebSocket that other brokers have.
pub(super) const WS_PORT_DEFAULT: u16 = 8083;
/// Where gateways of MQTT-SN are, by custom.
pub(super) const SN_PORT_DEFAULT: u16 = 1884;

/// An address of `--bind`: with a port of its own or with that of `--port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindAddress {
    /// IPv4 or IPv6, possibly the wildcard.
    pub ip: IpAddr,
    /// Its own port, if one was given.
    pub port: Option<u16>,
}

impl BindAddress {
    /// The address to listen on.
    pub fn with_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(port))
    }
}

impl FromStr for BindAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse() {
            return Ok(Self { ip, port: None });
        }
        match text.parse::<SocketAddr>() {
            Ok(addr) => Ok(Self { ip: addr.ip(), port: Some(addr.port()) }),
            Err(_) => Err(format!(
                "{text:?} is not an IP address: write 127.0.0.1, 0.0.0.0 (all of IPv4), :: (all of IPv6), \
                 192.0.2.1:1884 or [::1]:1884; names are not looked up"
            )),
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

fn check_address(text: &str) -> Result<String, String> {
    text.parse::<BindAddress>().map(|address| address.to_string())
}

/// A user name, or the word for none.
fn check_user(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > limits::SUPERUSER_MAX_BYTES {
        return Err(format!("a user name has 1 to {} bytes, and none is nobody", limits::SUPERUSER_MAX_BYTES));
    }
    Ok(text.to_owned())
}

pub(super) fn check_path(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("the path is empty or holds a NUL".to_owned());
    }
    Ok(text.to_owned())
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value` fields.
    Text,
    /// One JSON object.
    Json,
}

/// The least severe line that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What stops the broker or loses data.
    Error,
    /// What the operator should look at.
    Warn,
    /// Starts, stops, connects, disconnects.
    Info,
    /// Why a client was refused or dropped, in detail.
    Debug,
    /// Everything.
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// A file, appended to; opened again on SIGUSR1.
    File(PathBuf),
}

impl FromValue for Vec<BindAddress> {
    fn from_value(value: Value) -> Self {
        let texts = Vec::<String>::from_value(value);
        texts.iter().map(|text| text.parse().expect("the row has checked it")).collect()
    }
}

impl FromValue for LogTarget {
    fn from_value(value: Value) -> Self {
        match String::from_value(value) {
            word if word == "stderr" => Self::Stderr,
            path => Self::File(path.into()),
        }
    }
}

words!(LogFormat { "text" => Self::Text, "json" => Self::Json });
words!(LogLevel {
    "error" => Self::Error,
    "warn" => Self::Warn,
    "info" => Self::Info,
    "debug" => Self::Debug,
    "trace" => Self::Trace,
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_with_and_without_a_port() {
        let table = [
            ("127.0.0.1", "127.0.0.1:1883", "127.0.0.1"),
            ("0.0.0.0:1884", "0.0.0.0:1884", "0.0.0.0:1884"),
            ("::", "[::]:1883", "::"),
            ("[::1]", "[::1]:1883", "::1"),
            (" [2001:db8::1]:1884 ", "[2001:db8::1]:1884", "[2001:db8::1]:1884"),
        ];
        for (text, addr, shown) in table {
            let address: BindAddress = text.parse().unwrap();
            assert_eq!(address.with_port(1883).to_string(), addr, "{text}");
            assert_eq!(address.to_string(), shown, "{text}");
            assert_eq!(address.to_string().parse(), Ok(address), "{text}");
        }
    }

    #[test]
    fn superusers_are_a_few_names_of_some_length() {
        let row = PROCESS_ROWS.iter().find(|row| row.flag == "superusers").unwrap();
        let names = |count: usize| (0..count).map(|n| format!("user-{n}")).collect::<Vec<_>>();
        assert!(row.parse(&names(limits::SUPERUSERS_MAX)).is_ok());
        assert!(row.parse(&names(limits::SUPERUSERS_MAX + 1)).is_err());
        assert!(row.parse(&["x".repeat(limits::SUPERUSER_MAX_BYTES)]).is_ok());
        assert!(row.parse(&["x".repeat(limits::SUPERUSER_MAX_BYTES + 1)]).is_err());
        let settings = |text: &str| {
            ProcessSettings::from_values(&|row| match row.flag {
                "superusers" => row.parse(&[text.to_owned()]).unwrap(),
                _ => row.default_value(&crate::settings::Machine::default()),
            })
        };
        assert_eq!(settings("ann,bob").superusers().collect::<Vec<_>>(), ["ann", "bob"]);
        assert_eq!(settings("none").superusers().count(), 0);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "localhost", "*", "127.0.0.1:", "127.0.0.1:99999", "::1:1883:x", "[::1", "1.2.3"] {
            let error = text.parse::<BindAddress>().unwrap_err();
            assert!(error.contains("is not an IP address"), "{text}: {error}");
        }
    }

    #[test]
    fn every_bound_and_every_word_fits_its_field() {
        let words = PROCESS_ROWS.iter().filter_map(|row| match row.kind {
            Kind::Choice { words, .. } => Some(words.iter().map(|word| (row.flag, (*word).to_owned()))),
            _ => None,
        });
        for (flag, word) in words.flatten() {
            let machine = crate::settings::Machine::default();
            let settings = ProcessSettings::from_values(&|row| {
                let given = (row.flag == flag).then(|| row.parse(std::slice::from_ref(&word)).expect("its word"));
                given.unwrap_or_else(|| row.default_value(&machine))
            });
            assert!(format!("{settings:?}").to_lowercase().contains(&format!(": {word}")), "{word}: {settings:?}");
        }
        for most in [false, true] {
            let settings = ProcessSettings::from_values(&|row| match row.kind {
                Kind::Number { min, max, .. } => Value::Number(if most { max } else { min }),
                _ => row.default_value(&crate::settings::Machine::default()),
            });
            assert_eq!(settings.port, if most { u16::MAX } else { 0 });
        }
    }
}
