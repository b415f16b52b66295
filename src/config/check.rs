//! What settings are to each other: warnings where they are probably not meant. And whether the log can be written.

use std::{
    fs::{self, OpenOptions},
    path::Path,
};

use super::cluster::{ClusterSettings, NOT_BUILT};
use super::layers::{ROWS, index};
use super::{BridgeTopic, Config, Listener, LogTarget, Problem, Storage, System};
use crate::auth::Policy;
use crate::settings::{
    AnonymousAccess, CertificateUser, ClientCertificates, ListenerKind, ListenerSettings, Machine, Section, Setting,
    Unit,
};

/// What is legal but probably not meant, a sentence each.
pub(super) fn warnings(config: &Config, machine: &Machine) -> Vec<String> {
    let cores = machine.cores;
    let mut warnings = Vec::new();
    warnings.extend(closed(config));
    warnings.extend(half_open(config));
    warnings.extend(config.listeners.iter().filter_map(trusts_nobody));
    warnings.extend(unknown_listeners(config));
    warnings.extend(lowered_by_bridges(config));
    let values = &config.settings;
    let packet = values.packet_size_max_bytes as u64;
    for (path, bytes) in [
        ("[session] max_queued_bytes", values.queued_bytes_max),
        ("[session] outbox_max_bytes", values.outbox_max_bytes as u64),
    ] {
        if bytes < packet {
            let (bytes, packet) = (Unit::Bytes.show(bytes), Unit::Bytes.show(packet));
            warnings.push(format!(
                "{path} is {bytes}, less than the {packet} of [mqtt] max_packet_size: a message of that size is \
                 accepted but never waits"
            ));
        }
    }
    let has_disk = config.store.storage == Storage::Disk;
    if !has_disk && values.queued_bytes_max > values.queued_memory_max_bytes {
        let (one, all) = (values.queued_bytes_max, values.queued_memory_max_bytes);
        let (one, all) = (Unit::Bytes.show(one), Unit::Bytes.show(all));
        warnings.push(format!(
            "[session] max_queued_bytes is {one}, more than the {all} of max_queued_memory: one session can take what is \
             meant for all"
        ));
    }
    warnings.extend(machine.memory_max_bytes.and_then(|memory| more_than_there_is(config, memory)));
    let connections_max = config.process.connections_max;
    if values.sessions_max < connections_max {
        warnings.push(format!(
            "[session] max_sessions is {}, less than the {connections_max} of [node] max_connections: every client has a \
             session, so fewer can connect",
            values.sessions_max
        ));
    }
    if values.shards > cores {
        warnings.push(format!(
            "[node] shards is {}, but this process may use {cores} core{}: shards will take turns",
            values.shards,
            if cores == 1 { "" } else { "s" }
        ));
    }
    warnings
}

/// Queues and retained messages that may grow beyond the memory of the machine, or of the container.
fn more_than_there_is(config: &Config, memory: u64) -> Option<String> {
    let values = &config.settings;
    let (queued, retained) = (values.queued_memory_max_bytes, values.retained_max_bytes);
    let shown = |bytes| Unit::Bytes.show(bytes);
    (queued.saturating_add(retained) > memory).then(|| {
        format!(
            "[session] max_queued_memory ({}) and [mqtt] retained_max_bytes ({}) are more together than the {} MiB of memory \
             that this process may take: before they are full the kernel ends it. A third and a sixth of it leave room for clients",
            shown(queued),
            shown(retained),
            memory >> 20
        )
    })
}

/// Bridges that bring messages of a higher QoS than this broker takes.
fn lowered_by_bridges(config: &Config) -> Vec<String> {
    let qos_max = config.settings.qos_max;
    let is_lowered = |topic: &BridgeTopic| topic.direction.comes_in() && topic.qos as u16 > qos_max;
    let lowered = config.bridges.iter().filter(|bridge| bridge.topics.iter().any(is_lowered));
    let told = lowered.map(|bridge| {
        let name = &bridge.name;
        format!(
            "[[bridge]] {name} brings messages of a higher QoS than [mqtt] max_qos = {qos_max}: they come with that"
        )
    });
    told.take(WARNINGS_OF_A_KIND_MAX).collect()
}

/// Listeners that rules and profiles name and that there are not: what is said about their clients is said about nobody.
fn unknown_listeners(config: &Config) -> Vec<String> {
    let is_known = |name: &str| config.listeners.iter().any(|listener| *listener.settings.name == *name);
    let of_rules = config.access.rules().into_iter().flat_map(|rules| rules.listeners());
    let of_rules = of_rules.filter(|(_, name)| !is_known(name)).map(|(rule, name)| {
        format!("[auth] acl_file: {rule}: no listener is called {name:?}, so it is about nobody there")
    });
    let of_profiles = config.access.profiles().into_iter().flat_map(|profiles| profiles.listeners());
    let of_profiles = of_profiles.filter(|name| !is_known(name));
    let of_profiles = of_profiles.map(|name| format!("[auth] profiles_file: no listener is called {name:?}"));
    let mut warnings: Vec<String> = of_rules.chain(of_profiles).collect();
    warnings.dedup();
    warnings.truncate(WARNINGS_OF_A_KIND_MAX);
    warnings
}

/// A file of a million rules may name as many listeners.
const WARNINGS_OF_A_KIND_MAX: usize = 16;

/// A listener that asks for a PROXY header and takes it from nobody.
fn trusts_nobody(listener: &Listener) -> Option<String> {
    let ListenerSettings { proxy_protocol, proxy_from, kind, .. } = &*listener.settings;
    let asks = *proxy_protocol && !matches!(kind, ListenerKind::Unix | ListenerKind::MqttSn);
    (asks && proxy_from.are_none()).then(|| {
        format!(
            "no client can connect on {}: proxy_protocol asks for a PROXY header, and proxy_from (--proxy-from) names no proxy \
             that one is taken from",
            listener.address
        )
    })
}

/// Listeners that nobody can come in by, and why.
fn closed(config: &Config) -> Option<String> {
    let is_closed =
        |listener: &&Listener| listener.settings.policy == Policy::Refuse && !takes_proof(&listener.settings);
    let closed: Vec<_> = config.listeners.iter().filter(is_closed).collect();
    let first = closed.first()?;
    let source = said_of(config, first, "allow-anonymous");
    let is_of_all = source == config.source("allow-anonymous");
    let why = match first.settings.allow_anonymous {
        AnonymousAccess::Nowhere if is_of_all && source != &super::Source::Default => format!(
            "anonymous clients are refused everywhere ({source} says so); leave it out to admit those of loopback, or give \
             --allow-anonymous to admit all"
        ),
        AnonymousAccess::Nowhere if source != &super::Source::Default => {
            format!("anonymous clients are refused there ({source} says so), and nothing else lets clients in")
        }
        AnonymousAccess::Nowhere => "its allow_anonymous says so".to_owned(),
        _ => "anonymous clients are admitted on loopback only; give --allow-anonymous to admit all".to_owned(),
    };
    let addresses: Vec<String> = closed.iter().map(|listener| listener.address.to_string()).collect();
    Some(format!("no client can connect on {}: {why}", addresses.join(", ")))
}

/// Where a setting of a listener is said: in its own table, or for all.
fn said_of<'a>(config: &'a Config, listener: &Listener, flag: &str) -> &'a super::Source {
    let of_table = config.tables.iter().flatten().find(|table| table.listener.address == listener.address);
    of_table.map_or_else(|| config.source(flag), |table| &table.resolved[index(flag)].source)
}

/// Whether clients come in by what they prove otherwise than with the credentials of CONNECT: whatever the policy says.
fn takes_proof(settings: &ListenerSettings) -> bool {
    let asks = settings.kind.has_tls() && settings.tls_client_certificates != ClientCertificates::Off;
    let shows_certificates = asks || settings.proxy_protocol;
    let has_account = settings.kind == ListenerKind::Unix && settings.unix_user_names;
    let has_certificate = settings.certificate_user != CertificateUser::Off && shows_certificates;
    settings.auth.scram_file.path().is_some() || has_certificate || has_account
}

/// Listeners that check credentials and let in whoever shows none because nobody said otherwise.
fn half_open(config: &Config) -> Option<String> {
    let is_unsaid = |listener: &&Listener| {
        let settings = &listener.settings;
        settings.policy == Policy::AskAboutCredentials && settings.allow_anonymous == AnonymousAccess::Loopback
    };
    let open: Vec<String> =
        config.listeners.iter().filter(is_unsaid).map(|listener| listener.address.to_string()).collect();
    (!open.is_empty() && config.source("allow-anonymous") == &super::Source::Default).then(|| {
        format!(
            "clients of this machine still need no password on {}: give --allow-anonymous=false to ask all, or \
             --allow-anonymous=loopback to keep it so",
            open.join(", ")
        )
    })
}

/// What is wrong where somebody gives settings of a cluster: at least that there is none yet.
pub(super) fn cluster(config: &Config, system: &System<'_>) -> Vec<Problem> {
    let given = |row: &&Setting| row.section == Section::Cluster && config.is_given(row.flag);
    let Some(first) = ROWS.iter().find(given) else { return Vec::new() };
    let settings = ClusterSettings::from_values(&|row| config.resolved[index(row.flag)].value.clone());
    let faults = match settings.checked(config, system) {
        Ok(Some(_)) => Vec::new(),
        Ok(None) => vec![(first.flag, "it is of a cluster, and --cluster-name names none".to_owned())],
        Err(faults) => faults,
    };
    let faults = faults.iter().map(|(flag, text)| config.problem(flag, text));
    faults.chain(std::iter::once(config.problem(first.flag, NOT_BUILT))).collect()
}

/// Whether the log could be written to its file; touches nothing.
pub(super) fn log_file(config: &Config) -> Option<Problem> {
    let LogTarget::File(path) = &config.process.log_file else { return None };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let error = if path.exists() {
        OpenOptions::new().append(true).open(path).err().map(|error| error.to_string())
    } else {
        match fs::metadata(directory) {
            Ok(metadata) if metadata.is_dir() => None,
            Ok(_) => Some(format!("{} is no directory", directory.display())),
            Err(error) => Some(format!("{}: {error}", directory.display())),
        }
    };
    error.map(|error| log_problem(config, &error))
}

/// What is wrong with the log's target.
pub(super) fn log_problem(config: &Config, error: &str) -> Problem {
    let target = match &config.process.log_file {
        LogTarget::Stderr => Path::new("stderr"),
        LogTarget::File(path) => path,
    };
    config.problem("log-file", &format!("{} cannot be written: {error}", target.display()))
}
