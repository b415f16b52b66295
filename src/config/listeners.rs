//! Where the broker listens: the `[[listener]]` tables of the file, or the one that flags and variables describe.
//!
//! Always holds: a table's own keys win over everything said for all listeners; a listener has one address.

use std::{collections::HashSet, net::SocketAddr, sync::Arc};

use super::{
    error::{Problem, Source},
    layers::{ListenerTable, ROWS, Resolved, index},
    process::BindAddress,
};
use crate::limits::LISTENERS_MAX;
use crate::settings::{FromValue, ListenerSettings, Setting};

/// One address to listen on, and what holds for the clients that come there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address and port; port 0 is any free port, the same one on every shard.
    pub address: SocketAddr,
    /// What the operator chose for it.
    pub settings: Arc<ListenerSettings>,
}

/// A listener and each row's value that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) listener: Listener,
    pub(super) resolved: Vec<Resolved>,
    /// Where its table begins; the source of its address where there is none.
    pub(super) source: Source,
}

/// One listener for each table, or where there is none one for each address that is said for all.
pub(super) fn describe(
    all: &[Resolved],
    tables: &[ListenerTable],
    resolved: Vec<Vec<Resolved>>,
    problems: &mut Vec<Problem>,
) -> Vec<Described> {
    let binds = |resolved: &[Resolved]| Vec::<BindAddress>::from_value(resolved[index("bind")].value.clone());
    if tables.is_empty() {
        let source = &all[index("bind")].source;
        let each = binds(all).into_iter().map(|bind| described(bind, all.to_vec(), source.clone()));
        return each.collect();
    }
    if let Some(table) = tables.get(LISTENERS_MAX) {
        problems
            .push(Problem::new(&table.source, format!("there may be {LISTENERS_MAX} listeners, and this is one more")));
    }
    let mut listeners = Vec::new();
    for (table, resolved) in tables.iter().zip(resolved) {
        match *binds(&resolved) {
            [bind] => listeners.push(described(bind, resolved, table.source.clone())),
            ref several => {
                let text = format!(
                    "[[listener]] bind: a listener has one address, not {}: write a [[listener]] for each",
                    several.len()
                );
                let source = table.layer.get(index("bind")).map_or(&table.source, |given| &given.source);
                problems.push(Problem::new(source, text));
            }
        }
    }
    listeners
}

fn described(bind: BindAddress, resolved: Vec<Resolved>, source: Source) -> Described {
    let value_of = |row: &Setting| resolved[index(row.flag)].value.clone();
    let address = bind.with_port(FromValue::from_value(resolved[index("port")].value.clone()));
    let mut settings = ListenerSettings::from_values(&value_of);
    // ::ffff:127.0.0.1 is loopback too, only spelled otherwise.
    settings.decide_policy(address.ip().to_canonical().is_loopback());
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
        let address = listener.address;
        // Port 0 is another port each time.
        if address.port() == 0 {
            continue;
        }
        if !addresses.insert(address) {
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
            let address = listener.listener.address;
            warnings.push(format!("{} has no effect: bind of this [[listener]] says {address}", port.source));
        }
    }
    warnings
}

/// Whether each of the addresses has a port in it.
pub(super) fn name_ports(resolved: &[Resolved]) -> bool {
    let binds = Vec::<BindAddress>::from_value(resolved[index("bind")].value.clone());
    binds.iter().all(|bind| bind.port.is_some())
}

/// Whether its address has a port in it.
fn names_port(described: &Described) -> bool {
    let binds = Vec::<BindAddress>::from_value(described.resolved[index("bind")].value.clone());
    let ip = described.listener.address.ip();
    binds.iter().filter(|bind| bind.ip == ip).all(|bind| bind.port.is_some())
}
