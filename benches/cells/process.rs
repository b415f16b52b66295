//! What the kernel says about a broker's process.

/// A process by its number.
pub(super) struct Process(pub(super) u32);

impl Process {
    /// CPU time of all threads, in the scheduler's own nanoseconds (the clock ticks of `stat` are too coarse).
    pub(super) fn cpu_ns(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0)).expect("the process is there");
        let on_cpu = |task: std::fs::DirEntry| {
            // A thread may end between being listed and being read.
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        tasks.flatten().filter_map(on_cpu).sum()
    }

    /// Resident memory.
    pub(super) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has a VmRSS");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kibibytes * 1024
    }
}
