//! What the system says of this process, and of the disk that it writes to.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::config::memory::memory_max_bytes;

/// Figures of the process, as far as the system tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ProcessFigures {
    /// User and system time since the start, in seconds.
    pub(super) cpu_s: Option<f64>,
    /// Memory that is in RAM.
    pub(super) resident_bytes: Option<u64>,
    /// Address space.
    pub(super) virtual_bytes: Option<u64>,
    /// RAM that it may take.
    pub(super) memory_max_bytes: Option<u64>,
    /// Pages that it had to wait for the disk for.
    pub(super) major_faults: Option<u64>,
    /// Descriptors that are open.
    pub(super) open_files: Option<u64>,
    /// Descriptors that may be.
    pub(super) open_files_max: Option<u64>,
    /// Of shards, and of all that runs beside them.
    pub(super) threads: Option<u64>,
    /// When it started, in seconds since 1970.
    pub(super) started_s: Option<f64>,
}

impl ProcessFigures {
    /// As of now.
    pub(super) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let system = fs::read_to_string("/proc/stat").unwrap_or_default();
        let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        Self {
            open_files: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
            open_files_max: limits.current,
            memory_max_bytes: memory_max_bytes(),
            ..Self::parse(&stat, &system, rustix::param::page_size() as u64, rustix::param::clock_ticks_per_second())
        }
    }

    /// From the texts of `/proc/self/stat` and `/proc/stat`.
    #[expect(clippy::cast_precision_loss, reason = "seconds with a fraction")]
    fn parse(stat: &str, system: &str, page_bytes: u64, ticks_per_s: u64) -> Self {
        // The name of the program may hold anything, blanks and parentheses too.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        // Numbered as in proc_pid_stat(5), where the state is field 3.
        let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
        let seconds = |ticks: u64| ticks as f64 / ticks_per_s as f64;
        let boot_s = system.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok());
        Self {
            cpu_s: field(14).zip(field(15)).map(|(user, system)| seconds(user + system)),
            threads: field(20),
            started_s: field(22).zip(boot_s).map(|(ticks, boot_s)| boot_s as f64 + seconds(ticks)),
            major_faults: field(12),
            virtual_bytes: field(23),
            resident_bytes: field(24).map(|pages| pages * page_bytes),
            memory_max_bytes: None,
            open_files: None,
            open_files_max: None,
        }
    }
}

/// The file system of the data directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DiskFigures {
    /// What this user may still write.
    pub(super) available_bytes: Option<u64>,
    /// What it has in all.
    pub(super) size_bytes: Option<u64>,
}

/// Asks for them. A disk that hangs holds one thread, however often somebody asks.
#[derive(Debug, Default)]
pub(super) struct DiskReader(Arc<Mutex<()>>);

/// How long a disk may take to say how full it is.
const DISK_PATIENCE: Duration = Duration::from_millis(500);

impl DiskReader {
    /// The figures, as far as they come in time.
    pub(super) fn read(&self, path: PathBuf) -> impl Future<Output = DiskFigures> + use<> {
        let asked = Arc::clone(&self.0).try_lock_owned().ok().map(|asked| {
            tokio::task::spawn_blocking(move || {
                let figures = DiskFigures::of(&path);
                drop(asked);
                figures
            })
        });
        async move {
            let Some(asked) = asked else { return DiskFigures::default() };
            timeout(DISK_PATIENCE, asked).await.ok().and_then(Result::ok).unwrap_or_default()
        }
    }
}

impl DiskFigures {
    fn of(path: &Path) -> Self {
        let Ok(found) = rustix::fs::statvfs(path) else { return Self::default() };
        let bytes = |blocks: u64| Some(blocks.saturating_mul(found.f_frsize));
        Self { available_bytes: bytes(found.f_bavail), size_bytes: bytes(found.f_blocks) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_whatever_the_program_is_called() {
        let stat =
            "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 5 0 3000 1000000 256 18446744073709551615";
        let figures = ProcessFigures::parse(stat, "cpu 1 2\nbtime 1700000000\n", 4096, 100);
        let expected = ProcessFigures {
            cpu_s: Some(3.0),
            resident_bytes: Some(256 * 4096),
            virtual_bytes: Some(1_000_000),
            major_faults: Some(0),
            threads: Some(5),
            started_s: Some(1_700_000_030.0),
            ..ProcessFigures::default()
        };
        assert_eq!(figures, expected);
        assert_eq!(ProcessFigures::parse("", "", 4096, 100), ProcessFigures::default());
    }

    #[test]
    fn this_process_has_figures() {
        let figures = ProcessFigures::read();
        assert!(figures.resident_bytes.is_some_and(|bytes| bytes > 1 << 20), "{figures:?}");
        assert!(figures.open_files > Some(2) && figures.open_files_max >= figures.open_files, "{figures:?}");
        assert!(figures.threads >= Some(1) && figures.cpu_s.is_some(), "{figures:?}");
        assert!(figures.memory_max_bytes > figures.resident_bytes, "{figures:?}");
    }

    #[tokio::test]
    async fn a_disk_is_asked_by_one_at_a_time() {
        let disk = DiskReader::default();
        let root = PathBuf::from("/");
        let figures = disk.read(root.clone()).await;
        assert!(figures.size_bytes > Some(1 << 20) && figures.available_bytes <= figures.size_bytes, "{figures:?}");
        let hangs = Arc::clone(&disk.0).try_lock_owned().expect("nobody else asks");
        assert_eq!(disk.read(root.clone()).await, DiskFigures::default());
        drop(hangs);
        assert_eq!(disk.read(root.join("nowhere")).await, DiskFigures::default());
    }
}
