//! The settings of a cluster: its name, its engine, the links between its nodes.
//!
//! Owns: the rows of the section, and what they come to together ([`ClusterConfig`]).
//! Always holds: a [`ClusterConfig`] that exists is whole: it names an engine with two logins, an address that others reach, and one way to know peers.
//! Leaves to others: whether the engine answers (`services::cluster`), what a name resolves to, whether a certificate is one (whoever opens the links).
//!
//! Nothing starts a cluster yet. So the rows are hidden, and who gives one is told that, after whatever else is wrong with it.

#![allow(clippy::doc_markdown, reason = "what explains a setting is shown on terminals, as it stands")]

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::secrets::SecretPlace;
use super::targets::{NatsLogin, NatsServerSettings, TlsClientSettings};
use super::{Config, Storage, System};
use crate::limits;
use crate::settings::{
    Fallback, FromValue, Kind, OptionalFile, OptionalText, Setting, Unit::Count, Value, check_file, check_name,
    declare_settings,
};

declare_settings! {
    /// What the operator chose about the cluster, one by one.
    ClusterSettings, CLUSTER_ROWS;

    Cluster {
        /// The name of the cluster that this broker is a node of, or none.
        ///
        /// It is the same on each of its nodes. A node is called as node_name says.
        cluster_name: OptionalText = Setting::new(
            "cluster-name", Kind::Text { check: check_name, noun: "name", allowed: "none, or 1 to 64 letters, digits, dots, hyphens and underscores" },
            Fallback::Text("none"),
        ).key_in_file("name").hidden(), Start;

        /// NATS servers with JetStream that the cluster rests on, or none.
        ///
        /// nats://HOST:PORT, or tls://HOST:PORT; without a port it is 4222. Name all of them: others are not looked for. They have to be of version 2.15 or
        /// newer, with sync_interval: always in their jetstream block.
        cluster_engine: Vec<String> = Setting::new(
            "cluster-engine", Kind::Texts { check: check_engine, noun: "url", most: limits::ENGINE_SERVERS_MAX }, Fallback::Text("none"),
        ).key_in_file("engine").hidden(), Start;

        /// Address that other nodes connect to: IP:PORT, or none.
        cluster_link: Option<SocketAddr> = Setting::new(
            "cluster-link", Kind::Text { check: check_link, noun: "address", allowed: "none, or an address with a port" }, Fallback::Text("none"),
        ).key_in_file("link").hidden(), Start;

        /// What other nodes are told to connect to in its place: HOST:PORT, or none.
        ///
        /// A name is looked up once, when the broker starts.
        cluster_link_advertise: Option<HostPort> = Setting::new(
            "cluster-link-advertise", Kind::Text { check: check_advertise, noun: "address", allowed: "none, or a host and a port" }, Fallback::Text("none"),
        ).key_in_file("link_advertise").hidden(), Start;

        /// Into how many ranges client ids are divided, when the cluster is founded.
        ///
        /// It never changes after that: a node that says another number than its cluster has does not start.
        cluster_ranges: u16 = Setting::number(
            "cluster-ranges", Count, 1, limits::RANGES_MAX as u64, limits::RANGES_DEFAULT as u64,
        ).key_in_file("ranges").hidden(), Start;

        /// File whose first line is a secret that all nodes share, and nobody else.
        ///
        /// Nodes know each other by it, and what they say is authenticated; it can be read on the way. 16 bytes at least, at random.
        cluster_secret_file: OptionalFile = Setting::new(
            "cluster-secret-file", Kind::Text { check: check_file, noun: "path", allowed: FILES }, Fallback::Text("none"),
        ).key_in_file("secret_file").hidden(), Start;

        /// Certificate chain that this node shows to others, as a PEM file; none is no TLS.
        cluster_link_cert: OptionalFile = Setting::new(
            "cluster-link-cert", Kind::Text { check: check_file, noun: "path", allowed: FILES }, Fallback::Text("none"),
        ).key_in_file("link_cert").hidden(), Start;

        /// Private key of that certificate, as a PEM file.
        cluster_link_key: OptionalFile = Setting::new(
            "cluster-link-key", Kind::Text { check: check_file, noun: "path", allowed: FILES }, Fallback::Text("none"),
        ).key_in_file("link_key").hidden(), Start;

        /// Authorities that certificates of nodes must come from, and of nobody else, as a PEM file.
        cluster_link_ca: OptionalFile = Setting::new(
            "cluster-link-ca", Kind::Text { check: check_file, noun: "path", allowed: FILES }, Fallback::Text("none"),
        ).key_in_file("link_ca").hidden(), Start;

        /// User that the engine knows this broker as.
        ///
        /// Of an account with JetStream, which has nothing but this cluster.
        cluster_engine_user: OptionalText = Setting::new(
            "cluster-engine-user", Kind::Text { check: check_login, noun: "name", allowed: LOGINS }, Fallback::Text("none"),
        ).key_in_file("engine_user").hidden(), Start;

        /// File whose first line is that user's password.
        cluster_engine_password_file: OptionalFile = Setting::new(
            "cluster-engine-password-file", Kind::Text { check: check_file, noun: "path", allowed: FILES }, Fallback::Text("none"),
        ).key_in_file("engine_password_file").hidden(), Start;

        /// File whose first line is a token that the engine lets in.
        cluster_engine_token_file: OptionalFile = Setting::new(
            "cluster-engine-token-file", Kind::Text { check: check_file, noun: "path", allowed: FILES }, Fallback::Text("none"),
        ).key_in_file("engine_token_file").hidden(), Start;

        /// File of credentials for the engine, as nsc writes it.
        cluster_engine_credentials: OptionalFile = Setting::new(
            "cluster-engine-credentials", Kind::Text { check: check_file, noun: "path", allowed: FILES }, Fallback::Text("none"),
        ).key_in_file("engine_credentials").hidden(), Start;

        /// Authorities that the engine's certificate must come from, as a PEM file.
        ///
        /// none takes those that the system trusts, where a URL begins with tls.
        cluster_engine_ca: OptionalFile = Setting::new(
            "cluster-engine-ca", Kind::Text { check: check_file, noun: "path", allowed: FILES }, Fallback::Text("none"),
        ).key_in_file("engine_ca").hidden(), Start;

        /// Certificate that the engine is shown, as a PEM file.
        cluster_engine_cert: OptionalFile = Setting::new(
            "cluster-engine-cert", Kind::Text { check: check_file, noun: "path", allowed: FILES }, Fallback::Text("none"),
        ).key_in_file("engine_cert").hidden(), Start;

        /// Private key of that certificate, as a PEM file.
        cluster_engine_key: OptionalFile = Setting::new(
            "cluster-engine-key", Kind::Text { check: check_file, noun: "path", allowed: FILES }, Fallback::Text("none"),
        ).key_in_file("engine_key").hidden(), Start;

        /// User of the engine's system account.
        ///
        /// With it each server is asked for its version and its sync_interval, when the broker starts. Nothing is written with it.
        cluster_engine_system_user: OptionalText = Setting::new(
            "cluster-engine-system-user", Kind::Text { check: check_login, noun: "name", allowed: LOGINS }, Fallback::Text("none"),
        ).key_in_file("engine_system_user").hidden(), Start;

        /// File whose first line is that user's password.
        cluster_engine_system_password_file: OptionalFile = Setting::new(
            "cluster-engine-system-password-file", Kind::Text { check: check_file, noun: "path", allowed: FILES }, Fallback::Text("none"),
        ).key_in_file("engine_system_password_file").hidden(), Start;

        /// File of credentials for the engine's system account, as nsc writes it.
        cluster_engine_system_credentials: OptionalFile = Setting::new(
            "cluster-engine-system-credentials", Kind::Text { check: check_file, noun: "path", allowed: FILES }, Fallback::Text("none"),
        ).key_in_file("engine_system_credentials").hidden(), Start;

        /// Where clients of MQTT 5.0 are sent that belong to this node: a server, or none.
        ///
        /// Another node that such a client comes to answers with 0x9C and this. Without it, and for older clients, it forwards what they say.
        cluster_redirect: OptionalText = Setting::new(
            "cluster-redirect", Kind::Text { check: check_redirect, noun: "server", allowed: "none, or a host, perhaps with a port" }, Fallback::Text("none"),
        ).key_in_file("redirect").hidden(), Start;
    }
}

const FILES: &str = "a path, or none";
const LOGINS: &str = "a name without control characters, or none";
/// The word for nothing.
const NONE: &str = "none";
/// What clients of NATS connect to where nobody says.
const ENGINE_PORT: u16 = 4222;
/// The end of each try to run this version in a cluster.
pub(super) const NOT_BUILT: &str =
    "clusters are not built yet: this version is a broker by itself, and settings of a cluster are only checked";

/// What a cluster is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The same on each of its nodes.
    pub name: Box<str>,
    /// What it rests on.
    pub engine: EngineConfig,
    /// Where others are listened for.
    pub link: SocketAddr,
    /// What they are told to connect to.
    pub advertise: HostPort,
    /// When it is founded.
    pub ranges: u16,
    /// How nodes know each other.
    pub trust: LinkTrustFiles,
    /// Where clients of MQTT 5.0 are sent that belong to this node.
    pub redirect: Option<Box<str>>,
}

/// How the engine is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// As the cluster's own user.
    pub server: NatsServerSettings,
    /// The same servers as a user of the system account.
    pub system: NatsLogin,
}

/// How nodes know each other: files that are read when links are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkTrustFiles {
    /// They share a secret.
    Secret(SecretPlace),
    /// They have certificates of one authority.
    Certificates {
        /// Our own chain.
        certificates: PathBuf,
        /// The private key of the first of them.
        key: PathBuf,
        /// The authority.
        ca: PathBuf,
    },
}

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Without the brackets of an IPv6 address.
    pub host: Box<str>,
    /// Above 0.
    pub port: u16,
}

/// Something is wrong with the setting that has this flag.
pub(super) type Fault = (&'static str, String);

impl ClusterSettings {
    /// What they come to together and with other settings; none where no cluster is named.
    pub(super) fn checked(&self, config: &Config, system: &System<'_>) -> Result<Option<ClusterConfig>, Vec<Fault>> {
        let Some(name) = self.cluster_name.get() else { return Ok(None) };
        let mut faults = of_others(config);
        let engine = self.engine(&mut faults);
        let link = self.links(&mut faults);
        let trust = self.trust(&mut faults);
        if let Some(LinkTrustFiles::Secret(SecretPlace::File(path))) = &trust {
            let wrong = check_secret(system, path).err();
            faults.extend(wrong.map(|text| ("cluster-secret-file", format!("{}: {text}", path.display()))));
        }
        match (engine, link, trust) {
            (Some(engine), Some((link, advertise)), Some(trust)) if faults.is_empty() => Ok(Some(ClusterConfig {
                name: name.into(),
                engine,
                link,
                advertise,
                ranges: self.cluster_ranges,
                trust,
                redirect: self.cluster_redirect.get().map(Into::into),
            })),
            _ => Err(faults),
        }
    }

    fn engine(&self, faults: &mut Vec<Fault>) -> Option<EngineConfig> {
        let of_user = LoginGiven {
            user: ("cluster-engine-user", self.cluster_engine_user.get()),
            password: ("cluster-engine-password-file", self.cluster_engine_password_file.path()),
            token: ("cluster-engine-token-file", self.cluster_engine_token_file.path()),
            credentials: self.cluster_engine_credentials.path(),
        };
        let of_system = LoginGiven {
            user: ("cluster-engine-system-user", self.cluster_engine_system_user.get()),
            password: ("cluster-engine-system-password-file", self.cluster_engine_system_password_file.path()),
            // Servers that take a token have no accounts, so whoever shows it is none of the system's.
            token: ("", None),
            credentials: self.cluster_engine_system_credentials.path(),
        };
        let (login, system) = (of_user.read(faults), of_system.read(faults));
        if system == Some(NatsLogin::None) {
            let text = "a login of the engine's system account is needed, to see how its servers are set up: give --cluster-engine-system-user with \
                        --cluster-engine-system-password-file, or --cluster-engine-system-credentials";
            faults.push(("cluster-engine", text.to_owned()));
        }
        let (certificate, key) = (self.cluster_engine_cert.path(), self.cluster_engine_key.path());
        if certificate.is_some() != key.is_some() {
            let flag = if key.is_some() { "cluster-engine-key" } else { "cluster-engine-cert" };
            faults.push((flag, "--cluster-engine-cert and --cluster-engine-key go together".to_owned()));
        }
        let servers: Vec<String> = self.cluster_engine.iter().filter(|server| *server != NONE).cloned().collect();
        if servers.is_empty() {
            let text = "a cluster rests on NATS servers with JetStream: name them with --cluster-engine";
            faults.push(("cluster-name", text.to_owned()));
        }
        if !cfg!(feature = "nats") {
            faults.push(("cluster-name", "this dunlin was built without NATS, which a cluster rests on".to_owned()));
        }
        let identity = certificate.zip(key).map(|(certificate, key)| (certificate.to_owned(), key.to_owned()));
        let ca = self.cluster_engine_ca.path().map(Path::to_owned);
        let has_tls = ca.is_some() || identity.is_some() || servers.iter().any(|server| server.starts_with("tls://"));
        let tls = has_tls.then_some(TlsClientSettings { ca, identity });
        let timeout = Duration::from_millis(limits::ENGINE_TIMEOUT_MS);
        Some(EngineConfig { server: NatsServerSettings { servers, login: login?, tls, timeout }, system: system? })
    }

    fn links(&self, faults: &mut Vec<Fault>) -> Option<(SocketAddr, HostPort)> {
        let Some(link) = self.cluster_link else {
            let text = "other nodes reach this one at an address of its own: give --cluster-link";
            faults.push(("cluster-name", text.to_owned()));
            return None;
        };
        let own = || HostPort { host: link.ip().to_string().into(), port: link.port() };
        match &self.cluster_link_advertise {
            Some(advertise) => Some((link, advertise.clone())),
            None if !link.ip().is_unspecified() => Some((link, own())),
            None => {
                let text = format!(
                    "nobody can connect to {}: say with --cluster-link-advertise where other nodes reach this one",
                    link.ip()
                );
                faults.push(("cluster-link", text));
                None
            }
        }
    }

    fn trust(&self, faults: &mut Vec<Fault>) -> Option<LinkTrustFiles> {
        let files = [
            ("cluster-link-cert", self.cluster_link_cert.path()),
            ("cluster-link-key", self.cluster_link_key.path()),
            ("cluster-link-ca", self.cluster_link_ca.path()),
        ];
        let given = files.iter().find(|(_, path)| path.is_some());
        match (self.cluster_secret_file.path(), files, given) {
            (Some(path), _, None) => Some(LinkTrustFiles::Secret(SecretPlace::File(path.to_owned()))),
            (Some(_), _, Some((flag, _))) => {
                let text = "nodes know each other by a secret or by certificates: --cluster-secret-file is given, too";
                faults.push((flag, text.to_owned()));
                None
            }
            (None, [(_, Some(certificates)), (_, Some(key)), (_, Some(ca))], _) => Some(LinkTrustFiles::Certificates {
                certificates: certificates.to_owned(),
                key: key.to_owned(),
                ca: ca.to_owned(),
            }),
            (None, _, Some((flag, _))) => {
                let text = "--cluster-link-cert, --cluster-link-key and --cluster-link-ca go together";
                faults.push((flag, text.to_owned()));
                None
            }
            (None, _, None) => {
                let text = "nodes have to know each other: give --cluster-secret-file, or --cluster-link-cert, --cluster-link-key and --cluster-link-ca";
                faults.push(("cluster-name", text.to_owned()));
                None
            }
        }
    }
}

/// What is given of one login, each with its flag.
struct LoginGiven<'a> {
    user: (&'static str, Option<&'a str>),
    password: (&'static str, Option<&'a Path>),
    token: (&'static str, Option<&'a Path>),
    credentials: Option<&'a Path>,
}

impl LoginGiven<'_> {
    /// One of the ways, or none of them.
    fn read(&self, faults: &mut Vec<Fault>) -> Option<NatsLogin> {
        let ((user_flag, user), (password_flag, password)) = (self.user, self.password);
        let ways = [user.is_some(), self.token.1.is_some(), self.credentials.is_some()];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            let flag = if user.is_some() { user_flag } else { self.token.0 };
            faults.push((flag, "a user, a token and credentials are three ways to log in: choose one".to_owned()));
            return None;
        }
        let secret = |path: &Path| SecretPlace::File(path.to_owned());
        match (user, password) {
            (Some(user), Some(password)) => Some(NatsLogin::Password(user.to_owned(), secret(password))),
            (None, Some(_)) => {
                faults.push((password_flag, format!("it is of no user: give --{user_flag}")));
                None
            }
            (Some(_), None) => {
                faults.push((user_flag, format!("a user has a password: give --{password_flag}")));
                None
            }
            (None, None) => Some(match (self.token.1, self.credentials) {
                (Some(token), _) => NatsLogin::Token(secret(token)),
                (None, Some(path)) => NatsLogin::Credentials(path.to_owned()),
                (None, None) => NatsLogin::None,
            }),
        }
    }
}

/// What of the broker's other settings no node may have.
fn of_others(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    if config.is_given("storage") && config.store.storage == Storage::Disk {
        let text = "nodes of a cluster keep their sessions in memory in this version: leave it out, or say memory";
        faults.push(("storage", text.to_owned()));
    }
    if let Some(listener) = config.listeners.iter().find(|listener| listener.settings.kind.has_datagrams()) {
        let text = format!("clients of MQTT-SN cannot be forwarded between nodes, and {} has them", listener.address);
        faults.push(("cluster-name", text));
    }
    if config.settings.shards > limits::CLUSTER_SHARDS_MAX {
        let text = format!("{} is too many: a node has {} at most", config.settings.shards, limits::CLUSTER_SHARDS_MAX);
        faults.push(("shards", text));
    }
    faults
}

/// Whether a file has a secret that is one.
fn check_secret(system: &System<'_>, path: &Path) -> Result<(), String> {
    let text = (system.read_file)(path).map_err(|error| format!("cannot be read: {error}"))?;
    let secret = text.lines().next().unwrap_or_default().trim();
    if secret.len() < limits::LINK_SECRET_MIN_BYTES {
        let least = limits::LINK_SECRET_MIN_BYTES;
        return Err(format!(
            "its first line has {} bytes, and a secret has {least} at least: head -c 32 /dev/urandom | base64 makes one",
            secret.len()
        ));
    }
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.permissions().mode() & 0o007 != 0 => {
            Err(format!("everybody on this machine may read it: chmod 640 {}", path.display()))
        }
        _ => Ok(()),
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is no host with a port: write node-1.example:1885, 192.0.2.1:1885 or [2001:db8::1]:1885")
        };
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
        Ok(Self { host: host_of(host).ok_or_else(wrong)?.into(), port: port_of(port).ok_or_else(wrong)? })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// A host without brackets: what may be a name or an address of IPv4, or an address of IPv6 in brackets.
fn host_of(text: &str) -> Option<&str> {
    if let Some(inner) = text.strip_prefix('[') {
        return inner.strip_suffix(']').filter(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_name = (1..=HOST_MAX_BYTES).contains(&text.len()) && text.bytes().all(is_inside);
    (is_name && !text.starts_with(['-', '.'])).then_some(text)
}

/// Of a name in DNS (RFC 1035), as it is written.
const HOST_MAX_BYTES: usize = 253;

fn port_of(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A host, with a port or without.
fn check_server(text: &str) -> Option<(&str, Option<u16>)> {
    // In brackets stand colons that are no port's.
    let ends_in_port = text.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    match ends_in_port {
        Some((host, port)) => Some((host_of(host).map(|_| host)?, Some(port_of(port)?))),
        None => host_of(text).map(|_| (text, None)),
    }
}

/// A URL of NATS, with its port.
fn check_engine(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case(NONE) {
        return Ok(NONE.to_owned());
    }
    if text.contains('@') {
        // Not what it is: whoever reads the log is not to read it there.
        return Err("an address has no user and no password, because it is shown: give --cluster-engine-user, --cluster-engine-token-file or \
                    --cluster-engine-credentials"
            .to_owned());
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("nats", text));
    match check_server(rest) {
        Some((host, port)) if matches!(scheme, "nats" | "tls") => {
            Ok(format!("{scheme}://{host}:{}", port.unwrap_or(ENGINE_PORT)))
        }
        _ => Err(format!("{text:?} is no address of NATS: write nats://HOST:PORT or tls://HOST:PORT")),
    }
}

fn check_link(text: &str) -> Result<String, String> {
    let address = text.trim().parse::<SocketAddr>().ok().filter(|address| address.port() > 0);
    match address {
        Some(address) => Ok(address.to_string()),
        None if text.trim() == NONE => Ok(NONE.to_owned()),
        None => Err(format!("{text:?} is no address with a port: write 192.0.2.1:1885, 0.0.0.0:1885 or [::]:1885")),
    }
}

fn check_advertise(text: &str) -> Result<String, String> {
    if text.trim() == NONE { Ok(NONE.to_owned()) } else { text.parse::<HostPort>().map(|place| place.to_string()) }
}

/// What a client is told as its Server Reference.
fn check_redirect(text: &str) -> Result<String, String> {
    let text = text.trim();
    let told = check_server(text).map(|_| text.to_owned());
    told.ok_or_else(|| format!("{text:?} is no server: write a host, as mqtt-1.example, or a host with a port"))
}

fn check_login(text: &str) -> Result<String, String> {
    let is_name = (1..=limits::MEMBER_NAME_MAX_BYTES).contains(&text.len()) && !text.contains(char::is_control);
    if is_name { Ok(text.to_owned()) } else { Err(format!("{text:?} is no user: write {LOGINS}")) }
}

impl FromValue for Option<SocketAddr> {
    fn from_value(value: Value) -> Self {
        let text = String::from_value(value);
        (text != NONE).then(|| text.parse().expect("the row has checked it"))
    }
}

impl FromValue for Option<HostPort> {
    fn from_value(value: Value) -> Self {
        let text = String::from_value(value);
        (text != NONE).then(|| text.parse().expect("the row has checked it"))
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
