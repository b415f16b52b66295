//! What a process and the kernel spend: CPU, resident memory, slab, socket buffers.
//!
//! Owns: one reading at a time of this process, of a broker by PID or metrics address, and of the kernel. Always holds:
//! a reading takes microseconds (the exact but slow `smaps_rollup` is asked for by name), and none of it needs root.

use std::fs;

use serde::{Deserialize, Serialize};

use super::prometheus;

/// What one process has used so far and holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// CPU seconds, user and system, of all its threads since it began.
    pub cpu_s: f64,
    /// Resident memory.
    pub rss_bytes: u64,
}

/// What the kernel holds for everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Slab that cannot be given back: sockets, descriptors, timers.
    pub slab_bytes: u64,
    /// Slab that is a cache of files and their names; on socket-heavy machines the sockets' own inodes are here too.
    pub slab_cache_bytes: u64,
    /// Buffers of TCP sockets.
    pub tcp_buffer_bytes: u64,
    /// TCP sockets there are.
    pub tcp_sockets: u64,
    /// Memory that could be had without swapping.
    pub available_bytes: u64,
}

/// Where a broker's figures come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broker {
    /// A process of this machine.
    Pid(u32),
    /// Its own metrics, here or elsewhere.
    Metrics(prometheus::Address),
}

impl Broker {
    /// What the broker spends, if it can be asked.
    pub fn sample(&self) -> Option<Process> {
        match self {
            Self::Pid(pid) => process(&pid.to_string()),
            Self::Metrics(address) => {
                let page = address.fetch().ok()?;
                Some(Process {
                    cpu_s: prometheus::sum(&page, "process_cpu_seconds_total")?,
                    rss_bytes: prometheus::sum(&page, "process_resident_memory_bytes")? as u64,
                })
            }
        }
    }

    /// Resident memory to the page, which the kernel counts by walking it: once at the end, not every second.
    pub fn exact_rss_bytes(&self) -> Option<u64> {
        match self {
            Self::Pid(pid) => exact_rss_bytes(&pid.to_string()),
            Self::Metrics(_) => self.sample().map(|process| process.rss_bytes),
        }
    }
}

/// A process (`self` or a PID).
pub fn process(process: &str) -> Option<Process> {
    Some(Process { cpu_s: cpu_s(process)?, rss_bytes: kilobytes(&proc_file(process, "status")?, "VmRSS:")? })
}

/// CPU seconds of a process and its threads, those that ended included. The kernel scales the ticks of `stat` to the time
/// that the scheduler accounted exactly, so the sum is right to a tick however short the bursts are.
pub fn cpu_s(process: &str) -> Option<f64> {
    let stat = proc_file(process, "stat")?;
    // The name stands in parentheses and may hold anything; fields count from 3 behind the last one.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // Linux counts these in hundredths of a second for user space on every architecture, whatever its own HZ is.
    Some(ticks as f64 / 100.0)
}

/// Resident memory of a process to the page.
pub fn exact_rss_bytes(process: &str) -> Option<u64> {
    kilobytes(&proc_file(process, "smaps_rollup")?, "Rss:")
}

/// What the kernel holds now.
pub fn kernel() -> Option<Kernel> {
    let info = meminfo()?;
    let sockets = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let (tcp_sockets, pages) = sockstat_tcp(&sockets).unwrap_or_default();
    Some(Kernel {
        slab_bytes: info.slab_bytes,
        slab_cache_bytes: info.slab_cache_bytes,
        tcp_buffer_bytes: pages * 4096,
        tcp_sockets,
        available_bytes: info.available_bytes,
    })
}

/// The rows of `/proc/meminfo` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meminfo {
    /// All memory.
    pub total_bytes: u64,
    /// Memory that could be had without swapping.
    pub available_bytes: u64,
    /// Slab that cannot be given back.
    pub slab_bytes: u64,
    /// Slab that could be given back.
    pub slab_cache_bytes: u64,
}

/// Reads `/proc/meminfo`.
pub fn meminfo() -> Option<Meminfo> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    Some(Meminfo {
        total_bytes: kilobytes(&text, "MemTotal:")?,
        available_bytes: kilobytes(&text, "MemAvailable:")?,
        slab_bytes: kilobytes(&text, "SUnreclaim:")?,
        slab_cache_bytes: kilobytes(&text, "SReclaimable:")?,
    })
}

fn proc_file(process: &str, file: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{process}/{file}")).ok()
}

/// The value of a row such as `VmRSS:   1234 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let row = text.lines().find_map(|row| row.strip_prefix(name))?;
    row.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// TCP sockets allocated, and pages in their buffers.
fn sockstat_tcp(text: &str) -> Option<(u64, u64)> {
    let row = text.lines().find_map(|row| row.strip_prefix("TCP:"))?;
    let words: Vec<&str> = row.split_whitespace().collect();
    let value = |name: &str| words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1)?.parse().ok());
    Some((value("alloc")?, value("mem")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_kernel_can_be_read() {
        let process = process("self").unwrap();
        assert!(process.rss_bytes > 100_000);
        let exact = exact_rss_bytes("self").unwrap();
        assert!(exact > 100_000 && exact < process.rss_bytes * 4);
        let kernel = kernel().unwrap();
        assert!(kernel.slab_bytes > 0 && kernel.available_bytes > 0);
    }

    #[test]
    fn work_shows_as_cpu_time() {
        let before = cpu_s("self").unwrap();
        let mut hash = 1u64;
        // Until the kernel has charged a tick: bounded by the work, not by a clock.
        for round in 0..4_000_000_000u64 {
            hash = hash.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(std::hint::black_box(round));
            if round % 10_000_000 == 0 && cpu_s("self").unwrap() > before {
                return;
            }
        }
        panic!("billions of multiplications took no time ({hash})");
    }

    #[test]
    fn a_process_that_is_not_there_gives_nothing() {
        assert_eq!(Broker::Pid(u32::MAX).sample(), None);
        assert_eq!(Broker::Pid(u32::MAX).exact_rss_bytes(), None);
    }

    #[test]
    fn rows_are_found_by_name() {
        let text = "Rss:               1234 kB\nRss_more: 1 kB\n";
        assert_eq!(kilobytes(text, "Rss:"), Some(1_263_616));
        assert_eq!(kilobytes(text, "Pss:"), None);
        let text = "sockets: used 36\nTCP: inuse 4 orphan 0 tw 1 alloc 7 mem 53\nUDP: inuse 0 mem 0\n";
        assert_eq!(sockstat_tcp(text), Some((7, 53)));
        assert_eq!(sockstat_tcp("sockets: used 36\n"), None);
    }
}
