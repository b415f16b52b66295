//! The settings of the admin server.

#![allow(clippy::doc_markdown, reason = "what explains a setting is shown on terminals, as it stands")]

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::unix::check_unix;
use crate::settings::{
    Fallback, FromValue, Kind, ListenerKind, ListenerSettings, OptionalFile, Setting, Unit::Count, Value, check_file,
    declare_settings, words,
};

declare_settings! {
    /// What the operator chose about the admin server.
    AdminSettings, ADMIN_ROWS;

    Admin {
        /// Port of the admin server: health, metrics and the API over HTTP.
        ///
        /// off has none; 0 lets the kernel choose a free one, and the log names it. Where another program has the port that nobody has
        /// chosen, the broker starts without an admin server and says so in the log.
        admin_port: u32 = Setting::number("admin-port", Count, 0, PORT_OFF as u64, PORT_DEFAULT as u64)
            .word("off", PORT_OFF as u64).key_in_file("port"), Start;

        /// Address of the admin server.
        ///
        /// One that others than this machine reach needs a certificate (tls_cert), or the word that plain HTTP is meant (plain_http).
        admin_bind: IpAddr = Setting::new(
            "admin-bind", Kind::Text { check: check_ip, noun: "address", allowed: "an IPv4 or IPv6 address" },
            Fallback::Text("127.0.0.1"),
        ).key_in_file("bind"), Start;

        /// Whether the admin server may speak plain HTTP to others than this machine.
        ///
        /// Passwords and keys are then read by whoever sees the packets: for a network of its own, or a proxy on another machine.
        admin_plain_http: bool = Setting::new(
            "admin-plain-http", Kind::Switch { off_flag: "no-admin-plain-http" }, Fallback::Switch(false),
        ).key_in_file("plain_http"), Start;

        /// Certificate of the admin server, and the chain above it.
        ///
        /// In PEM. With one it speaks HTTPS, and nothing else. It is read again at SIGHUP and when it changes, as those of listeners are. Whether there is one changes at a start only.
        admin_tls_cert: OptionalFile = Setting::new(
            "admin-tls-cert", Kind::Text { check: check_file, noun: "path", allowed: "a path, or none" },
            Fallback::Text("none"),
        ).key_in_file("tls_cert"), Start;

        /// The key of the admin server's certificate.
        admin_tls_key: OptionalFile = Setting::new(
            "admin-tls-key", Kind::Text { check: check_file, noun: "path", allowed: "a path, or none" },
            Fallback::Text("none"),
        ).key_in_file("tls_key"), Start;

        /// A path at which the admin server listens as well.
        ///
        /// It is for dunlin ctl on this machine. Who connects there as root, or as the broker's own user, may do all without a password or key; the file is for nobody else. auto is
        /// admin.sock in the directory that systemd makes for the service (RuntimeDirectory=dunlin), and nothing where there is none; off has none.
        admin_socket: AdminSocket = Setting::new(
            "admin-socket", Kind::Text { check: check_socket, noun: "path", allowed: "a path, auto, or off" },
            Fallback::Text("auto"),
        ).key_in_file("socket"), Start;

        /// Who may use the API: a file that `dunlin passwd --admin` writes.
        ///
        /// none has one user, admin, with a password that is made at each start, told in the log, good for one login, and for an hour. It is
        /// read at a start and again at SIGHUP.
        admin_users: OptionalFile = Setting::new(
            "admin-users", Kind::Text { check: check_file, noun: "path", allowed: "a path, or none" },
            Fallback::Text("none"),
        ).key_in_file("users"), Start;

        /// Whether metrics are for everybody who reaches the port, or for those whom the API knows.
        admin_metrics: MetricsAccess = Setting::new(
            "admin-metrics", Kind::Choice { words: MetricsAccess::WORDS, planned: &[], bare: None },
            Fallback::Text("open"),
        ).key_in_file("metrics"), Start;
    }
}

/// Where it is looked for.
const PORT_DEFAULT: u32 = 18_083;
/// No port: there is no admin server.
const PORT_OFF: u32 = u16::MAX as u32 + 1;

impl AdminSettings {
    /// Where the admin server listens; `None` if there is none.
    pub fn address(&self) -> Option<SocketAddr> {
        u16::try_from(self.admin_port).ok().map(|port| SocketAddr::new(self.admin_bind, port))
    }

    /// What is wrong with the settings as they stand together: which of them, and why.
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        let has_cert = self.tls().is_some();
        let is_open = self.address().is_some_and(|address| !address.ip().to_canonical().is_loopback());
        (is_open && !has_cert && !self.admin_plain_http).then_some((
            "admin-bind",
            "others than this machine reach it, and passwords would be sent in plain: give [admin] tls_cert and tls_key, or say \
             plain_http = true (--admin-plain-http)",
        ))
    }

    /// What the admin server's certificate is read as: as those of listeners are.
    pub fn tls(&self) -> Option<ListenerSettings> {
        let path = |file: &OptionalFile| file.path().map(|path| path.to_string_lossy().into_owned());
        let (certificate, key) = (path(&self.admin_tls_cert), path(&self.admin_tls_key));
        // One without the other is told when they are read, as it is of listeners.
        (certificate.is_some() || key.is_some()).then(|| ListenerSettings {
            name: ADMIN_NAME.into(),
            // Its protocol inside is HTTP, as that of WebSocket is in the beginning.
            kind: ListenerKind::SecureWebSocket,
            tls_certificates: certificate.into_iter().collect(),
            tls_keys: key.into_iter().collect(),
            ..ListenerSettings::default()
        })
    }
}

/// What the admin server is called where listeners have their names. No listener can be called so.
pub const ADMIN_NAME: &str = "[admin]";

/// Whether the admin server listens at a path, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminSocket {
    /// Where the service has a directory for such things.
    Auto,
    /// Nowhere.
    Off,
    /// There.
    At(PathBuf),
}

impl AdminSocket {
    /// Where that is; `variable` reads the environment.
    pub fn path(&self, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        match self {
            Self::Off => None,
            Self::At(path) => Some(path.clone()),
            Self::Auto => {
                let directories = variable("RUNTIME_DIRECTORY")?.into_string().ok()?;
                // systemd names several with a colon between them, if the unit has several.
                let first = directories.split(':').next().filter(|first| !first.is_empty())?;
                Some(Path::new(first).join("admin.sock"))
            }
        }
    }
}

impl FromValue for AdminSocket {
    fn from_value(value: Value) -> Self {
        match String::from_value(value) {
            word if word == "auto" => Self::Auto,
            word if word == "off" => Self::Off,
            path => Self::At(path.into()),
        }
    }
}

fn check_socket(text: &str) -> Result<String, String> {
    if text == "auto" { Ok(text.to_owned()) } else { check_unix(text) }
}

/// Who is shown metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsAccess {
    /// Whoever reaches the port.
    Open,
    /// Whoever may use the API.
    Authenticated,
}

words!(MetricsAccess { "open" => Self::Open, "authenticated" => Self::Authenticated });

impl FromValue for IpAddr {
    fn from_value(value: Value) -> Self {
        String::from_value(value).parse().expect("the row admits only addresses")
    }
}

fn check_ip(text: &str) -> Result<String, String> {
    let text = text.trim();
    text.parse::<IpAddr>()
        .map(|ip| ip.to_string())
        .map_err(|_| format!("{text:?} is no IP address; names are not looked up"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_where_the_service_has_a_directory_or_where_it_is_said_to_be() {
        let of = |socket: &str, directory: Option<&str>| {
            let socket = AdminSocket::from_value(Value::Text(check_socket(socket).unwrap()));
            socket.path(|name| directory.filter(|_| name == "RUNTIME_DIRECTORY").map(Into::into))
        };
        assert_eq!(of("auto", Some("/run/dunlin:/run/b")).as_deref(), Some(Path::new("/run/dunlin/admin.sock")));
        assert_eq!((of("auto", None), of("auto", Some("")), of("off", Some("/run/dunlin"))), (None, None, None));
        assert_eq!(of("/tmp/x.sock", Some("/run/dunlin")).as_deref(), Some(Path::new("/tmp/x.sock")));
        assert!(check_socket("").is_err() && check_socket(&"x".repeat(200)).is_err());
    }
}
