//! What a broker takes of the machine: CPU time, resident memory and, where it is asked for, wake-ups of all its threads and
//! processes, sampled while it is under load.
//!
//! CPU time comes from the kernel's per-process clocks, which count nanoseconds and keep what threads took that have
//! ended. The samples carry the wall clock, so that the load generator's stages can be laid over them afterwards; between
//! two samples the time is interpolated.

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time from one sample to the next: short beside a round, long beside what a sample costs (some 20 us).
const INTERVAL: Duration = Duration::from_millis(25);

/// What a process and its descendants took until a moment, and hold in it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Milliseconds since 1970.
    pub unix_ms: f64,
    /// CPU time until then.
    pub cpu_s: f64,
    /// Resident then.
    pub rss_bytes: f64,
    /// Times that a thread went to sleep until then, which is as often as one was woken; zero where nobody looked.
    pub wakes: f64,
    /// Bytes that went to disks until then; zero where nobody looked.
    pub written_bytes: f64,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// CPU time and memory.
    Process,
    /// Wake-ups as well: a file for every thread.
    Threads,
    /// What went to disks as well: a file for every process.
    Disk,
}

/// All samples of a broker, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage(pub Vec<Sample>);

impl Usage {
    /// Broker CPU seconds between two moments; `None` where the samples do not cover them.
    pub(crate) fn cpu_s_between(&self, from_unix_ms: f64, to_unix_ms: f64) -> Option<f64> {
        Some(self.at(to_unix_ms)?.cpu_s - self.at(from_unix_ms)?.cpu_s)
    }

    /// Wake-ups of all its threads between two moments.
    pub(crate) fn wakes_between(&self, from_unix_ms: f64, to_unix_ms: f64) -> Option<f64> {
        Some(self.at(to_unix_ms)?.wakes - self.at(from_unix_ms)?.wakes)
    }

    /// Bytes that it had written to disks between two moments, as the kernel charges them to whoever caused them.
    pub(crate) fn written_bytes_between(&self, from_unix_ms: f64, to_unix_ms: f64) -> Option<f64> {
        Some(self.at(to_unix_ms)?.written_bytes - self.at(from_unix_ms)?.written_bytes)
    }

    /// Resident bytes in a moment.
    pub(crate) fn rss_bytes_at(&self, unix_ms: f64) -> Option<f64> {
        Some(self.at(unix_ms)?.rss_bytes)
    }

    fn at(&self, unix_ms: f64) -> Option<Sample> {
        let after = self.0.partition_point(|sample| sample.unix_ms < unix_ms);
        let later = self.0.get(after)?;
        let Some(earlier) = after.checked_sub(1).map(|before| self.0[before]) else {
            return (later.unix_ms <= unix_ms).then_some(*later);
        };
        let share = (unix_ms - earlier.unix_ms) / (later.unix_ms - earlier.unix_ms);
        let between = |from: f64, to: f64| from + (to - from) * share;
        Some(Sample {
            unix_ms,
            cpu_s: between(earlier.cpu_s, later.cpu_s),
            rss_bytes: between(earlier.rss_bytes, later.rss_bytes),
            wakes: between(earlier.wakes, later.wakes),
            written_bytes: between(earlier.written_bytes, later.written_bytes),
        })
    }
}

/// A thread that takes samples until it is told to stop.
pub(crate) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Usage>,
}

impl Sampler {
    /// Begins at once.
    pub(crate) fn start(pid: u32, detail: Detail) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut samples = Vec::new();
            while !stopped.load(Relaxed) {
                samples.extend(sample(pid, detail));
                std::thread::sleep(INTERVAL);
            }
            samples.extend(sample(pid, detail));
            Usage(samples)
        });
        Self { stop, thread }
    }

    /// All that was seen.
    pub(crate) fn finish(self) -> Usage {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// One look at a process and its descendants; `None` when it is gone.
pub(crate) fn sample(pid: u32, detail: Detail) -> Option<Sample> {
    let mut total = Sample { unix_ms: unix_ms(), ..Sample::default() };
    let mut found = false;
    for pid in descendants(pid) {
        if let Some((cpu_s, rss_bytes)) = one_process(pid) {
            (total.cpu_s, total.rss_bytes, found) = (total.cpu_s + cpu_s, total.rss_bytes + rss_bytes, true);
            match detail {
                Detail::Process => {}
                Detail::Threads => total.wakes += wakes(pid),
                Detail::Disk => total.written_bytes += written_bytes(pid),
            }
        }
    }
    found.then_some(total)
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1e3)
}

fn one_process(pid: u32) -> Option<(f64, f64)> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid).ok()?)).ok()?;
    let cpu = Duration::from(clock_gettime(clock).ok()?).as_secs_f64();
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let resident_pages: f64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some((cpu, resident_pages * page_bytes()))
}

/// How often the threads of a process have given up their core because they had nothing to do.
fn wakes(pid: u32) -> f64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0.0 };
    let of_one = |thread: std::fs::DirEntry| {
        let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<f64>().ok()
    };
    threads.flatten().filter_map(of_one).sum()
}

/// What a process has sent to disks: what it wrote past the page cache, and the pages of files that it made dirty.
fn written_bytes(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

/// The process itself, its children, theirs, and so on.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(&pid) = all.get(at) {
        at += 1;
        let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    all
}

fn page_bytes() -> f64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().map_or(4096.0, |bytes| bytes as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_samples_the_time_is_interpolated_and_outside_nothing_is_claimed() {
        let sample = |unix_ms, cpu_s, rss_bytes| Sample {
            unix_ms,
            cpu_s,
            rss_bytes,
            wakes: cpu_s * 10.0,
            written_bytes: cpu_s * 4096.0,
        };
        let usage = Usage(vec![sample(100.0, 1.0, 10.0), sample(200.0, 2.0, 30.0), sample(300.0, 5.0, 30.0)]);
        assert_eq!(usage.cpu_s_between(100.0, 300.0), Some(4.0));
        assert_eq!(usage.cpu_s_between(150.0, 250.0), Some(2.0));
        assert_eq!(usage.rss_bytes_at(150.0), Some(20.0));
        assert_eq!(usage.wakes_between(100.0, 200.0), Some(10.0));
        assert_eq!(usage.written_bytes_between(150.0, 250.0), Some(8192.0));
        assert_eq!(usage.cpu_s_between(99.0, 200.0), None);
        assert_eq!(usage.cpu_s_between(100.0, 301.0), None);
    }

    #[test]
    fn a_thread_that_sleeps_and_wakes_is_seen_to() {
        let mut child = std::process::Command::new("python3")
            .args(["-c", "import time\nwhile True: time.sleep(0.001)"])
            .spawn()
            .expect("Python");
        let begin = std::time::Instant::now();
        let look = |detail| super::sample(child.id(), detail).expect("it lives").wakes;
        while look(Detail::Threads) < 50.0 && begin.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let (seen, unseen) = (look(Detail::Threads), look(Detail::Process));
        child.kill().expect("it lives");
        child.wait().expect("it ends");
        assert!(seen >= 50.0, "{seen}");
        assert_eq!(unseen, 0.0, "nobody looked");
    }

    #[test]
    fn what_goes_to_a_disk_is_seen_where_somebody_looks() {
        // Beside the built test: on a disk, where a temporary directory may be memory.
        let built = std::env::current_exe().expect("a test");
        let file = built.with_extension(format!("written-{}", std::process::id()));
        let look = |detail| super::sample(std::process::id(), detail).expect("it lives").written_bytes;
        let before = look(Detail::Disk);
        std::fs::write(&file, vec![1; 1 << 20]).expect("written");
        let after = look(Detail::Disk);
        std::fs::remove_file(&file).expect("ours");
        assert!(after - before >= f64::from(1 << 20), "{before} {after}");
        assert_eq!(look(Detail::Process), 0.0, "nobody looked");
    }

    #[test]
    fn the_work_of_a_child_counts() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sh -c 'while :; do :; done' & wait"])
            .spawn()
            .expect("a shell");
        let begin = std::time::Instant::now();
        let mut cpu_s = 0.0;
        while cpu_s < 0.05 && begin.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(5));
            cpu_s = super::sample(child.id(), Detail::Process).map_or(0.0, |sample| sample.cpu_s);
        }
        let family = descendants(child.id());
        for pid in family.iter().rev() {
            let _ = nix::sys::signal::kill(Pid::from_raw(*pid as i32), nix::sys::signal::Signal::SIGKILL);
        }
        child.wait().expect("it ends");
        assert_eq!(family.len(), 2, "the shell and its child");
        assert!(cpu_s >= 0.05, "{cpu_s} s: the child's work was not seen");
    }
}
