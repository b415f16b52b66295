//! A handshake as a layer has it: here, with what has come for it, or with somebody who runs it; then what follows it.
//!
//! Always holds: it is run when a whole record has come that it has not seen, and not otherwise; what it has received and not used is bounded. When the
//! connection goes while somebody runs it, it is not wanted any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::handshake::{Handshake, no_handshake};
use super::record::{HEADER_BYTES, Protocol, RecordError, parse_header};
use crate::conn::layer::LayerEnd;
use crate::limits::TLS_HANDSHAKE_INPUT_MAX_BYTES;
use crate::telemetry::CloseReason;

/// How far a layer has come. What follows the handshake is a server's or a client's.
#[derive(Debug)]
pub(super) enum TlsStage<R> {
    Shaking(Box<Shaking>),
    Away(Away),
    Open(R),
    Failed,
}

/// A handshake that is here.
#[derive(Debug)]
pub(super) struct Shaking {
    pub(super) handshake: Handshake,
    /// Its first bytes are those of a handshake.
    has_begun: bool,
    /// Bytes of whole records in its input that it has looked at already.
    seen: usize,
    /// There is something new for it to run with.
    may_run: bool,
}

/// A handshake that somebody runs.
#[derive(Debug)]
pub(super) struct Away {
    is_unwanted: Arc<AtomicBool>,
    has_begun: bool,
}

impl Drop for Away {
    fn drop(&mut self) {
        self.is_unwanted.store(true, Ordering::Relaxed);
    }
}

impl<R> TlsStage<R> {
    /// At the beginning. A client's may be run before anything has come.
    pub(super) fn new(handshake: Handshake, may_run: bool) -> Self {
        Self::Shaking(Box::new(Shaking { handshake, has_begun: false, seen: 0, may_run }))
    }

    /// Whether the handshake is not done.
    pub(super) const fn is_shaking(&self) -> bool {
        matches!(self, Self::Shaking(_) | Self::Away(_))
    }

    /// Whether it is with somebody who runs it.
    pub(super) const fn is_away(&self) -> bool {
        matches!(self, Self::Away(_))
    }

    /// Gives the handshake away, if there is something to run.
    pub(super) fn take_handshake(&mut self) -> Option<Box<Handshake>> {
        let Self::Shaking(shaking) = &self else { return None };
        if !shaking.may_run {
            return None;
        }
        let (is_unwanted, has_begun) = (shaking.handshake.unwanted(), shaking.has_begun);
        let away = Self::Away(Away { is_unwanted, has_begun });
        let Self::Shaking(shaking) = std::mem::replace(self, away) else { unreachable!("just seen") };
        Some(Box::new(shaking.handshake))
    }

    /// It was run, and comes back.
    pub(super) fn take_back(&mut self, handshake: Handshake) {
        // The flag goes with `Away`, and is not asked again: what was run stays run.
        let handshake = handshake.wanted_again();
        // Records that it could not use yet, as parts of a message, are no reason to run it again.
        let seen = whole_records(&handshake.bytes.input, 0).unwrap_or(0);
        let has_begun = matches!(self, Self::Away(away) if away.has_begun);
        *self = Self::Shaking(Box::new(Shaking { handshake, has_begun, seen, may_run: false }));
    }
}

impl Shaking {
    /// Looks at what has come: whether there is something to run with. `begins` says whether this is how a handshake begins.
    pub(super) fn look(&mut self, begins: impl FnOnce(&[u8]) -> Result<(), LayerEnd>) -> Result<(), LayerEnd> {
        let input = &self.handshake.bytes.input;
        if input.len() > TLS_HANDSHAKE_INPUT_MAX_BYTES {
            return Err(no_handshake(CloseReason::TlsFailed, "its TLS handshake is longer than any should be"));
        }
        if !self.has_begun && !input.is_empty() {
            begins(input)?;
            self.has_begun = true;
        }
        let seen = whole_records(input, self.seen)?;
        self.may_run = seen > self.seen;
        self.seen = seen;
        Ok(())
    }
}

/// How many bytes of `input`, of which `seen` are whole records, are whole records.
fn whole_records(input: &[u8], mut seen: usize) -> Result<usize, LayerEnd> {
    while let Some(rest) = input.get(seen..) {
        match parse_header(rest, Protocol::V12) {
            Ok(Some((_, length))) if rest.len() >= HEADER_BYTES + length => seen += HEADER_BYTES + length,
            Ok(_) => break,
            Err(RecordError::TooLong) => {
                return Err(no_handshake(CloseReason::TlsFailed, "its TLS record is too long"));
            }
            Err(_) => return Err(no_handshake(CloseReason::TlsFailed, "its bytes are no TLS record")),
        }
    }
    Ok(seen)
}
