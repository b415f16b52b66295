//! Reads what the doctor judges: `/proc`, `/sys`, the data directory, certificates, ports.
//!
//! Always holds: what cannot be read is left out, and nothing is changed: the file that is written to measure the disk is removed.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::facts::{CertificateFacts, DiskFacts, DiskFault, MachineFacts, PortFacts, PortState};
use super::owner;
use crate::config::{Config, ListenAddress, Storage};
use crate::ring::probe;

/// Everything about this machine, and about a broker with this configuration on it.
pub(super) fn read(config: Option<&Config>) -> MachineFacts {
    let fault = probe::try_io_uring().err();
    let mut facts = MachineFacts {
        kernel: probe::kernel_version(),
        ring_fault: fault.map(|shortfall| (shortfall.what, shortfall.mend)),
        io_uring_disabled: number("/proc/sys/kernel/io_uring_disabled"),
        open_files: probe::open_files_limit().1,
        nr_open: number("/proc/sys/fs/nr_open"),
        file_max: number("/proc/sys/fs/file-max"),
        memlock_bytes: probe::memlock_limit().1,
        may_lock: probe::may_lock_memory(),
        somaxconn: number("/proc/sys/net/core/somaxconn"),
        syn_backlog: number("/proc/sys/net/ipv4/tcp_max_syn_backlog"),
        port_range: port_range(),
        reserved_ports: text("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default(),
        conntrack: number("/proc/sys/net/netfilter/nf_conntrack_count")
            .zip(number("/proc/sys/net/netfilter/nf_conntrack_max")),
        tcp_mem_pages: tcp_mem(),
        memory_max_bytes: number("/sys/fs/cgroup/memory.max"),
        huge_pages: text("/sys/kernel/mm/transparent_hugepage/enabled").and_then(|text| bracketed(&text)),
        overcommit: number("/proc/sys/vm/overcommit_memory"),
        clock_is_synchronized: super::super::clock::is_synchronized(),
        governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        ..MachineFacts::default()
    };
    read_memory(&mut facts);
    if let Some(config) = config {
        facts.certificates = certificates(config);
        facts.ports = ports(config);
        if config.store.storage == Storage::Disk {
            facts.disk = Some(disk(&config.store.data_dir));
        }
    }
    facts
}

fn text(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number(path: &str) -> Option<u64> {
    text(path)?.parse().ok()
}

fn port_range() -> Option<(u16, u16)> {
    let text = text("/proc/sys/net/ipv4/ip_local_port_range")?;
    let mut words = text.split_whitespace().map(str::parse);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

fn tcp_mem() -> Option<[u64; 3]> {
    let text = text("/proc/sys/net/ipv4/tcp_mem")?;
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().ok()
}

/// The choice that stands in brackets among the others.
fn bracketed(text: &str) -> Option<String> {
    Some(text.split('[').nth(1)?.split(']').next()?.to_owned())
}

fn read_memory(facts: &mut MachineFacts) {
    let Some(text) = text("/proc/meminfo") else { return };
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
    };
    facts.memory_bytes = bytes("MemTotal").zip(bytes("MemAvailable"));
    let swap = bytes("SwapTotal").zip(bytes("SwapFree"));
    facts.swap_bytes = swap.map(|(total, free)| (total, total.saturating_sub(free)));
}

fn certificates(config: &Config) -> Vec<CertificateFacts> {
    let of_listeners = config.listeners.iter().flat_map(|listener| listener.settings.tls_certificates.iter());
    let of_listeners = of_listeners.filter(|path| *path != "none").map(PathBuf::from);
    let of_admin = config.admin.admin_tls_cert.path().map(Path::to_owned);
    let mut paths: Vec<PathBuf> = of_listeners.chain(of_admin).collect();
    paths.sort_unstable();
    paths.dedup();
    let facts = |path: PathBuf| CertificateFacts { path: path.display().to_string(), days_left: days_left(&path) };
    paths.into_iter().map(facts).collect()
}

fn days_left(path: &Path) -> Result<i64, String> {
    const DAY_S: i64 = 24 * 60 * 60;
    let text = fs::read(path).map_err(|error| error.to_string())?;
    let first = CertificateDer::from_pem_slice(&text).map_err(|error| error.to_string())?;
    let (_, certificate) = X509Certificate::from_der(&first).map_err(|error| error.to_string())?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
    Ok((certificate.validity().not_after.timestamp() - now_s).div_euclid(DAY_S))
}

fn ports(config: &Config) -> Vec<PortFacts> {
    let of_listeners = config.listeners.iter().filter_map(|listener| match listener.address {
        ListenAddress::Ip(address) => Some((address, listener.settings.kind.has_datagrams())),
        ListenAddress::Unix(_) => None,
    });
    let of_admin = config.admin_address().map(|address| (address, false));
    let addresses = of_listeners.chain(of_admin).filter(|(address, _)| address.port() != 0);
    let facts = |(address, has_datagrams): (SocketAddr, bool)| PortFacts {
        address: address.to_string(),
        has_datagrams,
        state: port_state(address, has_datagrams),
    };
    addresses.map(facts).collect()
}

fn port_state(address: SocketAddr, has_datagrams: bool) -> PortState {
    let bound = if has_datagrams { UdpSocket::bind(address).map(drop) } else { TcpListener::bind(address).map(drop) };
    match bound {
        Ok(()) => PortState::Free,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            PortState::Taken { by: owner::of_port(address.port(), has_datagrams) }
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => PortState::Forbidden,
        Err(error) => PortState::Other(error.to_string()),
    }
}

/// The file system that a directory lies on, or will.
fn disk(directory: &Path) -> DiskFacts {
    if directory.as_os_str().is_empty() {
        return DiskFacts { fault: Some(DiskFault::Nowhere), ..DiskFacts::default() };
    }
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    // The nearest that is there, whatever it is: a link that leads nowhere is in the way as well.
    let nearest = directory.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(Path::new("/"));
    let there = fs::canonicalize(nearest).unwrap_or_else(|_| nearest.to_owned());
    let mut facts = DiskFacts {
        path: directory.display().to_string(),
        is_made: nearest == directory,
        file_system: file_system_of(&there, &text("/proc/self/mounts").unwrap_or_default()),
        free_bytes: rustix::fs::statvfs(&there).map_or(0, |stat| stat.f_bavail * stat.f_frsize),
        ..DiskFacts::default()
    };
    if !there.is_dir() {
        facts.fault = Some(DiskFault::InTheWay(in_the_way(&directory)));
        return facts;
    }
    if keeps_nothing(&facts.file_system) {
        facts.fault = Some(DiskFault::KernelTables);
        return facts;
    }
    facts.used_bytes = if facts.is_made { bytes_below(&there) } else { 0 };
    match measure_sync(&there) {
        Ok(times) => facts.sync_us = Some(times),
        Err(error) if is_refused(&error) => {
            let directory = there.display().to_string();
            facts.fault = Some(DiskFault::Forbidden { directory, error: error.to_string() });
        }
        Err(error) => facts.sync_fault = Some(format!("{} cannot be written to: {error}", there.display())),
    }
    facts
}

/// The part of a path that should be a directory and is none.
fn in_the_way(directory: &Path) -> String {
    let mut parts: Vec<&Path> = directory.ancestors().collect();
    parts.reverse();
    let odd = parts.into_iter().find(|path| path.symlink_metadata().is_ok() && !path.is_dir());
    odd.unwrap_or(directory).display().to_string()
}

/// Kinds of file systems that show the kernel's own state.
fn keeps_nothing(file_system: &str) -> bool {
    matches!(
        file_system,
        "proc"
            | "sysfs"
            | "devpts"
            | "mqueue"
            | "securityfs"
            | "debugfs"
            | "tracefs"
            | "configfs"
            | "bpf"
            | "pstore"
            | "autofs"
    ) || file_system.starts_with("cgroup")
}

/// Whether no broker of this user can write there, rather than one at another time.
fn is_refused(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotFound
    )
}

/// The kind of the mount that is nearest above a path.
fn file_system_of(path: &Path, mounts: &str) -> String {
    let of_line = |line: &str| {
        let mut words = line.split(' ');
        let (place, kind) = (words.nth(1)?.replace("\\040", " "), words.next()?.to_owned());
        path.starts_with(&place).then_some((place.len(), kind))
    };
    // Of two at one place the later one hides the other.
    let nearest = mounts.lines().filter_map(of_line).max_by_key(|(length, _)| *length);
    nearest.map_or_else(|| "an unknown file system".to_owned(), |(_, kind)| kind)
}

fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let bytes_of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(bytes_of).sum()
}

/// Writes of 4 KiB that are made durable one by one: microseconds in the median and at worst. The file is removed.
fn measure_sync(directory: &Path) -> io::Result<(u64, u64)> {
    const WRITES: usize = 64;
    const LONG_ENOUGH: Duration = Duration::from_secs(3);
    let path = directory.join(format!(".dunlin-doctor-{}", std::process::id()));
    let mut file = File::create_new(&path)?;
    let mut times = Vec::with_capacity(WRITES);
    let begun = Instant::now();
    let written = (|| {
        while times.len() < WRITES && begun.elapsed() < LONG_ENOUGH {
            let at = Instant::now();
            file.write_all(&[7; 4_096])?;
            file.sync_data()?;
            times.push(at.elapsed().as_micros() as u64);
        }
        Ok(())
    })();
    let removed = fs::remove_file(&path);
    written.and(removed)?;
    times.sort_unstable();
    let worst = times.last().copied().unwrap_or_default();
    Ok((times.get(times.len() / 2).copied().unwrap_or_default(), worst))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_is_the_one_that_counts() {
        let mounts = "/dev/sda1 / ext4 rw 0 0\ntmpfs /var tmpfs rw 0 0\n/dev/sdb /var/lib xfs rw 0 0\n/dev/sdc /a\\040b btrfs rw 0 0\n";
        for (path, kind) in
            [("/var/lib/dunlin", "xfs"), ("/var/library", "tmpfs"), ("/home", "ext4"), ("/a b/c", "btrfs")]
        {
            assert_eq!(file_system_of(Path::new(path), mounts), kind, "{path}");
        }
        assert_eq!(file_system_of(Path::new("/"), ""), "an unknown file system");
    }

    #[test]
    fn what_cannot_be_a_data_directory_has_a_fault() {
        let place = std::env::temp_dir().join(format!("dunlin-doctor-faults-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let file = place.join("file");
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("nowhere", place.join("link")).unwrap();
        let no_directory = |name: &str| Some(DiskFault::InTheWay(place.join(name).display().to_string()));
        assert_eq!(disk(Path::new("")).fault, Some(DiskFault::Nowhere));
        assert_eq!(disk(&file).fault, no_directory("file"));
        assert_eq!(disk(&file.join("below/it")).fault, no_directory("file"));
        assert_eq!(disk(&place.join("link")).fault, no_directory("link"));
        assert_eq!(disk(Path::new("/proc")).fault, Some(DiskFault::KernelTables));
        assert_eq!(disk(Path::new("/proc/self/data")).fault, Some(DiskFault::KernelTables));
        assert_eq!(disk(&place.join("data")).fault, None);
        fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn the_disk_is_measured_and_left_as_it_was() {
        let directory = std::env::temp_dir().join(format!("dunlin-doctor-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let facts = disk(&directory.join("to/be/made"));
        let (median, worst) = facts.sync_us.expect("it can be written to");
        assert!(median > 0 && worst >= median && facts.free_bytes > 0 && facts.used_bytes == 0, "{facts:?}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "nothing is left");
        fs::remove_dir(&directory).unwrap();
    }
}
