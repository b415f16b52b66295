//! What the shards of one process have said to another process, frame by frame, and what of it has arrived: once and in order, whatever
//! becomes of connections.

use std::collections::{BTreeMap, VecDeque};

use dunlin::cluster::LinkFrame;
use dunlin::limits::LINK_FRAME_MAX_BYTES;

use super::canary::Canary;

/// From the process with the first boot number to that with the second, by a shard of the first.
pub(crate) type StreamKey = (u64, u64, usize);

/// Frames that a canary says again.
const SAID_AGAIN: usize = 3;

#[derive(Debug, Default)]
struct Stream {
    /// What has not arrived.
    said: VecDeque<Vec<u8>>,
    /// The last that have.
    heard: VecDeque<Vec<u8>>,
    has_stood: bool,
    /// Frames that a canary loses.
    lost: usize,
}

/// What becomes of a frame that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameFate {
    Heard,
    /// A canary has it heard twice.
    HeardTwice,
    /// A canary has it heard, and passed on.
    PassedOn,
    /// A canary keeps it from the shard.
    Swallowed,
}

#[derive(Debug, Default)]
pub(crate) struct Streams {
    all: BTreeMap<StreamKey, Stream>,
    canary: Canary,
    pub(crate) frames: u64,
}

impl Streams {
    pub(crate) fn new(canary: Canary) -> Self {
        Self { canary, ..Self::default() }
    }

    pub(crate) fn say(&mut self, key: StreamKey, frame: &[u8]) {
        self.all.entry(key).or_default().said.push_back(frame.to_vec());
    }

    pub(crate) fn arrive(&mut self, key: StreamKey, frame: &[u8]) -> Result<FrameFate, String> {
        let stream = self.all.entry(key).or_default();
        if stream.lost > 0 {
            stream.lost -= 1;
            return Ok(FrameFate::Swallowed);
        }
        if stream.said.front().is_none_or(|next| next != frame) {
            let next = stream.said.front().map(|next| name(next));
            return Err(format!("on stream {key:x?} {} arrives, and {next:?} has its turn", name(frame)));
        }
        stream.heard.extend(stream.said.pop_front());
        if stream.heard.len() > SAID_AGAIN {
            stream.heard.pop_front();
        }
        self.frames += 1;
        let Ok(Some((frame, _))) = LinkFrame::next(frame, LINK_FRAME_MAX_BYTES) else {
            return Err("what arrives is no frame".to_owned());
        };
        Ok(match (self.canary, frame) {
            (Canary::SubackEarly, LinkFrame::Applied { .. }) => FrameFate::Swallowed,
            (Canary::StoredTwice, LinkFrame::Stored { .. }) => FrameFate::HeardTwice,
            (Canary::PassInCircle, LinkFrame::Publish(_)) => FrameFate::PassedOn,
            _ => FrameFate::Heard,
        })
    }

    /// A connection for it stands. Returns what a canary says again.
    pub(crate) fn stands(&mut self, key: StreamKey) -> Vec<Vec<u8>> {
        let stream = self.all.entry(key).or_default();
        let stood = std::mem::replace(&mut stream.has_stood, true);
        if stood && self.canary == Canary::ResendAll { stream.heard.iter().cloned().collect() } else { Vec::new() }
    }

    pub(crate) fn breaks(&mut self, key: StreamKey) {
        if self.canary == Canary::ForgetUnreceived {
            let stream = self.all.entry(key).or_default();
            stream.lost = stream.said.len();
        }
    }

    /// A process has ended: it hears nothing any more. What it has said may still arrive.
    pub(crate) fn end(&mut self, boot: u64) {
        self.all.retain(|(_, to, _), _| *to != boot);
    }

    /// A frame that was said and has not arrived, between two of these processes.
    pub(crate) fn missing(&self, live: &[u64]) -> Option<String> {
        let is_live = |(from, to, _): &StreamKey| live.contains(from) && live.contains(to);
        let (key, stream) = self.all.iter().find(|(key, stream)| is_live(key) && !stream.said.is_empty())?;
        Some(format!(
            "{} frames of stream {key:x?} have not arrived, first {}",
            stream.said.len(),
            name(&stream.said[0])
        ))
    }
}

/// A frame in words.
pub(crate) fn name(frame: &[u8]) -> String {
    match LinkFrame::next(frame, LINK_FRAME_MAX_BYTES) {
        Ok(Some((frame, _))) => format!("{frame:?}"),
        other => format!("{other:?}"),
    }
}
