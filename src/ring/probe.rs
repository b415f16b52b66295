//! Whether this machine lets us run: asked once at start, answered in lines that an operator can act upon.

use io_uring::{IoUring, opcode};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt;
use std::io;

/// What the process needs.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Open files: rings, listeners, logs, segments, and as many sockets as one ring should hold.
    pub open_files: u64,
    /// Locked memory: the executors' registered buffers.
    pub memlock_bytes: u64,
    /// The part of it that is asked for even where the limit does not apply (`CAP_IPC_LOCK`): the executor compares the
    /// limit itself and knows no capability.
    pub memlock_always_bytes: u64,
}

/// One thing that is missing, in one line: what, by how much, and the command that mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// What is short, with what there is and what is needed.
    pub what: String,
    /// What to do about it.
    pub mend: String,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; to mend it: {}", self.what, self.mend)
    }
}

/// The oldest kernel that has all that the plane is built on (`DEFER_TASKRUN`).
pub const KERNEL_MIN: (u32, u32) = (6, 1);

/// Raises the soft limits on open files and locked memory to the hard ones and checks everything that the broker stands on.
///
/// # Errors
/// Everything that is missing, not just the first.
pub fn probe(needs: Needs) -> Result<(), Vec<Shortfall>> {
    let kernel = kernel_version();
    let mut shortfalls = Vec::new();
    if kernel < KERNEL_MIN {
        shortfalls.push(kernel_shortfall(kernel));
    } else if let Err(shortfall) = try_io_uring() {
        shortfalls.push(shortfall);
    }
    let open_files = raise(Resource::Nofile);
    shortfalls.extend(open_files_shortfall(open_files, needs.open_files));
    let memlock_bytes = raise(Resource::Memlock).0;
    let memlock_needed_bytes = if may_lock_memory() { needs.memlock_always_bytes } else { needs.memlock_bytes };
    shortfalls.extend(memlock_shortfall(memlock_bytes, memlock_needed_bytes));
    if shortfalls.is_empty() { Ok(()) } else { Err(shortfalls) }
}

/// Soft and hard limit on open files.
pub fn open_files_limit() -> (u64, u64) {
    limit(Resource::Nofile)
}

/// Soft and hard limit on locked memory.
pub fn memlock_limit() -> (u64, u64) {
    limit(Resource::Memlock)
}

/// Whether a ring can be made as the plane makes them.
///
/// # Errors
/// Who forbids it, and what to do about that.
pub fn try_io_uring() -> Result<(), Shortfall> {
    try_ring().map_err(|error| ring_shortfall(&error, sysctl_io_uring_disabled().as_deref()))
}

fn kernel_shortfall(have: (u32, u32)) -> Shortfall {
    Shortfall {
        what: format!("Linux {}.{} is too old, {}.{} is needed", have.0, have.1, KERNEL_MIN.0, KERNEL_MIN.1),
        mend: "boot a newer kernel".to_owned(),
    }
}

/// Tells apart who forbids `io_uring`: the distinction is the whole of the operator's problem.
fn ring_shortfall(error: &io::Error, disabled: Option<&str>) -> Shortfall {
    let (what, mend) = match (error.raw_os_error(), disabled) {
        (Some(libc::EPERM), Some("1" | "2")) => (
            format!("io_uring is switched off by the sysctl kernel.io_uring_disabled={}", disabled.unwrap_or_default()),
            "sysctl -w kernel.io_uring_disabled=0".to_owned(),
        ),
        (Some(libc::EPERM), _) => (
            "io_uring is forbidden, most likely by the container's seccomp profile".to_owned(),
            "run the container with --security-opt seccomp=unconfined, or with a profile that allows io_uring_setup, \
             io_uring_enter and io_uring_register"
                .to_owned(),
        ),
        (Some(libc::ENOSYS), _) => (
            "this kernel has no io_uring, or a sandbox hides it".to_owned(),
            "boot a kernel with CONFIG_IO_URING=y, or leave the sandbox (gVisor has none)".to_owned(),
        ),
        (Some(libc::ENOMEM), _) => (
            "there is not enough memory, or not enough of it may be locked, for an io_uring ring".to_owned(),
            "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity; docker: --ulimit memlock=-1)".to_owned(),
        ),
        (Some(libc::EMFILE), _) => (
            "there are not enough open files for an io_uring ring".to_owned(),
            "ulimit -n 1048576 (systemd: LimitNOFILE=1048576; docker: --ulimit nofile=1048576)".to_owned(),
        ),
        _ => (
            format!("io_uring does not work here: {error}"),
            "compare with a stock kernel of 6.1 or newer, outside a container".to_owned(),
        ),
    };
    Shortfall { what, mend }
}

fn open_files_shortfall((soft, hard): (u64, u64), need: u64) -> Option<Shortfall> {
    (soft < need).then(|| Shortfall {
        what: format!("{soft} open files are allowed (hard limit {hard}), {need} are needed: {} short", need - soft),
        mend: format!("ulimit -Hn {need} as root (systemd: LimitNOFILE={need}; docker: --ulimit nofile={need})"),
    })
}

fn memlock_shortfall(have_bytes: u64, need_bytes: u64) -> Option<Shortfall> {
    let (have, need) = (have_bytes / 1024, need_bytes.div_ceil(1024));
    (have_bytes < need_bytes).then(|| Shortfall {
        what: format!("{have} KiB of memory may be locked, {need} KiB are needed: {} KiB short", need - have),
        mend: format!(
            "ulimit -l {need} as root (systemd: LimitMEMLOCK={need}K; docker: --ulimit memlock={need_bytes})"
        ),
    })
}

/// A ring as the plane sets it up, with a table and the operations it uses.
fn try_ring() -> io::Result<()> {
    let ring: IoUring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().build(8)?;
    ring.submitter().register_files_sparse(1)?;
    let mut operations = io_uring::Probe::new();
    ring.submitter().register_probe(&mut operations)?;
    let needed = [
        opcode::Accept::CODE,
        opcode::RecvMulti::CODE,
        opcode::RecvMsgMulti::CODE,
        opcode::SendMsg::CODE,
        opcode::MsgRingSendFd::CODE,
    ];
    if needed.iter().all(|&code| operations.is_supported(code)) {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
    }
}

fn sysctl_io_uring_disabled() -> Option<String> {
    let value = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    Some(value.trim().to_owned())
}

/// The running kernel's.
pub fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    parse_release(&release)
}

/// "6.18.44-fc" is (6, 18); what cannot be read is (0, 0), too old.
fn parse_release(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Raises a soft limit to its hard one. Returns both.
fn raise(resource: Resource) -> (u64, u64) {
    let hard = getrlimit(resource).maximum;
    // A refusal leaves the limit as it was, which is read again below.
    let _ = setrlimit(resource, Rlimit { current: hard, maximum: hard });
    limit(resource)
}

/// Soft and hard limit; `u64::MAX` where there is none.
fn limit(resource: Resource) -> (u64, u64) {
    let limit = getrlimit(resource);
    (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX))
}

/// Whether the process has `CAP_IPC_LOCK`, to which the limit on locked memory does not apply.
pub fn may_lock_memory() -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|caps| caps >> CAP_IPC_LOCK & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Needs = Needs { open_files: 0, memlock_bytes: 0, memlock_always_bytes: 0 };

    #[test]
    fn this_machine_is_good_enough_and_its_soft_limit_is_raised() {
        assert_eq!(probe(Needs { open_files: 64, ..NOTHING }), Ok(()), "tests run where the broker runs");
        let (soft, hard) = open_files_limit();
        assert_eq!(soft, hard);
    }

    #[test]
    fn too_few_descriptors_are_counted_and_the_command_is_given() {
        let shortfalls = probe(Needs { open_files: u64::MAX, ..NOTHING }).unwrap_err();
        let line = shortfalls[0].to_string();
        assert!(line.contains("short") && line.contains("LimitNOFILE=") && !line.contains('\n'), "{line}");
        assert_eq!(
            open_files_shortfall((1024, 4096), 10_000).unwrap().what,
            "1024 open files are allowed (hard limit 4096), 10000 are needed: 8976 short"
        );
        assert_eq!(open_files_shortfall((10_000, 10_000), 10_000), None);
    }

    #[test]
    fn locked_memory_is_compared_in_bytes_and_told_in_kib() {
        let line = memlock_shortfall(65_536, 8 * 1024 * 1024).unwrap().to_string();
        assert!(
            line.contains("64 KiB") && line.contains("8128 KiB short") && line.contains("ulimit -l 8192"),
            "{line}"
        );
        assert_eq!(memlock_shortfall(u64::MAX, 1), None);
    }

    #[test]
    fn each_way_of_forbidding_io_uring_has_its_own_remedy() {
        let cases = [
            (libc::EPERM, Some("2"), "sysctl -w kernel.io_uring_disabled=0"),
            (libc::EPERM, Some("0"), "seccomp"),
            (libc::EPERM, None, "seccomp"),
            (libc::ENOSYS, None, "CONFIG_IO_URING"),
            (libc::ENOMEM, None, "LimitMEMLOCK"),
            (libc::EMFILE, None, "LimitNOFILE"),
            (libc::EINVAL, None, "stock kernel"),
        ];
        for (errno, disabled, remedy) in cases {
            let line = ring_shortfall(&io::Error::from_raw_os_error(errno), disabled).to_string();
            assert!(line.contains(remedy) && !line.contains('\n'), "{errno}: {line}");
        }
    }

    #[test]
    fn kernel_releases_are_read_up_to_their_minor_number() {
        let cases = [("6.18.44-fc-v595\n", (6, 18)), ("6.1.0", (6, 1)), ("5.15", (5, 15)), ("7", (7, 0)), ("", (0, 0))];
        for (release, version) in cases {
            assert_eq!(parse_release(release), version, "{release}");
        }
        assert!(kernel_shortfall((5, 15)).to_string().contains("5.15 is too old, 6.1 is needed"));
    }
}
