//! What a number was measured on: kernel, processor, memory, the settings of the kernel that decide it, the command line.
//!
//! Every report carries this, because a figure without its machine can be compared with nothing.

use std::fs;

use crate::outcome::Machine;

/// The settings of the kernel that bound how many connections there can be, how fast they come, and what they cost.
pub const SYSCTLS: [&str; 12] = [
    "fs.file-max",
    "fs.nr_open",
    "kernel.io_uring_disabled",
    "net.core.rmem_default",
    "net.core.somaxconn",
    "net.core.wmem_default",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.netfilter.nf_conntrack_max",
];

/// What the kernel says of itself, its processor and its limits.
pub fn machine() -> Machine {
    let kernel = ["ostype", "osrelease", "version"];
    let kernel = kernel.into_iter().filter_map(|part| line(&format!("/proc/sys/kernel/{part}")));
    Machine {
        kernel: kernel.collect::<Vec<_>>().join(" "),
        cpu: cpu_model(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        cores: cpus_online() as u32,
        memory_bytes: super::sample::meminfo().map_or(0, |info| info.total_bytes),
        sysctls: SYSCTLS.iter().filter_map(|name| Some(((*name).to_owned(), sysctl(name)?))).collect(),
        open_files_max: open_files("self").unwrap_or_default().0,
    }
}

/// A command line as a shell would take it back.
pub fn command_line(arguments: &[String]) -> String {
    arguments.iter().map(|argument| quoted(argument)).collect::<Vec<_>>().join(" ")
}

/// A setting of the kernel, blanks between its parts made single.
pub fn sysctl(name: &str) -> Option<String> {
    let text = line(&format!("/proc/sys/{}", name.replace('.', "/")))?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Open files allowed to a process (`self` or a PID): soft and hard.
pub fn open_files(process: &str) -> Option<(u64, u64)> {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let row = limits.lines().find_map(|row| row.strip_prefix("Max open files"))?;
    let mut numbers = row.split_whitespace().map(|number| number.parse().unwrap_or(u64::MAX));
    Some((numbers.next()?, numbers.next()?))
}

fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn cpu_model(cpuinfo: &str) -> String {
    // Arm's kernel gives no model name; its implementer and part are better than nothing.
    let field = |name: &str| {
        cpuinfo.lines().find_map(|row| row.strip_prefix(name)?.trim_start().strip_prefix(':')).map(str::trim)
    };
    match (field("model name"), field("CPU implementer"), field("CPU part")) {
        (Some(model), ..) => model.to_owned(),
        (None, Some(implementer), Some(part)) => format!("implementer {implementer} part {part}"),
        _ => "unknown".to_owned(),
    }
}

fn cpus_online() -> usize {
    let online = line("/sys/devices/system/cpu/online").unwrap_or_default();
    let count: usize = online.split(',').filter_map(range_length).sum();
    if count > 0 { count } else { std::thread::available_parallelism().map_or(1, usize::from) }
}

/// How many processors `0-3` or `5` names.
fn range_length(range: &str) -> Option<usize> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    last.checked_sub(first).map(|more| more + 1)
}

/// An argument as a shell would take it back.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=%+@".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

/// Seconds since 1970 as a date and time (the days from a civil date, run backwards).
pub fn rfc3339(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Counted from 1 March of the year 0, so that a leap day is a year's last and needs no case of its own.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", time / 3_600, time / 60 % 60, time % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let machine = machine();
        assert!(machine.kernel.starts_with("Linux "), "{}", machine.kernel);
        assert!(machine.cores >= 1 && machine.memory_bytes > 0 && !machine.cpu.is_empty());
        assert!(machine.open_files_max > 0);
        let range = machine.sysctls.get("net.ipv4.ip_local_port_range");
        assert_eq!(range.map(|value| value.split(' ').count()), Some(2), "{range:?}");
    }

    #[test]
    fn dates_follow_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn arguments_are_quoted_so_that_a_shell_takes_them_back() {
        assert_eq!(
            command_line(&["loadtest".to_owned(), "--fail-if".to_owned(), "loss>0".to_owned()]),
            "loadtest --fail-if 'loss>0'"
        );
        for (argument, text) in
            [("p2p-1K", "p2p-1K"), ("p99>5ms", "'p99>5ms'"), ("", "''"), ("it's", r"'it'\''s'"), ("a/%i", "a/%i")]
        {
            assert_eq!(quoted(argument), text);
        }
    }

    #[test]
    fn processors_and_models_are_read() {
        assert_eq!(["0-3", "5", "7-6", "x"].map(range_length), [Some(4), Some(1), None, None]);
        assert_eq!(cpu_model("processor: 0\nmodel name\t: Fast 9000\n"), "Fast 9000");
        assert_eq!(cpu_model("CPU implementer\t: 0x41\nCPU part\t: 0xd40\n"), "implementer 0x41 part 0xd40");
        assert_eq!(cpu_model(""), "unknown");
    }
}
