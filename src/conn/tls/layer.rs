//! The layer: a handshake, here or away, then records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use super::handshake::{Done, Handshake, HandshakeOutcome, no_handshake};
use super::parameters::TlsParameters;
use super::record::{ContentType, HEADER_BYTES, Protocol, RecordError, parse_header};
use super::secrets::SecretTap;
use super::traffic::Traffic;
use crate::auth::PeerIdentity;
use crate::conn::layer::{LayerEnd, Learned, WireLayer};
use crate::limits::TLS_HANDSHAKE_INPUT_MAX_BYTES;
use crate::telemetry::CloseReason;

/// What the handshakes of a listener go by; a reload replaces it for those to come.
#[derive(Clone)]
pub struct TlsListener(Arc<ArcSwap<ServerConfig>>);

impl std::fmt::Debug for TlsListener {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("TlsListener")
    }
}

impl TlsListener {
    /// With what holds until it is replaced.
    pub fn new(config: ServerConfig) -> Self {
        Self(Arc::new(ArcSwap::new(Arc::new(with_own_records(config)))))
    }

    /// Handshakes that begin from now on go by `config`.
    pub fn replace(&self, config: ServerConfig) {
        self.0.store(Arc::new(with_own_records(config)));
    }
}

/// Lets rustls give its keys away, to this module alone.
fn with_own_records(mut config: ServerConfig) -> ServerConfig {
    config.enable_secret_extraction = true;
    config.key_log = Arc::new(SecretTap);
    config
}

/// See the module's text.
#[derive(Debug)]
pub(in crate::conn) struct Tls {
    state: State,
    /// What is to be sent before anything else, as it goes on the wire.
    to_send: Vec<u8>,
    /// It may wait for MQTT.
    to_send_may_wait: bool,
    is_silent: bool,
    /// What both have agreed on.
    agreed: Option<TlsParameters>,
    identity: Option<Arc<PeerIdentity>>,
}

#[derive(Debug)]
enum State {
    Shaking(Box<Shaking>),
    Away(#[expect(dead_code, reason = "what it is there for is its end")] Away),
    Open(Traffic),
    Failed,
}

/// A handshake that is here.
#[derive(Debug)]
struct Shaking {
    handshake: Handshake,
    /// Its first bytes are those of a handshake.
    has_begun: bool,
    /// Bytes of whole records in its input that it has looked at already.
    seen: usize,
    /// There is something new for it to run with.
    may_run: bool,
}

/// A handshake that somebody runs. When the connection goes meanwhile, it is not wanted any more.
#[derive(Debug)]
struct Away {
    is_unwanted: Arc<AtomicBool>,
}

impl Drop for Away {
    fn drop(&mut self) {
        self.is_unwanted.store(true, Ordering::Relaxed);
    }
}

impl Tls {
    pub(in crate::conn) fn new(listener: &TlsListener) -> Self {
        let handshake = Handshake::new(listener.0.load_full());
        Self {
            state: State::Shaking(Box::new(Shaking { handshake, has_begun: false, seen: 0, may_run: false })),
            to_send: Vec::new(),
            to_send_may_wait: false,
            is_silent: false,
            agreed: None,
            identity: None,
        }
    }

    /// What both have agreed on, when the handshake is done.
    pub(in crate::conn) const fn agreed(&self) -> Option<TlsParameters> {
        self.agreed
    }

    /// Whether its handshake is not done.
    pub(in crate::conn) const fn is_shaking(&self) -> bool {
        matches!(self.state, State::Shaking(_) | State::Away(_))
    }

    /// Whether its handshake is with somebody who runs it.
    pub(in crate::conn) const fn is_away(&self) -> bool {
        matches!(self.state, State::Away(_))
    }

    /// Gives its handshake away, if there is something to run.
    pub(in crate::conn) fn take_handshake(&mut self) -> Option<Box<Handshake>> {
        let State::Shaking(shaking) = &self.state else { return None };
        if !shaking.may_run {
            return None;
        }
        let away = State::Away(Away { is_unwanted: shaking.handshake.unwanted() });
        let State::Shaking(shaking) = std::mem::replace(&mut self.state, away) else { unreachable!("just seen") };
        Some(Box::new(shaking.handshake))
    }

    /// A handshake that was run comes back. The next `open` has what came with it.
    pub(in crate::conn) fn take_back(&mut self, handshake: Handshake) {
        // The flag goes with `Away`, and is not asked again: what was run stays run.
        let handshake = handshake.wanted_again();
        // Records that it could not use yet, as parts of a message, are no reason to run it again.
        let seen = whole_records(&handshake.input, 0).unwrap_or(0);
        self.state = State::Shaking(Box::new(Shaking { handshake, has_begun: true, seen, may_run: false }));
    }

    #[cfg(test)]
    pub(super) fn traffic(&mut self) -> &mut Traffic {
        match &mut self.state {
            State::Open(traffic) => traffic,
            other => panic!("{other:?}"),
        }
    }

    fn open_handshake(&mut self, bytes: &mut Vec<u8>) -> Option<LayerEnd> {
        let State::Shaking(shaking) = &mut self.state else { return None };
        let handshake = &mut shaking.handshake;
        handshake.input.append(bytes);
        self.to_send.append(&mut handshake.output);
        match std::mem::replace(&mut handshake.outcome, HandshakeOutcome::Waits) {
            HandshakeOutcome::Waits => {}
            HandshakeOutcome::Ended(end) => {
                self.state = State::Failed;
                return Some(end);
            }
            HandshakeOutcome::Done(done) => {
                let Done { mut traffic, identity, output_may_wait, agreed } = *done;
                self.agreed = Some(agreed);
                std::mem::swap(bytes, &mut handshake.plain);
                let mut rest = std::mem::take(&mut handshake.input);
                self.to_send_may_wait = output_may_wait;
                self.identity = identity;
                let end = traffic.open(&mut rest);
                bytes.append(&mut rest);
                self.state = State::Open(traffic);
                return end;
            }
        }
        if handshake.input.len() > TLS_HANDSHAKE_INPUT_MAX_BYTES {
            let text = "its TLS handshake is longer than any should be";
            return Some(self.give_up(no_handshake(CloseReason::TlsFailed, text)));
        }
        if !shaking.has_begun
            && let Some(&first) = handshake.input.first()
        {
            if ContentType::of(first) != Some(ContentType::Handshake) {
                let end = plain_text(&handshake.input);
                return Some(self.give_up(end));
            }
            shaking.has_begun = true;
        }
        match whole_records(&handshake.input, shaking.seen) {
            Ok(seen) => {
                shaking.may_run = seen > shaking.seen;
                shaking.seen = seen;
                None
            }
            Err(end) => Some(self.give_up(end)),
        }
    }

    fn give_up(&mut self, end: LayerEnd) -> LayerEnd {
        self.state = State::Failed;
        end
    }
}

impl WireLayer for Tls {
    fn open(&mut self, bytes: &mut Vec<u8>) -> Option<LayerEnd> {
        match &mut self.state {
            State::Open(traffic) => traffic.open(bytes),
            State::Shaking(_) => self.open_handshake(bytes),
            State::Away(_) => unreachable!("nothing is received while the handshake is away"),
            State::Failed => {
                bytes.clear();
                None
            }
        }
    }

    fn has_own_bytes(&self) -> bool {
        let records = match &self.state {
            State::Open(traffic) => traffic.has_own_bytes(),
            _ => false,
        };
        !self.is_silent && (records || !self.to_send.is_empty() && !self.to_send_may_wait)
    }

    fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        if self.is_silent {
            return;
        }
        // Its memory is not kept: this comes once or twice in the life of a connection.
        out.append(&mut std::mem::take(&mut self.to_send));
        match &mut self.state {
            State::Open(traffic) => self.is_silent = traffic.seal(plain, out),
            State::Shaking(_) | State::Away(_) | State::Failed => {
                debug_assert!(plain.is_empty(), "MQTT has nothing to say before CONNECT was opened");
            }
        }
    }

    fn end(&mut self, _: CloseReason) {
        if let State::Open(traffic) = &mut self.state
            && !self.is_silent
        {
            traffic.end();
        }
    }

    fn silence(&mut self) {
        self.is_silent = true;
    }

    fn take_learned(&mut self) -> Option<Learned> {
        let identity = self.identity.take()?;
        Some(Learned { peer: None, identity: Some(identity) })
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

/// What a peer speaks that does not begin with a handshake.
fn plain_text(input: &[u8]) -> LayerEnd {
    let text = match input {
        [0x10, ..] => "it speaks MQTT without TLS, and this listener takes TLS only",
        [b'A'..=b'Z', ..] => "it speaks plain text, perhaps HTTP, and this listener takes TLS only",
        [0x80..=0xff, _, 1, ..] => "it speaks SSL 2.0",
        _ => "it does not begin with a TLS handshake, and this listener takes TLS only",
    };
    no_handshake(CloseReason::TlsPlainText, text)
}
