//! Kernel, limits and memory: facts in, findings out.

use super::facts::{DoctorNeed, MachineFacts};
use super::finding::{
    DoctorFinding,
    FindingLevel::{Mend, Note},
};
use super::units::{counted, grouped, mib};
use crate::limits::RINGS_MAX;
use crate::ring::probe::KERNEL_MIN;

/// Bytes that a client takes while it is idle, of the broker and of the kernel, with some room: 665 and 4,900 were measured
/// (docs/measurements, "A million connections"). TLS took 460 more.
const BROKER_BYTES: u64 = 1_024;
const KERNEL_BYTES: u64 = 6_144;
const TLS_BYTES: u64 = 512;
/// What the broker takes before anybody comes, and what messages and the rest of the machine need.
const BASE_BYTES: u64 = 512 << 20;

pub(super) fn judge(facts: &MachineFacts, need: &DoctorNeed, findings: &mut Vec<DoctorFinding>) {
    findings.push(kernel(facts));
    findings.push(rings(facts));
    findings.push(open_files(facts, need));
    findings.extend(nr_open(facts, need));
    findings.extend(file_max(facts, need));
    findings.push(locked_memory(facts, need));
    findings.extend(memory(facts, need));
    findings.extend(swap(facts));
    findings.extend(huge_pages(facts));
    findings.extend(overcommit(facts));
    findings.extend(governor(facts));
    findings.extend(clock(facts));
}

fn kernel(facts: &MachineFacts) -> DoctorFinding {
    let (major, minor) = facts.kernel;
    let needed = format!("{}.{} or newer is needed, for what io_uring can do since", KERNEL_MIN.0, KERNEL_MIN.1);
    DoctorFinding::fine("kernel", format!("Linux {major}.{minor}"), needed).unless(
        facts.kernel >= KERNEL_MIN,
        Mend,
        "apt-get install linux-image-amd64 (Debian 12 has 6.1), and boot it",
    )
}

fn rings(facts: &MachineFacts) -> DoctorFinding {
    let needed = "sockets and files go through it";
    match (&facts.ring_fault, facts.io_uring_disabled) {
        (None, Some(1..)) => DoctorFinding::fine("io_uring", "works for this user", needed).unless(
            false,
            Note,
            "sysctl -w kernel.io_uring_disabled=0 (other users are refused)",
        ),
        (None, _) => DoctorFinding::fine("io_uring", "works", needed),
        (Some((what, mend)), _) => DoctorFinding::fine("io_uring", what, needed).unless(false, Mend, mend),
    }
}

/// Sockets lie in the rings' own tables, each as large as the limit on open files: a shard opens as many rings as it needs.
fn open_files(facts: &MachineFacts, need: &DoctorNeed) -> DoctorFinding {
    let of_tables = need.clients.div_ceil(need.shards * RINGS_MAX as u64);
    let wanted = of_tables.max(1_024);
    let needed = format!(
        "{} are needed for {} on {}: sockets lie in tables of this size, {RINGS_MAX} of them a shard at most",
        grouped(wanted),
        counted(need.clients, "client"),
        counted(need.shards, "shard")
    );
    let limit = wanted.next_power_of_two();
    let mend = format!(
        "LimitNOFILE={limit} in the unit (systemctl edit dunlin), or as root before a start by hand: ulimit -Hn {limit} \
         (docker: --ulimit nofile={limit})"
    );
    DoctorFinding::fine("open files", limited(facts), needed).unless(facts.open_files >= wanted, Mend, mend)
}

fn limited(facts: &MachineFacts) -> String {
    match facts.open_files {
        u64::MAX => format!("no limit {}", whose(facts)),
        number => format!("{} {}", grouped(number), whose(facts)),
    }
}

/// Whose limits were read.
fn whose(facts: &MachineFacts) -> String {
    facts.unit.as_ref().map_or_else(|| "here".to_owned(), |unit| format!("in {unit}"))
}

fn nr_open(facts: &MachineFacts, need: &DoctorNeed) -> Option<DoctorFinding> {
    let wanted = need.clients.div_ceil(need.shards * RINGS_MAX as u64).max(1_024).next_power_of_two();
    let nr_open = facts.nr_open?;
    let finding = DoctorFinding::fine("fs.nr_open", grouped(nr_open), "no limit on open files can be higher");
    Some(finding.unless(nr_open >= wanted, Mend, format!("sysctl -w fs.nr_open={wanted}")))
}

fn file_max(facts: &MachineFacts, need: &DoctorNeed) -> Option<DoctorFinding> {
    let wanted = need.clients + need.clients / 8 + 65_536;
    let file_max = facts.file_max?;
    let is = if file_max > u64::from(u32::MAX) { "no bound to speak of".to_owned() } else { grouped(file_max) };
    let needed = format!("{} are needed: each socket is a file of the whole system", grouped(wanted));
    let finding = DoctorFinding::fine("fs.file-max", is, needed);
    Some(finding.unless(file_max >= wanted, Mend, format!("sysctl -w fs.file-max={}", wanted.next_power_of_two())))
}

fn locked_memory(facts: &MachineFacts, need: &DoctorNeed) -> DoctorFinding {
    let (wanted, wanted_always) = need.memlock_bytes;
    let wanted = if facts.may_lock { wanted_always } else { wanted };
    let is = match facts.memlock_bytes {
        u64::MAX => format!("no limit {}", whose(facts)),
        bytes => format!("{} KiB {}", grouped(bytes / 1_024), whose(facts)),
    };
    let kib = wanted.div_ceil(1_024);
    let shards = counted(need.shards, "shard");
    let needed = format!("{} KiB are needed, registered with the kernel by {shards}", grouped(kib));
    let mend = format!(
        "LimitMEMLOCK={kib}K in the unit (systemctl edit dunlin), or as root before a start by hand: ulimit -l {kib} (docker: \
         --ulimit memlock={wanted})"
    );
    DoctorFinding::fine("locked memory", is, needed).unless(facts.memlock_bytes >= wanted, Mend, mend)
}

fn memory(facts: &MachineFacts, need: &DoctorNeed) -> Option<DoctorFinding> {
    let (total, available) = facts.memory_bytes?;
    let usable = facts.memory_max_bytes.map_or(available, |max| max.min(available));
    let of_tls = if need.has_tls { TLS_BYTES } else { 0 };
    let wanted = need.clients * (BROKER_BYTES + KERNEL_BYTES + of_tls) + BASE_BYTES;
    let of_group = match facts.memory_max_bytes.filter(|max| *max < total) {
        Some(max) => format!(", and the cgroup may have {}", mib(max)),
        None => String::new(),
    };
    let is = format!("{} of {} are available{of_group}", mib(available), mib(total));
    let needed = format!(
        "{} are needed for {}: {} bytes each, five sixths of them the kernel's, and {} for the rest; what is queued comes on top",
        mib(wanted),
        counted(need.clients, "idle client"),
        grouped(BROKER_BYTES + KERNEL_BYTES + of_tls),
        mib(BASE_BYTES)
    );
    let holds = usable.saturating_sub(BASE_BYTES) / (BROKER_BYTES + KERNEL_BYTES + of_tls);
    let mend =
        format!("fewer clients ([node] max_connections = {}), more memory, or end what else runs here", grouped(holds));
    Some(DoctorFinding::fine("memory", is, needed).unless(usable >= wanted, Mend, mend))
}

fn swap(facts: &MachineFacts) -> Option<DoctorFinding> {
    let (total, used) = facts.swap_bytes?;
    if total == 0 {
        return Some(DoctorFinding::fine(
            "swap",
            "none",
            "a shard that waits for a page keeps all of its clients waiting",
        ));
    }
    let finding = DoctorFinding::fine(
        "swap",
        format!("{} of {} in use", mib(used), mib(total)),
        "a shard that waits for a page keeps all of its clients waiting",
    );
    Some(finding.unless(used == 0, Note, "MemorySwapMax=0 in the unit (systemctl edit dunlin)"))
}

fn huge_pages(facts: &MachineFacts) -> Option<DoctorFinding> {
    let chosen = facts.huge_pages.as_deref()?;
    Some(DoctorFinding::fine("huge pages", chosen, "any: the broker refuses transparent ones for itself"))
}

fn overcommit(facts: &MachineFacts) -> Option<DoctorFinding> {
    let overcommit = facts.overcommit?;
    let finding = DoctorFinding::fine(
        "vm.overcommit_memory",
        overcommit.to_string(),
        "0 or 1: with 2 memory that is reserved and not used counts, and an allocation that fails ends the broker",
    );
    Some(finding.unless(overcommit != 2, Note, "sysctl -w vm.overcommit_memory=0"))
}

fn governor(facts: &MachineFacts) -> Option<DoctorFinding> {
    let governor = facts.governor.as_deref()?;
    let finding =
        DoctorFinding::fine("CPU governor", governor, "performance: a core that wakes slowly adds to each delivery");
    let suffices = !matches!(governor, "powersave" | "conservative" | "userspace");
    Some(finding.unless(suffices, Note, "cpupower frequency-set -g performance"))
}

fn clock(facts: &MachineFacts) -> Option<DoctorFinding> {
    let is_synchronized = facts.clock_is_synchronized?;
    let is = if is_synchronized { "synchronized" } else { "not synchronized" };
    let finding = DoctorFinding::fine("clock", is, "certificates, tokens and expiry across a restart go by it");
    Some(finding.unless(is_synchronized, Note, "timedatectl set-ntp true (or apt-get install chrony)"))
}
