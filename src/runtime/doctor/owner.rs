//! Which process listens at a port.
//!
//! Always holds: it is found by the socket itself (`/proc/net/tcp` or `udp`, then `/proc/PID/fd`), so that a process which runs beside the one that
//! listens is not taken for it. Descriptors of other users' processes are hidden from all but root: then there is no answer.

use std::fs;

/// The process that listens there and its name; our own is none.
pub(super) fn of_port(port: u16, has_datagrams: bool) -> Option<(u32, String)> {
    let (tables, state) = if has_datagrams {
        (["/proc/net/udp", "/proc/net/udp6"], UNCONNECTED)
    } else {
        (["/proc/net/tcp", "/proc/net/tcp6"], LISTENS)
    };
    let tables = tables.map(|path| fs::read_to_string(path).unwrap_or_default());
    let sockets: Vec<String> = tables.iter().flat_map(|table| sockets_in(table, port, state)).collect();
    let own = std::process::id();
    let processes =
        fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let pid = processes.filter(|pid| *pid != own).find(|pid| has_one(*pid, &sockets))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some((pid, name.trim().to_owned()))
}

/// The states of the kernel's tables in which a socket of TCP waits for connections, and one of UDP for datagrams of whomever.
const LISTENS: &str = "0A";
const UNCONNECTED: &str = "07";

/// What the descriptors of sockets at a port in this state are linked to.
fn sockets_in(table: &str, port: u16, state: &str) -> Vec<String> {
    let of_line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (_, of_socket) = words.get(1)?.rsplit_once(':')?;
        let is_meant = u16::from_str_radix(of_socket, 16) == Ok(port) && words.get(3) == Some(&state);
        is_meant.then(|| format!("socket:[{}]", words.get(9).unwrap_or(&"")))
    };
    table.lines().filter_map(of_line).collect()
}

fn has_one(pid: u32, sockets: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let links = descriptors.filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok());
    links.filter_map(|link| link.into_os_string().into_string().ok()).any(|link| sockets.contains(&link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_listen_are_found_by_their_port_alone() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 630 1 0 100 0 0 10 0\n\
            1: 0100007F:075B 0100007F:9FAD 01 00000000:00000000 00:00000000 00000000     0        0 631 1 0 20 4 30 10 -1\n\
            2: 00000000000000000000000000000000:075C 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 \
            00000000     0        0 77 1 0 100 0 0 10 0\n";
        assert_eq!(sockets_in(table, 1_883, LISTENS), ["socket:[630]"]);
        assert_eq!(sockets_in(table, 1_884, LISTENS), ["socket:[77]"]);
        assert_eq!(sockets_in(table, 1_885, LISTENS), [""; 0]);
        assert_eq!(sockets_in(table, 1_883, UNCONNECTED), [""; 0]);
        assert_eq!(sockets_in("nonsense\n\n: : :", 0, LISTENS), [""; 0]);
    }
}
