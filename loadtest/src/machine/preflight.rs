//! Whether this machine carries the run that was asked for, before it starts: ports, descriptors, memory, conntrack.
//!
//! Owns: the arithmetic of what a number of connections takes, and the commands that mend what is short. Always holds:
//! [`check`] is a function of a [`Need`] and [`Facts`], so that machines that nobody has are tested too. A finding is
//! [`Severity::Short`] only where the run would fail; what may slow it down is a [`Severity::Note`].

use std::{fmt, fs, net::IpAddr};

use super::{describe, sample};
use crate::units::{grouped, show_size};

/// Kernel memory of one idle end of a TCP connection: socket, inode, file, timers. Measured with a million of them.
pub const KERNEL_BYTES_PER_END: u64 = 7 << 10;
/// What the generator holds for one idle connection at most.
pub const GENERATOR_BYTES_PER_CONNECTION: u64 = 1 << 10;
/// What a broker that is good at it holds for one idle connection with one subscription.
pub const BROKER_BYTES_PER_CONNECTION: u64 = 1 << 10;
/// Left for everything else on the machine.
pub const MEMORY_RESERVE_BYTES: u64 = 256 << 20;

/// What a run will ask of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Connections held at once.
    pub connections: u64,
    /// Connections opened in a second at most.
    pub connections_per_s: u64,
    /// Where they go to.
    pub target: IpAddr,
    /// Source addresses that were named; none: the kernel's choice, or all of 127.0.0.0/8 on loopback.
    pub sources: usize,
    /// The broker's process, if it is on this machine and known.
    pub broker_pid: Option<u32>,
}

/// What this machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The first and the last port that the kernel gives to outgoing connections.
    pub ports: (u64, u64),
    /// Files open and allowed on the whole machine.
    pub files: (u64, u64),
    /// Files that the broker's process may open.
    pub broker_files: Option<u64>,
    /// Memory that could be had without swapping.
    pub available_bytes: u64,
    /// Connections that conntrack follows and may follow; absent where it follows none.
    pub conntrack: Option<(u64, u64)>,
    /// Connections that may wait for `accept`.
    pub somaxconn: u64,
    /// Handshakes that may be half done.
    pub syn_backlog: u64,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The run cannot succeed.
    Short,
    /// The run may be slower than it could be.
    Note,
}

/// Something that is short, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What is short, with both figures.
    pub what: String,
    /// Commands that mend it, each to be typed as it stands; empty where only a smaller run helps.
    pub mend: Vec<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.mend.iter().try_for_each(|command| write!(f, "\n    {command}"))
    }
}

impl Need {
    /// Whether both ends of each connection are on this machine.
    fn both_ends_here(&self) -> bool {
        self.target.is_loopback() || self.broker_pid.is_some()
    }

    /// How many ends of connections this machine's kernel holds.
    fn ends(&self) -> u64 {
        self.connections * if self.both_ends_here() { 2 } else { 1 }
    }

    /// Memory that the run will take from this machine.
    pub fn memory_bytes(&self) -> u64 {
        let broker = if self.both_ends_here() { BROKER_BYTES_PER_CONNECTION } else { 0 };
        self.ends() * KERNEL_BYTES_PER_END + self.connections * (GENERATOR_BYTES_PER_CONNECTION + broker)
    }
}

impl Facts {
    /// Reads this machine. What it does not tell is taken to be plenty: a check must not refuse for want of a file.
    pub fn read(need: &Need) -> Self {
        let plenty = u64::MAX;
        let number = |name: &str| describe::sysctl(name).and_then(|text| text.parse().ok());
        let pair = |text: Option<String>| {
            let text = text?;
            let mut numbers = text.split(' ').map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        };
        let files = fs::read_to_string("/proc/sys/fs/file-nr").ok();
        let files = files.and_then(|text| {
            let mut numbers = text.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.nth(1)?.ok()?))
        });
        let followed: Option<u64> = number("net.netfilter.nf_conntrack_count");
        Self {
            ports: pair(describe::sysctl("net.ipv4.ip_local_port_range")).unwrap_or((32_768, 60_999)),
            files: files.unwrap_or((0, plenty)),
            broker_files: need.broker_pid.and_then(|pid| describe::open_files(&pid.to_string())).map(|(soft, _)| soft),
            available_bytes: sample::meminfo().map_or(plenty, |info| info.available_bytes),
            // Conntrack hooks in only where a rule asks for it. Where it follows nothing, the machine's busy moments
            // included, its limit bounds nothing.
            conntrack: followed.filter(|count| *count > 0).zip(number("net.netfilter.nf_conntrack_max")),
            somaxconn: number("net.core.somaxconn").unwrap_or(plenty),
            syn_backlog: number("net.ipv4.tcp_max_syn_backlog").unwrap_or(plenty),
        }
    }
}

/// What is short for `need` on a machine with these `facts`.
pub fn check(need: &Need, facts: &Facts) -> Vec<Finding> {
    [ports, files, memory, conntrack, broker_files, backlog]
        .into_iter()
        .filter_map(|check| check(need, facts))
        .collect()
}

/// Whether one of the findings forbids the run.
pub fn forbids(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Short)
}

/// Each pair of source address and destination has the ephemeral range once.
fn ports(need: &Need, facts: &Facts) -> Option<Finding> {
    let range = (facts.ports.1 + 1).saturating_sub(facts.ports.0);
    let spread = need.sources == 0 && need.target.is_loopback() && need.target.is_ipv4();
    // 127.0.0.0/8 has addresses for any number of connections; the engine takes as many as it needs.
    let have = if spread { u64::MAX } else { range.saturating_mul(need.sources.max(1) as u64) };
    if have >= need.connections {
        return None;
    }
    let widest = 65_535 - 1_024 + 1;
    let mut mend = Vec::new();
    if range < widest {
        mend.push("sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"".to_owned());
    }
    let addresses = need.connections.div_ceil(widest);
    if addresses > need.sources.max(1) as u64 {
        mend.push(format!("loadtest ... --ifaddr A,B,..   # {addresses} source addresses, each with 64,512 ports"));
    }
    Some(Finding {
        severity: Severity::Short,
        what: format!(
            "ports: {} source address(es) x {} ephemeral ports allow {} connections, {} are wanted",
            need.sources.max(1),
            grouped(range),
            grouped(have),
            grouped(need.connections)
        ),
        mend,
    })
}

/// Every socket is a file of the machine, whether or not it is in a process's table.
fn files(need: &Need, facts: &Facts) -> Option<Finding> {
    let wanted = facts.files.0.saturating_add(need.ends());
    (wanted > facts.files.1).then(|| Finding {
        severity: Severity::Short,
        what: format!("files: the machine may open {}, {} will be open", grouped(facts.files.1), grouped(wanted)),
        mend: vec![format!("sysctl -w fs.file-max={}", wanted + wanted / 4)],
    })
}

fn memory(need: &Need, facts: &Facts) -> Option<Finding> {
    let wanted = need.memory_bytes().saturating_add(MEMORY_RESERVE_BYTES);
    (wanted > facts.available_bytes).then(|| {
        let each = need.memory_bytes() / need.connections.max(1);
        let fitting = facts.available_bytes.saturating_sub(MEMORY_RESERVE_BYTES) / each.max(1);
        Finding {
            severity: Severity::Short,
            what: format!(
                "memory: about {} for {} connections ({} each, {}), {} is available; it suffices for {}",
                show_size(need.memory_bytes()),
                grouped(need.connections),
                show_size(each),
                if need.both_ends_here() { "both ends on this machine" } else { "this end" },
                show_size(facts.available_bytes),
                grouped(fitting)
            ),
            mend: Vec::new(),
        }
    })
}

fn conntrack(need: &Need, facts: &Facts) -> Option<Finding> {
    let (count, max) = facts.conntrack?;
    let wanted = count.saturating_add(need.connections);
    (wanted > max).then(|| Finding {
        severity: Severity::Short,
        what: format!("conntrack: follows {} connections at most, {} will be open", grouped(max), grouped(wanted)),
        mend: vec![format!("sysctl -w net.netfilter.nf_conntrack_max={}", wanted + wanted / 4)],
    })
}

/// A broker that keeps its sockets in its table of files takes no more than that. dunlin does not: its limit holds per
/// ring, and a shard opens as many as it needs. So this is a note.
fn broker_files(need: &Need, facts: &Facts) -> Option<Finding> {
    let limit = facts.broker_files?;
    (limit < need.connections).then(|| Finding {
        severity: Severity::Note,
        what: format!(
            "broker: may open {} files, {} connections are wanted (dunlin: the limit holds for each ring)",
            grouped(limit),
            grouped(need.connections)
        ),
        mend: vec![format!(
            "prlimit --pid {} --nofile={1}:{1}",
            need.broker_pid.unwrap_or_default(),
            need.connections + 1_000
        )],
    })
}

/// Connections that come faster than a broker accepts wait here; beyond it they are retried after a second.
fn backlog(need: &Need, facts: &Facts) -> Option<Finding> {
    let wanted = need.connections_per_s.min(need.connections).min(65_535) / 10;
    let short = need.both_ends_here() && (facts.somaxconn < wanted || facts.syn_backlog < wanted);
    short.then(|| Finding {
        severity: Severity::Note,
        what: format!(
            "backlog: {} connections may wait for the broker, a tenth of a second brings {}; the rest would be retried \
             after a second",
            grouped(facts.somaxconn.min(facts.syn_backlog)),
            grouped(wanted)
        ),
        mend: vec![format!("sysctl -w net.core.somaxconn={0} net.ipv4.tcp_max_syn_backlog={0}", wanted.max(4_096))],
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn need(connections: u64) -> Need {
        Need {
            connections,
            connections_per_s: 1_000,
            target: IpAddr::from(Ipv4Addr::LOCALHOST),
            sources: 0,
            broker_pid: None,
        }
    }

    fn plenty() -> Facts {
        Facts {
            ports: (32_768, 60_999),
            files: (1_000, 10_000_000),
            broker_files: None,
            available_bytes: 64 << 30,
            conntrack: None,
            somaxconn: 4_096,
            syn_backlog: 4_096,
        }
    }

    #[test]
    fn plenty_has_no_findings() {
        assert_eq!(check(&need(1_000_000), &plenty()), []);
    }

    #[test]
    fn loopback_spreads_and_another_address_has_one_range() {
        let mut far = need(60_000);
        far.target = IpAddr::from([10, 0, 0, 9]);
        let findings = check(&far, &plenty());
        assert!(forbids(&findings));
        assert_eq!(
            findings[0].to_string(),
            "ports: 1 source address(es) x 28,232 ephemeral ports allow 28,232 connections, 60,000 are wanted\n    \
             sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\""
        );
        far.connections = 200_000;
        assert!(check(&far, &plenty())[0].mend[1].contains("--ifaddr A,B,..   # 4 source addresses"));
        far.sources = 8;
        assert_eq!(check(&far, &plenty()), []);
        // Named sources are all there are, on loopback too.
        let named = Need { sources: 2, ..need(60_000) };
        assert!(forbids(&check(&named, &plenty())));
    }

    #[test]
    fn files_memory_and_conntrack_are_counted_for_the_ends_on_this_machine() {
        let mut facts = plenty();
        facts.files = (1_000, 150_000);
        let findings = check(&need(100_000), &facts);
        assert_eq!(findings[0].mend, ["sysctl -w fs.file-max=251250"]);
        assert_eq!(check(&Need { target: IpAddr::from([10, 0, 0, 9]), sources: 9, ..need(100_000) }, &facts), []);

        let facts = Facts { available_bytes: 4 << 30, ..plenty() };
        let findings = check(&need(1_000_000), &facts);
        assert!(findings[0].what.ends_with("4.00 GiB is available; it suffices for 245,760"), "{}", findings[0]);
        assert_eq!(check(&need(245_760), &facts), []);

        let facts = Facts { conntrack: Some((100, 262_144)), ..plenty() };
        assert_eq!(check(&need(262_000), &facts), []);
        let findings = check(&need(300_000), &facts);
        assert_eq!(findings[0].mend, ["sysctl -w net.netfilter.nf_conntrack_max=375125"]);
    }

    #[test]
    fn what_only_slows_the_run_is_a_note() {
        let facts = Facts { broker_files: Some(1_024), somaxconn: 128, ..plenty() };
        let busy = Need { broker_pid: Some(77), connections_per_s: 20_000, ..need(20_000) };
        let findings = check(&busy, &facts);
        assert_eq!(findings.len(), 2);
        assert!(!forbids(&findings));
        assert_eq!(findings[0].mend, ["prlimit --pid 77 --nofile=21000:21000"]);
        assert_eq!(findings[1].mend, ["sysctl -w net.core.somaxconn=4096 net.ipv4.tcp_max_syn_backlog=4096"]);
    }

    #[test]
    fn this_machine_can_be_read() {
        let facts = Facts::read(&need(10));
        assert!(facts.ports.0 < facts.ports.1 && facts.files.1 > facts.files.0 && facts.available_bytes > 0);
    }
}
