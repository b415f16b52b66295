//! How much memory this process may take.

use std::fs;
use std::path::Path;

/// The least of what the machine has and what each of the process's control groups allows.
pub(crate) fn memory_max_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // Within a container the group's path is that of the host: what is not there is not asked.
    let folders = Path::new("/sys/fs/cgroup").join(own);
    let folders = folders.ancestors().take_while(|folder| folder.starts_with("/sys/fs/cgroup"));
    let limits = folders.filter_map(|folder| fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok());
    limits.chain(ram_bytes(&machine)).min()
}

/// From the text of `/proc/meminfo`.
fn ram_bytes(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_how_much_it_has() {
        assert_eq!(ram_bytes("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
        assert_eq!(ram_bytes("MemFree: 1 kB\n"), None);
        assert!(memory_max_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
