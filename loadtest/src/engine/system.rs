//! What this process takes, as the kernel counts it. Whatever cannot be read counts as zero.

use std::fs::read_to_string;

/// Ticks of `/proc/self/stat` in a second: fixed for user space on every Linux.
const TICKS_PER_S: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

/// CPU time of the calling thread in nanoseconds.
pub(super) fn thread_cpu_ns() -> u64 {
    let text = read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0)
}

/// CPU time of the process: user and system, in seconds.
pub(super) fn process_cpu_s() -> (f64, f64) {
    let text = read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold anything; what counts comes after the last of them.
    let rest = text.rsplit(')').next().unwrap_or_default();
    let field = |at: usize| rest.split_whitespace().nth(at).and_then(|one| one.parse::<f64>().ok()).unwrap_or(0.0);
    (field(11) / TICKS_PER_S, field(12) / TICKS_PER_S)
}

/// Resident memory of the process.
pub(super) fn rss_bytes() -> u64 {
    let text = read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|one| one.parse::<u64>().ok()).unwrap_or(0) * PAGE_BYTES
}

/// Lets the calling thread's timers fire on time instead of up to 50 us late. Does nothing where that is not allowed.
pub(super) fn sharpen_timers() {
    if let Ok(link) = std::fs::read_link("/proc/thread-self")
        && let Some(tid) = link.file_name().and_then(|name| name.to_str())
    {
        let _ = std::fs::write(format!("/proc/{tid}/timerslack_ns"), "1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_sees_itself() {
        let before = thread_cpu_ns();
        let mut sum = 0_u64;
        while thread_cpu_ns() - before < 30_000_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let (user, system) = process_cpu_s();
        assert!(user + system > 0.0 && rss_bytes() > 1 << 20);
    }
}
