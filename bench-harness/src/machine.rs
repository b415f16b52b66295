//! The machine that something was measured on, as far as it bears on the figures.

use crate::noise;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(2);

/// What a figure depends on besides the programs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// As the processor calls itself.
    pub cpu: String,
    /// Logical cores.
    pub cores: usize,
    /// Physical memory.
    pub memory_gib: u64,
    /// Kernel release.
    pub kernel: String,
    /// Distribution.
    pub system: String,
    /// Open files of a process.
    pub open_files_max: u64,
    /// Other work at the time: the load average of the last minute when measuring began, how the cores were held up, and a
    /// remark.
    pub noise: String,
}

impl Machine {
    /// This one, now. Watches its cores for two seconds.
    pub(crate) fn here(remark: &str) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, key: &str, separator: char| {
            let line = text.lines().find(|line| line.starts_with(key))?.split_once(separator)?.1;
            Some(line.trim().trim_matches('"').to_owned())
        };
        let memory_kib = field(&read("/proc/meminfo"), "MemTotal", ':')
            .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
            .unwrap_or_default();
        let load = read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned();
        let remark = if remark.is_empty() { String::new() } else { format!("; {remark}") };
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name", ':').unwrap_or_default(),
            cores: cores(),
            memory_gib: memory_kib.div_ceil(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: field(&read("/etc/os-release"), "PRETTY_NAME", '=').unwrap_or_default(),
            open_files_max: nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
                .map_or(0, |(_, hard)| hard),
            noise: format!("load average {load} when measuring began; {}{remark}", noise::watch(cores(), WATCHED)),
        }
    }
}

/// Logical cores of the machine, whichever of them this process may use: `scripts/bench` keeps it to the generator's.
pub(crate) fn cores() -> usize {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("processor")).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_those_of_the_machine_not_those_of_the_process() {
        let allowed = std::thread::available_parallelism().unwrap().get();
        let whole = cores();
        assert!(whole >= allowed, "{whole} cores, {allowed} of them allowed");
        let own = nix::unistd::Pid::from_raw(0);
        let before = nix::sched::sched_getaffinity(own).unwrap();
        let mut one = nix::sched::CpuSet::new();
        let first = (0..nix::sched::CpuSet::count()).find(|&core| before.is_set(core).unwrap()).unwrap();
        one.set(first).unwrap();
        // Of this thread alone, which ends with the test.
        nix::sched::sched_setaffinity(own, &one).unwrap();
        assert_eq!(cores(), whole);
    }
}
