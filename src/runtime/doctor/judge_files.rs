//! The configuration, the data directory and the certificates: facts in, findings out.

use super::facts::{CertificateFacts, DiskFacts, DiskFault, DoctorNeed, MachineFacts};
use super::finding::{
    DoctorFinding,
    FindingLevel::{Mend, Note},
};
use super::units::{counted, mib, milliseconds};

/// A write that takes no longer is nothing that a client notices; one that takes longer than the second is.
const SYNC_FINE_US: u64 = 10_000;
const SYNC_SLOW_US: u64 = 50_000;

/// Days before the end of a certificate from which on it is told, and has to be mended.
const DAYS_NOTE: i64 = 30;
const DAYS_MEND: i64 = 7;

pub(super) fn judge(facts: &MachineFacts, need: &DoctorNeed, findings: &mut Vec<DoctorFinding>) {
    findings.extend(facts.configuration.iter().map(|problem| {
        DoctorFinding::fine("configuration", problem, "the broker does not start with it").unless(
            false,
            Mend,
            "dunlin --config FILE --test-config tells all that is wrong with it",
        )
    }));
    if let (Some(disk), Some(wanted)) = (&facts.disk, need.disk_bytes) {
        match &disk.fault {
            // There is nothing to measure.
            Some(fault) => findings.push(cannot_be(disk, fault)),
            None => findings.extend([file_system(disk), room(disk, wanted), sync(disk)]),
        }
    }
    findings.extend(facts.certificates.iter().map(certificate));
}

/// The broker does not start.
fn cannot_be(disk: &DiskFacts, fault: &DiskFault) -> DoctorFinding {
    let path = &disk.path;
    let (is, mend) = match fault {
        DiskFault::Nowhere => (
            "nothing says where it is: $HOME is not set, nor $STATE_DIRECTORY".to_owned(),
            "write [store] data_dir = \"/var/lib/dunlin\" (--data-dir)".to_owned(),
        ),
        DiskFault::InTheWay(what) => (
            format!("{path} cannot be: {what} is no directory"),
            format!("[store] data_dir at another path; ls -ld {what} says what it is"),
        ),
        DiskFault::KernelTables => (
            format!("{path} would lie on {}, which keeps no files", disk.file_system),
            "[store] data_dir on a disk of this machine, such as /var/lib/dunlin".to_owned(),
        ),
        DiskFault::Forbidden { directory, error } => (
            format!("{directory} cannot be written to by this user: {error}"),
            format!("sudo install -d -o \"$(id -un)\" -m 700 '{path}', or run the doctor as the broker's user"),
        ),
    };
    DoctorFinding::fine("data directory", is, "the broker does not start without it").unless(false, Mend, mend)
}

fn file_system(disk: &DiskFacts) -> DoctorFinding {
    let is = format!("{} {} on {}", disk.path, if disk.is_made { "is" } else { "is to be made" }, disk.file_system);
    let needed = "a disk of this machine is needed (ext4, xfs)";
    let finding = DoctorFinding::fine("data directory", is, needed);
    match disk.file_system.as_str() {
        "tmpfs" | "ramfs" => {
            finding.unless(false, Mend, "[store] data_dir on a disk: what is in memory does not survive a restart")
        }
        kind if kind.starts_with("nfs")
            || kind.starts_with("fuse")
            || matches!(kind, "cifs" | "smb3" | "9p" | "ceph") =>
        {
            finding.unless(
                false,
                Mend,
                "[store] data_dir on a disk of this machine: locks and syncs over a network are not to be relied on",
            )
        }
        "overlay" => finding.unless(
            false,
            Note,
            "docker run -v dunlin-data:/var/lib/dunlin: a container's own layer goes with it",
        ),
        _ => finding,
    }
}

fn room(disk: &DiskFacts, wanted: u64) -> DoctorFinding {
    let missing = wanted.saturating_sub(disk.used_bytes);
    let is = format!("{} free", mib(disk.free_bytes));
    let needed = format!(
        "{} more are needed for the log's files and what is left to others; what is queued on the disk comes on top",
        mib(missing)
    );
    let mend = "a larger disk, fewer shards, or a smaller [store] segment_size";
    DoctorFinding::fine("free space", is, needed).unless(disk.free_bytes >= missing, Mend, mend)
}

fn sync(disk: &DiskFacts) -> DoctorFinding {
    let why = "an acknowledged message has waited for one write, and those of one turn wait together";
    let Some((median, worst)) = disk.sync_us else {
        let fault = disk.sync_fault.as_deref().unwrap_or("nothing was measured");
        return DoctorFinding::fine("write to disk", fault, why).unless(
            false,
            Note,
            format!("sudo dunlin doctor, or make {} for the broker's user", disk.path),
        );
    };
    let is = format!("{} in the median, {} at worst", milliseconds(median), milliseconds(worst));
    let level = if median > SYNC_SLOW_US { Mend } else { Note };
    let mend = format!(
        "[store] data_dir on an SSD of this machine; fio --name=x --directory={} --rw=write --bs=4k --size=16m --fdatasync=1 measures more",
        disk.path
    );
    DoctorFinding::fine("write to disk", is, format!("{} or less: {why}", milliseconds(SYNC_FINE_US))).unless(
        median <= SYNC_FINE_US,
        level,
        mend,
    )
}

fn certificate(facts: &CertificateFacts) -> DoctorFinding {
    let path = &facts.path;
    let needed = "clients refuse it once it has ended";
    match facts.days_left {
        Ok(days) => {
            let is = match days {
                ..0 => format!("{path} has ended {} ago", counted(days.unsigned_abs(), "day")),
                _ => format!("{path} ends in {}", counted(days.unsigned_abs(), "day")),
            };
            let level = if days < DAYS_MEND { Mend } else { Note };
            let mend = "have a new one issued (certbot renew); the broker reads it when the file changes, and at systemctl reload dunlin";
            DoctorFinding::fine("certificate", is, needed).unless(days >= DAYS_NOTE, level, mend)
        }
        Err(ref fault) => DoctorFinding::fine("certificate", format!("{path}: {fault}"), "TLS needs it").unless(
            false,
            Mend,
            format!("openssl x509 -in {path} -noout -enddate, as the broker's user"),
        ),
    }
}
