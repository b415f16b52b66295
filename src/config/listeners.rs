//! Where the broker listens: the `[[listener]]` tables of the file, or the one that flags and variables describe.
//!
//! Always holds: a table's own keys win over everything said for all listeners; a listener has one address.

use std::{collections::HashSet, fmt, net::SocketAddr, sync::Arc};

use super::{
    error::{Problem, Source},
    layers::{ListenerTable, ROWS, Resolved, index},
    process::{BindAddress, PORT_OFF, WS_PORT_DEFAULT},
    unix::UnixSocket,
};
use crate::limits::LISTENERS_MAX;
use crate::settings::{
    AuthenticationSettings, FromValue, INTERNAL_LISTENER_NAME, ListenerKind, ListenerSettings, Machine, Setting, Value,
};

/// Where MQTT in TLS is expected (IANA: secure-mqtt).
const TLS_PORT: u16 = 8883;
/// Where brokers have MQTT over secure WebSocket.
const WSS_PORT: u16 = 8084;

/// One address to listen on, and what holds for the clients that come there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where clients connect.
    pub address: ListenAddress,
    /// What the operator chose for it.
    pub settings: Arc<ListenerSettings>,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// Address and port; port 0 is any free port, the same one on every shard.
    Ip(SocketAddr),
    /// A path of this machine.
    Unix(Box<UnixSocket>),
}

impl ListenAddress {
    /// Whether nobody beyond this machine comes that way.
    pub fn is_local(&self) -> bool {
        match self {
            // ::ffff:127.0.0.1 is loopback too, only spelled otherwise.
            Self::Ip(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Whether it is another address each time it is listened on.
    fn is_chosen_by_the_system(&self) -> bool {
        matches!(self, Self::Ip(address) if address.port() == 0)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(out),
            Self::Unix(socket) => socket.path.display().fmt(out),
        }
    }
}

/// A listener and each row's value that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) listener: Listener,
    pub(super) resolved: Vec<Resolved>,
    /// Where its table begins; the source of its address where there is none.
    pub(super) source: Source,
}

/// One listener for each table, or where there is none those that are said for all: one for each address, one more for
/// WebSocket at each if it has a port, and one at a Unix path if there is one.
pub(super) fn describe(
    all: &[Resolved],
    tables: &[ListenerTable],
    resolved: Vec<Vec<Resolved>>,
    problems: &mut Vec<Problem>,
) -> Vec<Described> {
    let described = if tables.is_empty() { without_tables(all) } else { each_table(tables, resolved, problems) };
    if let Some(one_more) = described.get(LISTENERS_MAX) {
        let address = one_more.listener.address.to_string();
        let this = if tables.is_empty() { &address } else { "this" };
        let text = format!("there may be {LISTENERS_MAX} listeners, and {this} is one more");
        problems.push(Problem::new(&one_more.source, text));
    }
    described
}

/// A row's value as its field has it.
fn value<T: FromValue>(resolved: &[Resolved], flag: &str) -> T {
    T::from_value(resolved[index(flag)].value.clone())
}

/// Kinds that listen beside plain TCP, and by which flags.
const FURTHER_KINDS: [(ListenerKind, &str); 3] = [
    (ListenerKind::WebSocket, "ws-port"),
    (ListenerKind::Tls, "tls-port"),
    (ListenerKind::SecureWebSocket, "wss-port"),
];

/// The port that a kind listens at, if it does. A certificate makes one for TLS.
fn further_port(all: &[Resolved], kind: ListenerKind, flag: &str) -> Option<u16> {
    let has_certificate = || value::<Vec<String>>(all, "tls-cert").iter().any(|path| path != "none");
    match value::<u32>(all, flag) {
        PORT_OFF if kind == ListenerKind::Tls && has_certificate() => Some(TLS_PORT),
        PORT_OFF => None,
        port => Some(port as u16),
    }
}

fn without_tables(all: &[Resolved]) -> Vec<Described> {
    let source = |flag: &str| all[index(flag)].source.clone();
    let binds: Vec<BindAddress> = value(all, "bind");
    let at = |bind: &BindAddress| ListenAddress::Ip(bind.with_port(value(all, "port")));
    let mut described: Vec<_> =
        binds.iter().map(|bind| describe_one(at(bind), ListenerKind::Tcp, all.to_vec(), source("bind"))).collect();
    for (kind, flag) in FURTHER_KINDS {
        let Some(port) = further_port(all, kind, flag) else { continue };
        let at = |bind: &BindAddress| ListenAddress::Ip(SocketAddr::new(bind.ip, port));
        let source = if all[index(flag)].source == Source::Default { source("tls-cert") } else { source(flag) };
        described.extend(binds.iter().map(|bind| describe_one(at(bind), kind, all.to_vec(), source.clone())));
    }
    if let Some(socket) = UnixSocket::of(&|flag| all[index(flag)].value.clone()) {
        let address = ListenAddress::Unix(Box::new(socket));
        described.push(describe_one(address, ListenerKind::Unix, all.to_vec(), source("unix")));
    }
    described
}

fn each_table(tables: &[ListenerTable], resolved: Vec<Vec<Resolved>>, problems: &mut Vec<Problem>) -> Vec<Described> {
    let mut listeners = Vec::new();
    for (table, mut resolved) in tables.iter().zip(resolved) {
        let kind: ListenerKind = value(&resolved, "listener-kind");
        resolve_port(table, kind, &mut resolved);
        match address_of_table(table, kind, &resolved) {
            Ok(address) => listeners.push(describe_one(address, kind, resolved, table.source.clone())),
            Err(problem) => problems.push(problem),
        }
    }
    listeners
}

fn address_of_table(
    table: &ListenerTable,
    kind: ListenerKind,
    resolved: &[Resolved],
) -> Result<ListenAddress, Problem> {
    if kind == ListenerKind::Unix {
        let socket = UnixSocket::of(&|flag| resolved[index(flag)].value.clone());
        let text = "[[listener]] unix: a listener of the kind unix needs a path: unix = \"/run/dunlin/mqtt.sock\"";
        return socket
            .map(|socket| ListenAddress::Unix(Box::new(socket)))
            .ok_or_else(|| Problem::new(&table.source, text.to_owned()));
    }
    match *value::<Vec<BindAddress>>(resolved, "bind") {
        [bind] => Ok(ListenAddress::Ip(bind.with_port(value(resolved, "port")))),
        ref several => {
            let text = format!(
                "[[listener]] bind: a listener has one address, not {}: write a [[listener]] for each",
                several.len()
            );
            let source = table.layer.get(index("bind")).map_or(&table.source, |given| &given.source);
            Err(Problem::new(source, text))
        }
    }
}

/// A listener for WebSocket or TLS that says no port has that of its kind.
fn resolve_port(table: &ListenerTable, kind: ListenerKind, resolved: &mut [Resolved]) {
    let of_kind = match kind {
        ListenerKind::Tls => Some(("tls-port", TLS_PORT)),
        ListenerKind::SecureWebSocket => Some(("wss-port", WSS_PORT)),
        ListenerKind::WebSocket => Some(("ws-port", WS_PORT_DEFAULT)),
        _ => None,
    };
    let Some((flag, usual)) = of_kind.filter(|_| table.layer.get(index("port")).is_none()) else { return };
    if kind != ListenerKind::WebSocket && resolved[index("port")].source != Source::Default {
        return;
    }
    let port = u16::try_from(value::<u32>(resolved, flag)).unwrap_or(usual);
    let source = resolved[index(flag)].source.clone();
    resolved[index("port")] = Resolved { value: Value::Number(port.into()), source };
}

fn describe_one(address: ListenAddress, kind: ListenerKind, resolved: Vec<Resolved>, source: Source) -> Described {
    let value_of = |row: &Setting| resolved[index(row.flag)].value.clone();
    let mut settings = ListenerSettings::from_values(&value_of);
    settings.auth = AuthenticationSettings::from_values(&value_of);
    settings.kind = kind;
    settings.decide_policy(address.is_local());
    if settings.name.is_empty() {
        settings.name = address.to_string().into();
    }
    Described { listener: Listener { address, settings: Arc::new(settings) }, resolved, source }
}

/// Addresses and names that stand twice.
pub(super) fn twice(listeners: &[Described]) -> Vec<Problem> {
    let (mut addresses, mut names) = (HashSet::new(), HashSet::new());
    let mut problems = Vec::new();
    for Described { listener, source, .. } in listeners {
        let address = &listener.address;
        if *listener.settings.name == *INTERNAL_LISTENER_NAME {
            let text = format!(
                "{INTERNAL_LISTENER_NAME:?} is what the listener of bridges, sinks and sources is called: choose another name"
            );
            problems.push(Problem::new(source, text));
        }
        if address.is_chosen_by_the_system() {
            continue;
        }
        if !addresses.insert(address.to_string()) {
            problems.push(Problem::new(source, format!("{address} is given twice")));
        } else if !names.insert(&listener.settings.name) {
            problems.push(Problem::new(source, format!("a listener is called {:?} already", listener.settings.name)));
        }
    }
    problems
}

/// What is said for all listeners and no listener takes up, and a table's port beside that of its address.
pub(super) fn without_effect(all: &[Resolved], tables: &[ListenerTable], listeners: &[Described]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (at, row) in ROWS.iter().enumerate().filter(|(_, row)| row.is_of_listener()) {
        let source = &all[at].source;
        let has_own = |(number, table): (usize, &ListenerTable)| {
            table.layer.get(at).is_some() || (row.flag == "port" && names_port(&listeners[number]))
        };
        let (every, taken) = if tables.is_empty() {
            ("every address of --bind", row.flag == "port" && listeners.iter().all(names_port))
        } else {
            ("every [[listener]]", tables.iter().enumerate().all(has_own))
        };
        if *source != Source::Default && taken {
            warnings.push(format!("{source} has no effect: {every} has its own {}", row.key()));
        }
    }
    for (table, listener) in tables.iter().zip(listeners) {
        if let Some(port) = table.layer.get(index("port")).filter(|_| names_port(listener)) {
            let address = &listener.listener.address;
            warnings.push(format!("{} has no effect: bind of this [[listener]] says {address}", port.source));
        }
        warnings.extend(of_another_kind(table, listener));
    }
    warnings
}

/// What a table says that means nothing for a listener of its kind.
fn of_another_kind<'a>(table: &'a ListenerTable, described: &'a Described) -> impl Iterator<Item = String> + 'a {
    let kind = described.listener.settings.kind;
    ROWS.iter().enumerate().filter_map(move |(at, row)| {
        let given = table.layer.get(at)?;
        let means_nothing = match row.flag {
            "bind" | "port" => kind == ListenerKind::Unix,
            flag if flag.starts_with("tcp-") => kind == ListenerKind::Unix,
            flag if flag.starts_with("ws-") => !kind.has_websocket(),
            flag if flag.starts_with("tls-") => !kind.has_tls(),
            flag if flag.starts_with("unix") => kind != ListenerKind::Unix,
            _ => false,
        };
        let is_said = described.resolved[at].value != row.default_value(&Machine::default());
        let text = || format!("{} has no effect: this [[listener]] is of another kind", given.source);
        (means_nothing && is_said).then(text)
    })
}

/// Whether each of the addresses has a port in it.
pub(super) fn name_ports(resolved: &[Resolved]) -> bool {
    let binds = Vec::<BindAddress>::from_value(resolved[index("bind")].value.clone());
    binds.iter().all(|bind| bind.port.is_some())
}

/// Whether its address has a port in it.
fn names_port(described: &Described) -> bool {
    let ListenAddress::Ip(address) = described.listener.address else { return false };
    let binds = Vec::<BindAddress>::from_value(described.resolved[index("bind")].value.clone());
    binds.iter().filter(|bind| bind.ip == address.ip()).all(|bind| bind.port.is_some())
}
