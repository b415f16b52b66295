//! The layer: a handshake, here or away, then records.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use super::handshake::{Done, Handshake, HandshakeOutcome, no_handshake};
use super::parameters::TlsParameters;
use super::record::ContentType;
use super::secrets::SecretTap;
use super::shaking::TlsStage;
use super::traffic::Traffic;
use crate::auth::PeerIdentity;
use crate::conn::layer::{LayerEnd, Learned, WireLayer};
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
    stage: TlsStage<Traffic>,
    /// What is to be sent before anything else, as it goes on the wire.
    to_send: Vec<u8>,
    /// It may wait for MQTT.
    to_send_may_wait: bool,
    is_silent: bool,
    /// What both have agreed on.
    agreed: Option<TlsParameters>,
    identity: Option<Arc<PeerIdentity>>,
}

impl Tls {
    pub(in crate::conn) fn new(listener: &TlsListener) -> Self {
        let handshake = Handshake::new(listener.0.load_full());
        Self {
            stage: TlsStage::new(handshake, false),
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
        self.stage.is_shaking()
    }

    /// Whether its handshake is with somebody who runs it.
    pub(in crate::conn) const fn is_away(&self) -> bool {
        self.stage.is_away()
    }

    /// Gives its handshake away, if there is something to run.
    pub(in crate::conn) fn take_handshake(&mut self) -> Option<Box<Handshake>> {
        self.stage.take_handshake()
    }

    /// A handshake that was run comes back. The next `open` has what came with it.
    pub(in crate::conn) fn take_back(&mut self, handshake: Handshake) {
        self.stage.take_back(handshake);
    }

    #[cfg(test)]
    pub(super) fn traffic(&mut self) -> &mut Traffic {
        match &mut self.stage {
            TlsStage::Open(traffic) => traffic,
            other => panic!("{other:?}"),
        }
    }

    fn open_handshake(&mut self, bytes: &mut Vec<u8>) -> Option<LayerEnd> {
        let TlsStage::Shaking(shaking) = &mut self.stage else { return None };
        let handshake = &mut shaking.handshake;
        handshake.bytes.input.append(bytes);
        self.to_send.append(&mut handshake.bytes.output);
        match std::mem::replace(&mut handshake.outcome, HandshakeOutcome::Waits) {
            HandshakeOutcome::Waits => {}
            HandshakeOutcome::Ended(end) => return Some(self.give_up(end)),
            HandshakeOutcome::Done(done) => {
                let Done { mut traffic, identity, output_may_wait, agreed } = *done;
                self.agreed = Some(agreed);
                std::mem::swap(bytes, &mut handshake.bytes.plain);
                let mut rest = std::mem::take(&mut handshake.bytes.input);
                self.to_send_may_wait = output_may_wait;
                self.identity = identity;
                let end = traffic.open(&mut rest);
                bytes.append(&mut rest);
                self.stage = TlsStage::Open(traffic);
                return end;
            }
            HandshakeOutcome::Dialled(_) => unreachable!("it is a server's"),
        }
        let looked = shaking.look(|input| match ContentType::of(input[0]) {
            Some(ContentType::Handshake) => Ok(()),
            _ => Err(plain_text(input)),
        });
        looked.err().map(|end| self.give_up(end))
    }

    fn give_up(&mut self, end: LayerEnd) -> LayerEnd {
        self.stage = TlsStage::Failed;
        end
    }
}

impl WireLayer for Tls {
    fn open(&mut self, bytes: &mut Vec<u8>) -> Option<LayerEnd> {
        match &mut self.stage {
            TlsStage::Open(traffic) => traffic.open(bytes),
            TlsStage::Shaking(_) => self.open_handshake(bytes),
            TlsStage::Away(_) => unreachable!("nothing is received while the handshake is away"),
            TlsStage::Failed => {
                bytes.clear();
                None
            }
        }
    }

    fn has_own_bytes(&self) -> bool {
        let records = match &self.stage {
            TlsStage::Open(traffic) => traffic.has_own_bytes(),
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
        match &mut self.stage {
            TlsStage::Open(traffic) => self.is_silent = traffic.seal(plain, out),
            TlsStage::Shaking(_) | TlsStage::Away(_) | TlsStage::Failed => {
                debug_assert!(plain.is_empty(), "MQTT has nothing to say before CONNECT was opened");
            }
        }
    }

    fn end(&mut self, _: CloseReason) {
        if let TlsStage::Open(traffic) = &mut self.stage
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
