//! Made-up machines, and what the doctor says of them.

use super::facts::{CertificateFacts, DiskFacts, DiskFault, DoctorNeed, MachineFacts, PortFacts, PortState};
use super::finding::{
    DoctorFinding, FindingLevel,
    FindingLevel::{Fine, Mend, Note},
};
use super::judge;

fn need(clients: u64) -> DoctorNeed {
    DoctorNeed {
        clients,
        connections_max: Some(1_000_000),
        shards: 4,
        has_tls: false,
        memlock_bytes: (8 << 20, 512 << 10),
        ports: vec![1883, 18_083],
        disk_bytes: Some(2 << 30),
    }
}

/// A machine on which nothing is short for a million.
fn good() -> MachineFacts {
    MachineFacts {
        kernel: (6, 1),
        open_files: 1 << 20,
        nr_open: Some(1 << 20),
        file_max: Some(u64::MAX >> 1),
        memlock_bytes: u64::MAX,
        somaxconn: Some(4_096),
        syn_backlog: Some(4_096),
        port_range: Some((32_768, 60_999)),
        conntrack: Some((0, 1)),
        tcp_mem_pages: Some([200_000, 250_000, 500_000]),
        memory_bytes: Some((32 << 30, 30 << 30)),
        swap_bytes: Some((0, 0)),
        huge_pages: Some("always".into()),
        overcommit: Some(0),
        clock_is_synchronized: Some(true),
        governor: Some("performance".into()),
        disk: Some(DiskFacts {
            path: "/var/lib".into(),
            file_system: "ext4".into(),
            free_bytes: 3 << 30,
            sync_us: Some((900, 4_000)),
            ..DiskFacts::default()
        }),
        certificates: vec![CertificateFacts { path: "/etc/server.pem".into(), days_left: Ok(60) }],
        ports: vec![PortFacts { address: "0.0.0.0:1883".into(), has_datagrams: false, state: PortState::Free }],
        ..MachineFacts::default()
    }
}

#[test]
fn a_machine_on_which_nothing_is_short_is_fine() {
    let findings = judge(&good(), &need(1_000_000));
    assert!(findings.iter().all(|finding| finding.level == Fine && finding.mend.is_none()), "{findings:#?}");
    assert_eq!(findings.len(), 23, "each thing has its line");
}

#[test]
fn what_cannot_be_read_is_left_out() {
    let facts =
        MachineFacts { kernel: (6, 1), open_files: 1 << 20, memlock_bytes: u64::MAX, ..MachineFacts::default() };
    let need = DoctorNeed { connections_max: None, ..need(1_000) };
    let checks: Vec<&str> = judge(&facts, &need).iter().map(|finding| finding.check).collect();
    assert_eq!(checks, ["kernel", "io_uring", "open files", "locked memory"]);
}

/// What is changed on the good machine, the line that then changes, how it stands, and words of its command.
type Spoiled = (fn(&mut MachineFacts), &'static str, FindingLevel, &'static str);

const SPOILED: &[Spoiled] = &[
    (|facts| facts.kernel = (5, 15), "kernel", Mend, "linux-image"),
    (|facts| facts.ring_fault = Some(("forbidden".into(), "seccomp=unconfined".into())), "io_uring", Mend, "seccomp"),
    (|facts| facts.io_uring_disabled = Some(2), "io_uring", Note, "kernel.io_uring_disabled=0"),
    (|facts| facts.open_files = 1_024, "open files", Mend, "LimitNOFILE=4096"),
    (|facts| facts.nr_open = Some(1_024), "fs.nr_open", Mend, "sysctl -w fs.nr_open=4096"),
    (|facts| facts.file_max = Some(1_000_000), "fs.file-max", Mend, "sysctl -w fs.file-max=2097152"),
    (|facts| facts.memlock_bytes = 64 << 10, "locked memory", Mend, "LimitMEMLOCK=8192K"),
    (|facts| facts.memory_bytes = Some((8 << 30, 2 << 30)), "memory", Mend, "max_connections = 224_694"),
    (|facts| facts.memory_max_bytes = Some(1 << 30), "memory", Mend, "max_connections = 74_898"),
    (|facts| facts.swap_bytes = Some((1 << 30, 1 << 20)), "swap", Note, "MemorySwapMax=0"),
    (|facts| facts.overcommit = Some(2), "vm.overcommit_memory", Note, "vm.overcommit_memory=0"),
    (|facts| facts.clock_is_synchronized = Some(false), "clock", Note, "set-ntp true"),
    (|facts| facts.governor = Some("powersave".into()), "CPU governor", Note, "frequency-set -g performance"),
    (|facts| facts.somaxconn = Some(128), "somaxconn", Mend, "sysctl -w net.core.somaxconn=4096"),
    (|facts| facts.syn_backlog = Some(512), "tcp_max_syn_backlog", Mend, "tcp_max_syn_backlog=4096"),
    (|facts| facts.port_range = Some((1_024, 65_535)), "ip_local_port_range", Note, "reserved_ports=1883,18083"),
    (|facts| facts.conntrack = Some((7, 262_144)), "conntrack", Mend, "nf_conntrack_max=2097152"),
    (|facts| facts.tcp_mem_pages = Some([1, 2, 3]), "tcp_mem", Mend, "tcp_mem=\"187500 250000 500000\""),
    (|facts| disk(facts).file_system = "tmpfs".into(), "data directory", Mend, "data_dir"),
    (|facts| disk(facts).file_system = "nfs4".into(), "data directory", Mend, "data_dir"),
    (|facts| disk(facts).file_system = "overlay".into(), "data directory", Note, "docker run -v"),
    (|facts| disk(facts).free_bytes = 1 << 30, "free space", Mend, "segment_size"),
    (|facts| disk(facts).sync_us = Some((20_000, 30_000)), "write to disk", Note, "SSD"),
    (|facts| disk(facts).sync_us = Some((80_000, 90_000)), "write to disk", Mend, "SSD"),
    (|facts| disk(facts).sync_us = None, "write to disk", Note, "sudo dunlin doctor"),
    (|facts| facts.certificates[0].days_left = Ok(20), "certificate", Note, "certbot renew"),
    (|facts| facts.certificates[0].days_left = Ok(-3), "certificate", Mend, "certbot renew"),
    (
        |facts| facts.certificates[0].days_left = Err("no PEM".into()),
        "certificate",
        Mend,
        "openssl x509 -in /etc/server.pem",
    ),
    (|facts| facts.ports[0].state = PortState::Taken { by: None }, "port", Mend, "sudo ss -ltnp 'sport = :1883'"),
    (|facts| facts.ports[0].state = taken_by("dunlin"), "port", Note, "sport = :1883"),
    (|facts| facts.ports[0].state = taken_by("nginx"), "port", Mend, "another port"),
    (|facts| disk(facts).fault = Some(DiskFault::Nowhere), "data directory", Mend, "data_dir"),
    (|facts| disk(facts).fault = Some(DiskFault::InTheWay("/var".into())), "data directory", Mend, "ls -ld /var"),
    (|facts| disk(facts).fault = Some(DiskFault::KernelTables), "data directory", Mend, "data_dir on a disk"),
    (
        |facts| disk(facts).fault = Some(DiskFault::Forbidden { directory: "/var".into(), error: "no".into() }),
        "data directory",
        Mend,
        "sudo install -d",
    ),
    (|facts| facts.ports[0].state = PortState::Forbidden, "port", Mend, "CAP_NET_BIND_SERVICE"),
    (|facts| facts.ports[0].state = PortState::Other("no such address".into()), "port", Mend, "ip -brief address"),
    (|facts| facts.configuration.push("d.toml:1: wrong".into()), "configuration", Mend, "--test-config"),
];

fn taken_by(name: &str) -> PortState {
    PortState::Taken { by: Some((7, name.to_owned())) }
}

fn disk(facts: &mut MachineFacts) -> &mut DiskFacts {
    facts.disk.as_mut().expect("it has one")
}

#[test]
fn each_thing_that_is_short_has_its_command_and_touches_no_other() {
    for (spoil, check, level, command) in SPOILED {
        let mut facts = good();
        spoil(&mut facts);
        let findings = judge(&facts, &need(1_000_000));
        let spoiled: Vec<&DoctorFinding> = findings.iter().filter(|finding| finding.level > Fine).collect();
        let [finding] = spoiled.as_slice() else { panic!("{check}: {spoiled:#?}") };
        assert_eq!((finding.check, finding.level), (*check, *level), "{finding:?}");
        let mend = finding.mend.as_deref().unwrap_or_default();
        assert!(mend.contains(command) && !mend.contains('\n'), "{check}: {mend}");
    }
}

#[test]
fn lines_fit_a_terminal_and_commands_stay_whole() {
    let mut facts = good();
    facts.conntrack = Some((7, 262_144));
    facts.open_files = 512;
    let text = super::finding::to_text(&judge(&facts, &need(1_000_000)));
    for line in text.lines() {
        assert!(line.chars().count() <= 100 || line.contains("to mend it: "), "{line}");
    }
    let commands = text.lines().filter(|line| line.contains("to mend it: "));
    assert_eq!(commands.count(), 2, "{text}");
    assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
}

#[test]
fn what_is_needed_follows_the_number_of_clients() {
    let mut facts = good();
    facts.open_files = 1_024;
    facts.memory_bytes = Some((8 << 30, 2 << 30));
    let worst = |clients| judge(&facts, &need(clients)).into_iter().map(|finding| finding.level).max();
    assert_eq!(worst(100_000), Some(Fine));
    assert_eq!(worst(1_000_000), Some(Mend));
}

#[test]
fn more_clients_than_are_let_in_are_told() {
    let needs = |clients| DoctorNeed { connections_max: Some(500), ..need(clients) };
    let told = |clients| {
        let findings = judge(&good(), &needs(clients));
        let [finding] = findings.iter().filter(|finding| finding.check == "max_connections").collect::<Vec<_>>()[..]
        else {
            panic!("{findings:#?}")
        };
        (finding.level, finding.mend.clone())
    };
    assert_eq!(told(500), (Fine, None));
    assert_eq!(told(501), (Mend, Some("write max_connections = 501 into the configuration".to_owned())));
}

#[test]
fn a_port_for_datagrams_is_looked_for_among_sockets_of_udp() {
    let mut facts = good();
    facts.ports[0].has_datagrams = true;
    facts.ports[0].state = PortState::Taken { by: None };
    let findings = judge(&facts, &need(1_000_000));
    let mend = findings.iter().find(|finding| finding.check == "port").and_then(|finding| finding.mend.as_deref());
    assert!(mend.is_some_and(|mend| mend.contains("ss -lunp 'sport = :1883'")), "{mend:?}");
}

#[test]
fn one_is_not_told_as_many() {
    let mut facts = good();
    facts.certificates[0].days_left = Ok(1);
    let findings = judge(&facts, &DoctorNeed { shards: 1, ..need(1) });
    let text = super::finding::to_text(&findings).replace('\n', " ");
    for many in [" 1 clients", " 1 idle clients", " 1 shards", " 1 days"] {
        assert!(!text.contains(many), "{many}: {text}");
    }
    assert!(text.contains("1 client on 1 shard:") && text.contains("ends in 1 day;"), "{text}");
}

#[test]
fn limits_that_do_not_apply_are_not_complained_about() {
    let mut facts = good();
    facts.memlock_bytes = 1 << 20;
    facts.may_lock = true;
    facts.reserved_ports = "80,1883-1890,18083\n".into();
    facts.port_range = Some((1_024, 65_535));
    let findings = judge(&facts, &need(1_000_000));
    assert!(findings.iter().all(|finding| finding.level == Fine), "{findings:#?}");
}
