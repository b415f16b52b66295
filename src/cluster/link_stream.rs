//! What one process of a node says to one process of another, across the connections between them.
//!
//! Owns: what was said and has not arrived ([`LinkOut`]), how much has arrived ([`LinkIn`]), when somebody is asked whether the connection still
//! stands ([`LinkPulse`]) and when the next one is tried ([`LinkRedial`]).
//! Always holds: counted frames come once and in their order, wherever connections end, while both processes live. A peer that says it has
//! received what it was not sent, or less than it had, is refused.
//! Leaves to others: sockets, the handshake, records and their tags; what to do where too much waits ([`LinkOut::is_behind`]).
//!
//! A link is one way: the process that dials says counted frames. The one that accepts says RECEIVED as its first frame behind the handshake, whereupon
//! the dialler goes on behind that number; later it says RECEIVED once a turn in which something came. The dialler pings, the other answers.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::link_frame::LinkFrame;
use super::link_handshake::LinkRefusal;
use crate::limits::{
    LINK_BUFFER_MARK_BYTES, LINK_CHUNK_BYTES, LINK_PING_MS, LINK_PINGS_MISSED, LINK_REDIAL_MAX_MS, LINK_REDIAL_MIN_MS,
};
use crate::time::{Deadline, Now};

/// Frames that were encoded together: whoever sends them shares the bytes.
#[derive(Debug)]
struct LinkChunk {
    /// From the first frame that the peer has not.
    bytes: Bytes,
    frames: u64,
}

/// To one process of a peer: from one shard of this node, to one of its. See the module's text.
#[derive(Debug, Default)]
pub struct LinkOut {
    /// Counted frames that the peer has, of all connections.
    received: u64,
    /// Of those that were given out, on whichever connection.
    given: u64,
    kept: VecDeque<LinkChunk>,
    /// Of `kept`, so many were given to the connection that stands.
    given_chunks: usize,
    /// What no chunk has yet.
    open: Vec<u8>,
    open_frames: u64,
    waiting_bytes: usize,
    is_connected: bool,
}

impl LinkOut {
    /// Says a counted frame.
    pub fn append(&mut self, frame: &LinkFrame<'_>) {
        assert!(frame.is_counted(), "what is of a connection alone is not repeated on the next");
        let before = self.open.len();
        frame.encode(&mut self.open);
        self.open_frames += 1;
        self.waiting_bytes += self.open.len() - before;
        if self.open.len() >= LINK_CHUNK_BYTES {
            self.close_chunk();
        }
    }

    /// A connection stands, and the peer says how much it has: goes on behind that.
    pub fn connected(&mut self, received: u64) -> Result<(), LinkRefusal> {
        self.received(received)?;
        self.given_chunks = 0;
        self.is_connected = true;
        Ok(())
    }

    /// The connection has ended: nothing is given out until the next.
    pub const fn broken(&mut self) {
        self.is_connected = false;
    }

    /// The peer has so many frames: they are forgotten.
    pub fn received(&mut self, count: u64) -> Result<(), LinkRefusal> {
        if !(self.received..=self.given).contains(&count) {
            return Err(LinkRefusal::Count);
        }
        while self.received < count {
            let chunk = self.kept.front_mut().expect("what was given out and not received is kept");
            let before = chunk.bytes.len();
            let frames = chunk.frames.min(count - self.received);
            if frames == chunk.frames {
                self.kept.pop_front();
                self.given_chunks = self.given_chunks.saturating_sub(1);
                self.waiting_bytes -= before;
            } else {
                skip_frames(&mut chunk.bytes, frames);
                chunk.frames -= frames;
                self.waiting_bytes -= before - chunk.bytes.len();
            }
            self.received += frames;
        }
        Ok(())
    }

    /// What to send next on the connection that stands. `None` without one, or when all was given out.
    pub fn next_bytes(&mut self) -> Option<Bytes> {
        if !self.is_connected {
            return None;
        }
        if self.given_chunks == self.kept.len() {
            self.close_chunk();
        }
        let chunk = self.kept.get(self.given_chunks)?;
        self.given_chunks += 1;
        let before: u64 = self.kept.iter().take(self.given_chunks).map(|chunk| chunk.frames).sum();
        self.given = self.given.max(self.received + before);
        Some(chunk.bytes.clone())
    }

    /// Whether [`Self::next_bytes`] has something.
    pub fn has_next(&self) -> bool {
        self.is_connected && (self.given_chunks < self.kept.len() || self.open_frames > 0)
    }

    /// Bytes that the peer has not said it has.
    pub const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether so much waits that QoS 0 is dropped, and whoever publishes what has to wait is held.
    pub const fn is_behind(&self) -> bool {
        self.waiting_bytes > LINK_BUFFER_MARK_BYTES
    }

    /// Whether that is over, where it was so: half of it waits at most.
    pub const fn has_drained(&self) -> bool {
        self.waiting_bytes <= LINK_BUFFER_MARK_BYTES / 2
    }

    fn close_chunk(&mut self) {
        if self.open_frames > 0 {
            let bytes = Bytes::from(std::mem::take(&mut self.open));
            self.kept.push_back(LinkChunk { bytes, frames: std::mem::take(&mut self.open_frames) });
        }
    }
}

/// Goes on behind so many frames of ours.
fn skip_frames(bytes: &mut Bytes, frames: u64) {
    for _ in 0..frames {
        let len = bytes.get_u32_le() as usize;
        bytes.advance(len);
    }
}

/// From one process of a peer.
#[derive(Debug, Default)]
pub struct LinkIn {
    received: u64,
    /// What RECEIVED said last on the connection that stands.
    told: Option<u64>,
}

impl LinkIn {
    /// A connection stands: its first frame says how much has come.
    pub const fn connected(&mut self) {
        self.told = None;
    }

    /// A counted frame has come and was taken.
    pub const fn count(&mut self) {
        self.received += 1;
    }

    /// How many have come.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Whether the peer does not know that.
    pub fn is_to_be_told(&self) -> bool {
        self.told != Some(self.received)
    }

    /// RECEIVED, which the peer is sent now.
    pub const fn tell(&mut self) -> LinkFrame<'static> {
        self.told = Some(self.received);
        LinkFrame::Received { count: self.received }
    }
}

/// Whether the other end of a connection still is there.
#[derive(Clone, Copy, Debug)]
pub struct LinkPulse {
    /// Nothing was heard since.
    heard_at: Deadline,
    ping_at: Deadline,
    number: u64,
}

impl LinkPulse {
    /// Of a connection whose peer is known since now.
    pub const fn new(now: Now) -> Self {
        Self { heard_at: now.after_ms(0), ping_at: now.after_ms(LINK_PING_MS), number: 0 }
    }

    /// Something has come, whatever it was. A process that stood still hears what came meanwhile before it judges.
    pub const fn heard(&mut self, now: Now) {
        self.heard_at = now.after_ms(0);
    }

    /// The number of a PING that is due at the end that dials.
    pub const fn next_ping(&mut self, now: Now) -> Option<u64> {
        if !self.ping_at.is_due(now) {
            return None;
        }
        self.ping_at = now.after_ms(LINK_PING_MS);
        self.number += 1;
        Some(self.number)
    }

    /// Whether the connection is to end, because nothing was heard for too long.
    pub const fn is_dead(&self, now: Now) -> bool {
        self.dead_at().is_due(now)
    }

    /// When to look again: for the next PING or the end.
    pub fn next_deadline(&self) -> Deadline {
        self.dead_at().min(self.ping_at)
    }

    /// When the connection is to end, unless something is heard.
    pub const fn dead_at(&self) -> Deadline {
        Deadline(self.heard_at.0.saturating_add(LINK_PING_MS * LINK_PINGS_MISSED as u64))
    }
}

/// When a connection is tried again.
#[derive(Clone, Copy, Debug)]
pub struct LinkRedial {
    next_ms: u64,
}

impl Default for LinkRedial {
    fn default() -> Self {
        Self { next_ms: LINK_REDIAL_MIN_MS }
    }
}

impl LinkRedial {
    /// One has ended, or was not made: when to try the next.
    pub fn next(&mut self, now: Now) -> Deadline {
        let at = now.after_ms(self.next_ms);
        self.next_ms = (self.next_ms * 2).min(LINK_REDIAL_MAX_MS);
        at
    }

    /// The peer is known: the next time begins with the shortest pause.
    pub fn connected(&mut self) {
        *self = Self::default();
    }
}
