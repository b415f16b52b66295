//! Rate limit: of each kind of event so many lines a second are written, the rest is counted.
//!
//! Always holds: every event is either written or counted in a later `lines_suppressed`. Held back, an event costs a
//! look at the clock and one or two atomic operations; nothing is formatted.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use crate::limits;

/// Kinds of events that peers can cause, each with a limit of its own: a storm of one does not hide another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum LogKind {
    /// A client's CONNECT was accepted.
    ClientConnected,
    /// A connection of an accepted client ended.
    ClientDisconnected,
    /// A connection ended before it was accepted.
    ConnectRefused,
    /// A peer broke the protocol.
    ProtocolError,
    /// A client's message or will was not taken.
    MessageRefused,
    /// A subscription that is no longer allowed was taken away.
    SubscriptionRevoked,
    /// Somebody has failed to log in too often.
    LoginBanned,
    /// A client id comes and goes too often.
    ClientFlapping,
    /// A back end did not answer.
    BackEndFailed,
    /// A client sent more than is taken.
    PacketTooLarge,
    /// A client is over its rate.
    ClientPaused,
    /// A session begins to lose messages.
    MessagesLost,
    /// A session has lost so many.
    MessagesLostTotal,
    /// A filter of a SUBSCRIBE.
    Subscribe,
    /// A filter of an UNSUBSCRIBE.
    Unsubscribe,
    /// A PUBLISH that was not taken.
    PublishRefused,
    /// A PUBLISH from a client.
    PublishReceived,
    /// A PUBLISH to a client.
    PublishSent,
    /// What an operator wants to be told of.
    Traced,
    /// A wrong password at the admin server.
    AdminLoginFailed,
    /// A connection to the admin server that finds no place.
    AdminFull,
    /// A connection between two nodes was not made, or has ended.
    LinkEnded,
}

impl LogKind {
    /// Every kind, in the order of its number.
    pub(super) const ALL: [Self; 22] = [
        Self::ClientConnected,
        Self::ClientDisconnected,
        Self::ConnectRefused,
        Self::ProtocolError,
        Self::MessageRefused,
        Self::SubscriptionRevoked,
        Self::LoginBanned,
        Self::ClientFlapping,
        Self::BackEndFailed,
        Self::PacketTooLarge,
        Self::ClientPaused,
        Self::MessagesLost,
        Self::MessagesLostTotal,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::PublishRefused,
        Self::PublishReceived,
        Self::PublishSent,
        Self::Traced,
        Self::AdminLoginFailed,
        Self::AdminFull,
        Self::LinkEnded,
    ];

    /// The name of the event in the log.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ClientConnected => "client_connected",
            Self::ClientDisconnected => "client_disconnected",
            Self::ConnectRefused => "connect_refused",
            Self::ProtocolError => "protocol_error",
            Self::MessageRefused => "message_refused",
            Self::SubscriptionRevoked => "subscription_revoked",
            Self::LoginBanned => "login_banned",
            Self::ClientFlapping => "client_flapping",
            Self::BackEndFailed => "back_end_failed",
            Self::PacketTooLarge => "packet_too_large",
            Self::ClientPaused => "client_paused",
            Self::MessagesLost => "messages_lost",
            Self::MessagesLostTotal => "messages_lost_total",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::PublishRefused => "publish_refused",
            Self::PublishReceived => "publish_received",
            Self::PublishSent => "publish_sent",
            Self::Traced => "traced",
            Self::AdminLoginFailed => "admin_login_failed",
            Self::AdminFull => "admin_full",
            Self::LinkEnded => "link_ended",
        }
    }

    /// Whether a line of this kind may be written now; if not, it was counted.
    pub(super) fn admit(self) -> bool {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let lines_per_s = LINES_PER_S.load(Relaxed);
        lines_per_s == 0 || LIMITS[self as usize].admit(START.elapsed().as_secs() as u32, lines_per_s)
    }
}

static LIMITS: [RateLimit; LogKind::ALL.len()] = [const { RateLimit::new() }; LogKind::ALL.len()];
static LINES_PER_S: AtomicU32 = AtomicU32::new(limits::LOG_RATE_DEFAULT);

/// Sets the limit for every kind; 0 is none.
pub(super) fn set_lines_per_s(lines_per_s: u32) {
    LINES_PER_S.store(lines_per_s, Relaxed);
}

/// How many events of each kind were held back since this was last asked; kinds that had none are left out.
pub(super) fn take_suppressed() -> impl Iterator<Item = (LogKind, u64)> {
    let counts = LogKind::ALL.into_iter().map(|kind| (kind, LIMITS[kind as usize].take_suppressed()));
    counts.filter(|&(_, suppressed)| suppressed > 0)
}

/// The limit of one kind, shared by all threads without a lock.
#[derive(Debug)]
pub(super) struct RateLimit {
    /// The second that is running, and in the low half the lines that it has admitted.
    window: AtomicU64,
    /// Events held back and not yet reported.
    suppressed: AtomicU64,
}

impl RateLimit {
    /// A limit that has admitted nothing.
    pub(super) const fn new() -> Self {
        Self { window: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// Whether one more line fits into the second `now_s`, of which there may be `lines_per_s`; if not, it is counted.
    pub(super) fn admit(&self, now_s: u32, lines_per_s: u32) -> bool {
        let step = |window: u64| {
            let (second, lines) = ((window >> 32) as u32, window as u32);
            match () {
                // Threads read the clock apart: one that is late by a moment counts into the second that runs.
                () if now_s > second => Some((now_s as u64) << 32 | 1),
                () if lines < lines_per_s => Some(window + 1),
                () => None,
            }
        };
        let admitted = self.window.fetch_update(Relaxed, Relaxed, step).is_ok();
        if !admitted {
            self.suppressed.fetch_add(1, Relaxed);
        }
        admitted
    }

    /// How many were held back since this was last asked.
    pub(super) fn take_suppressed(&self) -> u64 {
        // Asked every second of every kind: the line stays shared unless there is something to take.
        if self.suppressed.load(Relaxed) == 0 { 0 } else { self.suppressed.swap(0, Relaxed) }
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_a_second_pass_and_the_rest_is_counted() {
        let limit = RateLimit::new();
        let passed = |second: u32, events: u32| (0..events).filter(|_| limit.admit(second, 3)).count();
        assert_eq!((passed(0, 10), limit.take_suppressed()), (3, 7));
        assert_eq!((passed(1, 2), limit.take_suppressed()), (2, 0));
        assert_eq!((passed(1, 2), limit.take_suppressed()), (1, 1));
        assert_eq!((passed(9, 3), limit.take_suppressed()), (3, 0));
    }

    #[test]
    fn a_thread_that_is_late_does_not_open_the_past_again() {
        let limit = RateLimit::new();
        assert!(limit.admit(5, 1));
        assert!(!limit.admit(4, 1));
        assert!(!limit.admit(5, 1));
        assert!(limit.admit(6, 1));
        assert_eq!(limit.take_suppressed(), 2);
    }

    #[test]
    fn threads_together_pass_no_more_than_the_limit_and_lose_no_count() {
        let limit = RateLimit::new();
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..10_000).filter(|_| limit.admit(1, 500)).count())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((passed, limit.take_suppressed()), (500, 39_500));
    }

    #[test]
    fn kinds_are_numbered_in_the_order_of_their_list() {
        for (number, kind) in LogKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number, "{}", kind.name());
        }
    }
}
