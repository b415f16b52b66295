//! What the process needs of the machine.

use super::shard_threads::GLOMMIO_IO_BYTES;
use crate::config::Config;
use crate::limits;
use crate::ring::probe::Needs;

/// Transparent huge pages turn every corner of the heap that is touched into 2 MiB: at 15,000 clients that was half of
/// the resident memory. See docs/measurements, "Where the bytes go".
pub(super) fn refuse_huge_pages() {
    // SAFETY: sets a flag of this process; no pointers are passed.
    let result = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    debug_assert_eq!(result, 0, "every kernel that the probe admits knows the flag");
}

/// What the process cannot start without. Sockets are not in it: rings are added as connections come, and a table that
/// is full turns connections away and says so.
pub(super) fn needs(config: &Config) -> Needs {
    let shards = config.settings.shards as u64;
    Needs {
        open_files: OPEN_FILES_BASE + shards * OPEN_FILES_PER_SHARD,
        memlock_bytes: MEMLOCK_BASE_BYTES + shards * 3 * GLOMMIO_IO_BYTES as u64,
        memlock_always_bytes: MEMLOCK_BASE_BYTES,
    }
}

/// What a low limit on open files will lead to one day, if it is too low for the connections that are allowed.
pub(super) fn descriptor_warning(config: &Config, open_files: u64) -> Option<String> {
    let (shards, rings) = (config.settings.shards as u64, limits::RINGS_MAX as u64);
    let connections_max = u64::from(config.process.connections_max);
    let room_of_ring = |open_files: u64| open_files.min(limits::RING_DESCRIPTORS_MAX.into());
    let room = shards * rings * room_of_ring(open_files);
    let needed = connections_max.div_ceil(shards * rings);
    let taken = if shards == 1 { "1 shard takes".to_owned() } else { format!("{shards} shards take") };
    (room < connections_max).then(|| {
        format!(
            "{open_files} open files are allowed, with which {taken} {room} connections together; [node] \
             max_connections (--max-connections) allows {connections_max}, and those beyond the {room} would hear nothing; to \
             mend it: ulimit -n {needed} (systemd: LimitNOFILE={needed}; docker: --ulimit nofile={needed}), or allow fewer"
        )
    })
}

/// Standard streams, log, listeners, signal pipe.
const OPEN_FILES_BASE: u64 = 64;

/// glommio's three rings and its eventfds, the plane's rings and eventfd, and a slot in each ring's table for a start.
const OPEN_FILES_PER_SHARD: u64 = 32;

/// What glommio insists on before it makes an executor.
const MEMLOCK_BASE_BYTES: u64 = 512 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_refused_for_the_whole_process() {
        refuse_huge_pages();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let enabled = status.lines().find_map(|line| line.strip_prefix("THP_enabled:")).map(str::trim);
        assert_eq!(enabled, Some("0"));
    }
}
