//! Before a run: whether this machine suffices for its plan, and has the addresses that it names.

use std::{
    io::{self, Write as _},
    net::{IpAddr, ToSocketAddrs as _, UdpSocket},
};

use crate::{
    exit::{Exit, Failure},
    machine::{preflight, sample::Broker},
    plan::{Action, Plan, Sources},
};

/// Refuses a run that this machine does not carry, and tells what may slow it down.
pub fn check_machine(plan: &Plan, broker: Option<&Broker>, is_quiet: bool) -> Result<(), Failure> {
    let target = &plan.target;
    // A name that means nothing is told by the engine, in its own words.
    let resolved = (target.host.as_str(), target.port).to_socket_addrs().ok().and_then(|mut found| found.next());
    let Some(address) = resolved else { return Ok(()) };
    let rate = plan.stages.iter().map(|stage| match stage.action {
        Action::Ramp { rate_per_s, .. } | Action::Resume { rate_per_s, .. } if rate_per_s > 0.0 => rate_per_s,
        Action::Ramp { .. } | Action::Resume { .. } => 1_000.0,
        _ => 0.0,
    });
    let need = preflight::Need {
        connections: plan.clients_here(),
        connections_per_s: rate.fold(0.0, f64::max) as u64,
        target: address.ip(),
        sources: match &plan.sources {
            Sources::Auto => 0,
            Sources::Addresses(addresses) => {
                addresses.iter().filter(|source| same_family(source, &address.ip())).count()
            }
        },
        broker_pid: match broker {
            Some(Broker::Pid(pid)) => Some(*pid),
            _ => None,
        },
    };
    let findings = preflight::check(&need, &preflight::Facts::read(&need));
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    if preflight::forbids(&findings) {
        let text = format!("this machine does not suffice (--no-preflight starts anyway):\n  {}", lines.join("\n  "));
        return Err(Failure::new(Exit::Machine, text));
    }
    if !is_quiet {
        for line in lines {
            drop(writeln!(io::stderr(), "note: {line}"));
        }
    }
    Ok(())
}

/// Refuses source addresses that this machine lacks, or from which there is no way to the broker's.
pub fn check_sources(plan: &Plan) -> Result<(), Failure> {
    let Sources::Addresses(addresses) = &plan.sources else { return Ok(()) };
    let target = &plan.target;
    let resolved = (target.host.as_str(), target.port).to_socket_addrs().ok();
    let families: Option<Vec<bool>> = resolved.map(|found| found.map(|address| address.is_ipv4()).collect());
    for address in addresses {
        let wrong = |problem: String| Failure::new(Exit::Usage, format!("--ifaddr {address}: {problem}"));
        if let Err(error) = UdpSocket::bind((*address, 0)) {
            return Err(wrong(match error.kind() {
                io::ErrorKind::AddrNotAvailable => {
                    "this machine has no such address (`ip address` shows those that it has)".to_owned()
                }
                _ => error.to_string(),
            }));
        }
        if families.as_ref().is_some_and(|families| !families.contains(&address.is_ipv4())) {
            let (here, there) = if address.is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
            return Err(wrong(format!("it is {here}, and {} has {there} only", target.host)));
        }
    }
    Ok(())
}

fn same_family(one: &IpAddr, other: &IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::{self, Tuning};

    #[test]
    fn a_source_address_that_cannot_serve_is_told_by_its_flag() {
        let mut plan = preset::build("quick", &Tuning::default()).unwrap();
        for (address, part) in [
            ("192.0.2.77", Some("--ifaddr 192.0.2.77: this machine has no such address (`ip address` shows")),
            ("::1", Some("--ifaddr ::1: ")),
            ("127.0.0.9", None),
        ] {
            plan.sources = Sources::Addresses(vec![address.parse().unwrap()]);
            match (check_sources(&plan), part) {
                (Ok(()), None) => {}
                (Err(failure), Some(part)) => {
                    assert!(failure.exit == Exit::Usage && failure.line.starts_with(part), "{}", failure.line);
                }
                (result, _) => panic!("{address}: {result:?}"),
            }
        }
    }
}
