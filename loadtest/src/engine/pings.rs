//! Whose turn it is to ping.
//!
//! Owns: the line of clients in the order in which their next PINGREQ is due. Always holds: a client stands in it once at
//! most; all have the same keep-alive, so whoever joins later is due later, and no timer is kept for any. Leaves to others
//! what a ping is: a client that has gone leaves the line when its time comes.

use std::collections::VecDeque;

/// Of a keep-alive, how long after it connected, or after its last ping, a client sends the next. Clients wait for the whole
/// of it; a tenth is for a generator that is busy.
const SHARE: f64 = 0.9;

/// See the module's text.
pub(super) struct Pings {
    /// `None` when nobody pings.
    round_ns: Option<u64>,
    /// Clients, and when they are due in milliseconds since `begin_ns`.
    line: VecDeque<(u32, u32)>,
    stands: Vec<bool>,
    begin_ns: u64,
}

impl Pings {
    /// Of `clients` that have all the same keep-alive; 0 turns it off.
    pub(super) fn new(clients: u32, keep_alive_s: u16, now_ns: u64) -> Self {
        let round_ns = (keep_alive_s > 0).then(|| (f64::from(keep_alive_s) * 1e9 * SHARE) as u64);
        let stands = vec![false; if round_ns.is_some() { clients as usize } else { 0 }];
        Self { round_ns, line: VecDeque::new(), stands, begin_ns: now_ns }
    }

    /// A client connects. One that stands in the line already keeps its place, which is due earlier.
    pub(super) fn join(&mut self, client: u32, now_ns: u64) {
        if self.round_ns.is_some() && !std::mem::replace(&mut self.stands[client as usize], true) {
            self.stand(client, now_ns);
        }
    }

    /// The next client that is due: it leaves the line, and `join`s again if it is still there.
    pub(super) fn next_due(&mut self, now_ns: u64) -> Option<u32> {
        if self.due_ns()? > now_ns {
            return None;
        }
        let (client, _) = self.line.pop_front()?;
        self.stands[client as usize] = false;
        Some(client)
    }

    /// When the next is due.
    pub(super) fn due_ns(&self) -> Option<u64> {
        self.line.front().map(|(_, due_ms)| self.begin_ns + u64::from(*due_ms) * 1_000_000)
    }

    /// Nobody pings any more.
    pub(super) fn stop(&mut self) {
        self.round_ns = None;
        self.line = VecDeque::new();
    }

    fn stand(&mut self, client: u32, now_ns: u64) {
        let due_ns = now_ns + self.round_ns.unwrap_or(0);
        self.line.push_back((client, (due_ns.saturating_sub(self.begin_ns) / 1_000_000) as u32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_client_is_due_nine_tenths_of_its_keep_alive_after_it_connected() {
        let mut pings = Pings::new(3, 10, 5 * SECOND);
        pings.join(2, 6 * SECOND);
        pings.join(0, 8 * SECOND);
        pings.join(2, 9 * SECOND); // again: it keeps its place
        assert_eq!(pings.due_ns(), Some(15 * SECOND));
        assert_eq!(pings.next_due(15 * SECOND - 1), None);
        assert_eq!(pings.next_due(15 * SECOND), Some(2));
        assert_eq!(pings.next_due(16 * SECOND), None);
        pings.join(2, 15 * SECOND);
        assert_eq!(pings.next_due(17 * SECOND), Some(0));
        assert_eq!(pings.due_ns(), Some(24 * SECOND));
        pings.stop();
        assert_eq!((pings.due_ns(), pings.next_due(100 * SECOND)), (None, None));
        pings.join(1, 100 * SECOND);
        assert_eq!(pings.due_ns(), None);
    }

    #[test]
    fn without_a_keep_alive_nobody_is_ever_due() {
        let mut pings = Pings::new(3, 0, 0);
        pings.join(1, 0);
        assert_eq!((pings.due_ns(), pings.next_due(u64::MAX)), (None, None));
    }
}
