//! Emptying the broker before it ends: nobody comes in any more, and clients are asked to go, evenly over a time.
//!
//! Always holds: it takes no longer than it may, whatever shards answer. Whoever is left then is closed as without it.
//! Leaves to others: that the broker says it is not ready (`services::admin`), the end of its own clients, and of whoever is left (`shard_threads`).

use std::thread;
use std::time::{Duration, Instant};

use super::service_manager::ServiceManager;
use crate::inbox::{InboxSender, SendError};
use crate::shard::{Command, DrainPlan, Reply};

/// From one look at who is left to the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// From one word to the service manager to the next.
const TELL_INTERVAL: Duration = Duration::from_secs(5);
/// How long a full lane is left alone.
const ROOM_PAUSE: Duration = Duration::from_millis(1);

/// Asks all clients to go within so many seconds, to `server` if one is named, and waits until nobody is left or the time is over.
pub(super) fn empty(inboxes: &[InboxSender], manager: &ServiceManager, time_s: u16, server: Option<&str>) {
    if time_s == 0 {
        return;
    }
    let until = Instant::now() + Duration::from_secs(time_s.into());
    for inbox in inboxes {
        let clients = connected(inbox, until);
        // The last of them has gone a little before the time is over.
        let clients_per_s = (clients * 10).div_ceil(u64::from(time_s) * 9);
        let clients_per_s = u32::try_from(clients_per_s).unwrap_or(u32::MAX).max(1);
        let plan = DrainPlan { clients_per_s, server: server.map(Into::into), is_last: true };
        ask(inbox, &Command::Drain(Some(plan)), until);
    }
    let mut tells = Instant::now();
    loop {
        let left: u64 = inboxes.iter().map(|inbox| connected(inbox, until)).sum();
        let now = Instant::now();
        if left == 0 || now >= until {
            return;
        }
        if now >= tells {
            manager.is_emptying(left);
            tells = now + TELL_INTERVAL;
        }
        thread::sleep(LOOK_INTERVAL.min(until - now));
    }
}

/// Clients of a shard that are connected; none where it does not say so in time.
fn connected(inbox: &InboxSender, until: Instant) -> u64 {
    match ask(inbox, &Command::Counts, until) {
        Some(Reply::Counts(report)) => report.gauges.clients_connected,
        _ => 0,
    }
}

/// A shard's answer, if it comes in time.
fn ask(inbox: &InboxSender, command: &Command, until: Instant) -> Option<Reply> {
    loop {
        match inbox.send(command.clone()) {
            Ok(answer) => return answer.recv_deadline(until).ok(),
            Err(SendError::Full) if Instant::now() < until => thread::sleep(ROOM_PAUSE),
            Err(_) => return None,
        }
    }
}
