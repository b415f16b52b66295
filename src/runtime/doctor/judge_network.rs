//! The kernel's network, and the ports that are wanted: facts in, findings out.

use super::facts::{DoctorNeed, MachineFacts, PortFacts, PortState};
use super::finding::{
    DoctorFinding,
    FindingLevel::{Mend, Note},
};
use super::units::{grouped, mib};
use crate::limits::LISTEN_BACKLOG;

const PAGE_BYTES: u64 = 4_096;

pub(super) fn judge(facts: &MachineFacts, need: &DoctorNeed, findings: &mut Vec<DoctorFinding>) {
    findings.extend(backlog(
        "somaxconn",
        "net.core.somaxconn",
        facts.somaxconn,
        "connections that wait to be accepted",
    ));
    findings.extend(backlog(
        "tcp_max_syn_backlog",
        "net.ipv4.tcp_max_syn_backlog",
        facts.syn_backlog,
        "handshakes of TCP under way",
    ));
    findings.extend(port_range(facts, need));
    findings.extend(conntrack(facts, need));
    findings.extend(tcp_mem(facts, need));
    findings.extend(facts.ports.iter().map(port));
}

fn backlog(check: &'static str, sysctl: &str, value: Option<u64>, what: &str) -> Option<DoctorFinding> {
    let wanted = LISTEN_BACKLOG as u64;
    let value = value?;
    let needed = format!("{} are needed: {what}, of each listener, when many come back at once", grouped(wanted));
    let finding = DoctorFinding::fine(check, grouped(value), needed);
    Some(finding.unless(value >= wanted, Mend, format!("sysctl -w {sysctl}={wanted}")))
}

fn port_range(facts: &MachineFacts, need: &DoctorNeed) -> Option<DoctorFinding> {
    let (first, last) = facts.port_range?;
    let is_reserved = |port: u16| {
        facts.reserved_ports.trim().split(',').any(|part| match part.split_once('-') {
            Some((from, to)) => {
                from.parse().is_ok_and(|from: u16| from <= port) && to.parse().is_ok_and(|to: u16| to >= port)
            }
            None => part.parse() == Ok(port),
        })
    };
    let taken: Vec<String> = need
        .ports
        .iter()
        .filter(|port| (first..=last).contains(port) && !is_reserved(**port))
        .map(ToString::to_string)
        .collect();
    let finding = DoctorFinding::fine(
        "ip_local_port_range",
        format!("{first} to {last}"),
        "clients that come in need none of them; a port of the broker that lies in it may be taken by a connection that goes out",
    );
    let mend = format!("sysctl -w net.ipv4.ip_local_reserved_ports={}", taken.join(","));
    Some(finding.unless(taken.is_empty(), Note, mend))
}

fn conntrack(facts: &MachineFacts, need: &DoctorNeed) -> Option<DoctorFinding> {
    let (count, max) = facts.conntrack?;
    let wanted = need.clients + need.clients / 4;
    if count == 0 {
        return Some(DoctorFinding::fine(
            "conntrack",
            "is loaded, and follows nothing",
            "no room is needed as long as no rule asks for it",
        ));
    }
    let is = format!("follows {} connections, at most {}", grouped(count), grouped(max));
    let needed = format!(
        "{} are needed: one for each client, and the closed ones of the last minutes; beyond it the kernel drops packets",
        grouped(wanted)
    );
    let mend = format!("sysctl -w net.netfilter.nf_conntrack_max={}", wanted.next_power_of_two());
    Some(DoctorFinding::fine("conntrack", is, needed).unless(max >= wanted, Mend, mend))
}

/// Idle sockets hold no page. Under pressure the kernel shrinks windows, and at the end drops.
fn tcp_mem(facts: &MachineFacts, need: &DoctorNeed) -> Option<DoctorFinding> {
    let [low, pressure, high] = facts.tcp_mem_pages?;
    let wanted = need.clients / 4;
    let is = format!("{} before pressure, {} at most", mib(pressure * PAGE_BYTES), mib(high * PAGE_BYTES));
    let needed = format!(
        "{} are needed before pressure: a page for every fourth client, under way at one time",
        mib(wanted * PAGE_BYTES)
    );
    let mend =
        format!("sysctl -w net.ipv4.tcp_mem=\"{} {} {}\"", low.max(wanted * 3 / 4), wanted, high.max(wanted * 2));
    Some(DoctorFinding::fine("tcp_mem", is, needed).unless(pressure >= wanted, Mend, mend))
}

fn port(facts: &PortFacts) -> DoctorFinding {
    let (address, number) = (&facts.address, facts.address.rsplit(':').next().unwrap_or_default());
    let sockets = if facts.has_datagrams { "-lunp" } else { "-ltnp" };
    let who = format!("ss {sockets} 'sport = :{number}' says who has it");
    match &facts.state {
        PortState::Free => DoctorFinding::fine("port", format!("{address} is free"), ""),
        PortState::Taken { by: Some((pid, name)) } if name == "dunlin" => DoctorFinding::fine(
            "port",
            format!("{address} is that of a dunlin (process {pid})"),
            "if it is the one that is meant, all is well",
        )
        .unless(false, Note, who),
        PortState::Taken { by: Some((pid, name)) } => DoctorFinding::fine(
            "port",
            format!("{address} is in use by {} (process {pid})", name.escape_debug()),
            "a listener needs it",
        )
        .unless(false, Mend, format!("end that one, or write another port; {who}")),
        PortState::Taken { by: None } => DoctorFinding::fine(
            "port",
            format!("{address} is in use"),
            "a listener needs it",
        )
        .unless(false, Mend, format!("sudo {who}")),
        PortState::Forbidden => {
            DoctorFinding::fine("port", format!("{address} is not for this user"), "ports below 1024 need a right")
                .unless(false, Mend, "AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit (systemctl edit dunlin)")
        }
        PortState::Other(error) => DoctorFinding::fine("port", format!("{address}: {error}"), "a listener needs it")
            .unless(false, Mend, "ip -brief address shows the addresses of this machine; write one of them as bind"),
    }
}
