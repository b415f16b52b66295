//! Coalescing of waiting: when to wait for several arrivals at a time, as network cards do with their interrupts.
//!
//! Where many peers send and few are sent to, every turn costs a wake-up and a send to the same few sockets, however little
//! arrived. Waiting a moment longer lets more of it share them. Nobody waits where that would gain nothing: where each
//! info leads to a send of its own, where little arrives, or where few connections are all there is to wait for.
//!
//! Pure arithmetic; `wait.rs` counts and `one.rs` asks the kernel. See `docs/decisions/2026-11-25-moderation.md`.

use std::time::Duration;

/// What happened between two waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TurnCounts {
    /// Times that bytes arrived from a socket.
    pub(super) receives: u32,
    /// Sends that were queued.
    pub(super) sends: u32,
}

/// A wait that ends when there are `events`, or when `window` has passed and there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coalescing {
    pub(super) events: u32,
    pub(super) window: Duration,
}

/// Receives for every send that make waiting worth it.
const RECEIVES_PER_SEND_MIN: u32 = 3;
/// The window grows with the turn, so that it delays in proportion to how much there is to do ...
const WINDOW_PER_RECEIVE_US: u32 = 6;
/// ... up to this, which is also the most that coalescing adds to a message's latency.
const WINDOW_MAX_US: u32 = 64;
/// Events after which more of them gain nothing: by then the wake-up and the send are small change.
const EVENTS_MAX: u32 = 64;
/// One event for so many connections at most: a client that waits for answers sends nothing meanwhile, and of few clients
/// all may be waiting for this very broker.
const CONNECTIONS_PER_EVENT_MIN: u32 = 8;

impl TurnCounts {
    /// How the next wait coalesces, with so many sockets open; `None`: it ends with the first event.
    pub(super) fn coalescing(self, connections: u32) -> Option<Coalescing> {
        if self.receives / RECEIVES_PER_SEND_MIN < self.sends.max(1) {
            return None;
        }
        let events = self.receives.saturating_mul(2).min(EVENTS_MAX).min(connections / CONNECTIONS_PER_EVENT_MIN);
        let window_us = self.receives.saturating_mul(WINDOW_PER_RECEIVE_US).min(WINDOW_MAX_US);
        (events > 1).then_some(Coalescing { events, window: Duration::from_micros(window_us.into()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coalescing(receives: u32, sends: u32, connections: u32) -> Option<(u32, u128)> {
        let found = TurnCounts { receives, sends }.coalescing(connections)?;
        Some((found.events, found.window.as_micros()))
    }

    #[test]
    fn many_receives_for_few_sends_are_waited_for_together() {
        assert_eq!(coalescing(4, 1, 1000), Some((8, 24)));
        assert_eq!(coalescing(10, 0, 1000), Some((20, 60)));
        assert_eq!(coalescing(10, 3, 1000), Some((20, 60)));
    }

    #[test]
    fn a_turn_with_a_send_for_each_receive_or_few_receives_is_not_delayed() {
        assert_eq!(coalescing(0, 0, 1000), None);
        assert_eq!(coalescing(2, 0, 1000), None);
        assert_eq!(coalescing(500, 500, 1000), None);
        assert_eq!(coalescing(10, 4, 1000), None);
        assert_eq!(coalescing(u32::MAX, u32::MAX, u32::MAX), None);
    }

    #[test]
    fn few_connections_are_not_waited_for() {
        assert_eq!(coalescing(8, 1, 9), None);
        assert_eq!(coalescing(8, 1, 16), Some((2, 48)));
    }

    #[test]
    fn no_wait_is_longer_or_for_more_than_is_said_above() {
        assert_eq!(coalescing(u32::MAX, 1, u32::MAX), Some((EVENTS_MAX, WINDOW_MAX_US.into())));
    }
}
