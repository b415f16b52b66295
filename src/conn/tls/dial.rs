//! TLS below a link that this node has dialled: a client's handshake, away or here, then records.
//!
//! Always holds: the handshake is begun before anything has come, and never run by the shard. What the layer above says before there are keys is kept
//! until it can be sealed: that layer bounds it, to a HELLO. Nobody is told anything who has not shown a certificate of the cluster's authority.

use core::net::IpAddr;
use std::sync::Arc;

use rustls::ClientConfig;

use super::client::{ClientHandshake, ClientRecords};
use super::dial_failure::refused_by_node;
use super::handshake::{DialDone, Handshake, HandshakeOutcome, no_handshake};
use super::parameters::TlsParameters;
use super::record::ContentType;
use super::shaking::TlsStage;
use crate::conn::layer::{LayerEnd, LayerFailure, WireLayer};
use crate::telemetry::CloseReason;

/// What the handshakes of a node go by that dials others.
#[derive(Clone)]
pub struct TlsDialler(Arc<ClientConfig>);

impl std::fmt::Debug for TlsDialler {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("TlsDialler")
    }
}

impl TlsDialler {
    /// With what holds for all of them. It says whom to believe ([`super::NodeAuthority`]), and has a certificate to show.
    pub fn new(mut config: ClientConfig) -> Self {
        ClientHandshake::prepare(&mut config);
        Self(Arc::new(config))
    }
}

/// See the module's text.
#[derive(Debug)]
pub(in crate::conn) struct TlsDial {
    stage: TlsStage<ClientRecords>,
    /// What is to be sent before anything else, as it goes on the wire.
    to_send: Vec<u8>,
    /// What the layer above has said and could not be sealed yet.
    held: Vec<u8>,
    is_silent: bool,
    /// What both have agreed on.
    agreed: Option<TlsParameters>,
}

impl TlsDial {
    /// Of a connection to this address.
    pub(in crate::conn) fn new(dialler: &TlsDialler, to: IpAddr) -> Self {
        let handshake = Handshake::dialling(Arc::clone(&dialler.0), to.into());
        Self {
            stage: TlsStage::new(handshake, true),
            to_send: Vec::new(),
            held: Vec::new(),
            is_silent: false,
            agreed: None,
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

    fn open_handshake(&mut self, bytes: &mut Vec<u8>) -> Option<LayerEnd> {
        let TlsStage::Shaking(shaking) = &mut self.stage else { return None };
        let handshake = &mut shaking.handshake;
        handshake.bytes.input.append(bytes);
        self.to_send.append(&mut handshake.bytes.output);
        match std::mem::replace(&mut handshake.outcome, HandshakeOutcome::Waits) {
            HandshakeOutcome::Waits => {}
            HandshakeOutcome::Ended(end) => return Some(self.give_up(end)),
            HandshakeOutcome::Dialled(done) => {
                let DialDone { mut records, agreed } = *done;
                self.agreed = Some(agreed);
                std::mem::swap(bytes, &mut handshake.bytes.plain);
                let mut rest = std::mem::take(&mut handshake.bytes.input);
                let end = open(&mut records, &mut rest);
                bytes.append(&mut rest);
                self.stage = TlsStage::Open(records);
                return end;
            }
            HandshakeOutcome::Done(_) => unreachable!("it is a client's"),
        }
        let looked = shaking.look(|input| {
            if let Some(ContentType::Handshake | ContentType::Alert) = ContentType::of(input[0]) {
                return Ok(());
            }
            let text = "it does not answer with TLS: are links without TLS accepted there, or something else?";
            Err(no_handshake(CloseReason::LinkTls, text))
        });
        looked.err().map(|end| self.give_up(end))
    }

    fn give_up(&mut self, end: LayerEnd) -> LayerEnd {
        self.stage = TlsStage::Failed;
        self.held = Vec::new();
        end
    }
}

/// Opens records. Of an alert that ended them it is known what it says.
fn open(records: &mut ClientRecords, bytes: &mut Vec<u8>) -> Option<LayerEnd> {
    let end = records.open_layer(bytes)?;
    Some(match (end, records.traffic.received_alert()) {
        (LayerEnd::Failed(LayerFailure { reason, .. }), Some(alert)) => {
            LayerEnd::Failed(LayerFailure { reason, text: refused_by_node(alert.into()) })
        }
        _ => end,
    })
}

impl WireLayer for TlsDial {
    fn open(&mut self, bytes: &mut Vec<u8>) -> Option<LayerEnd> {
        match &mut self.stage {
            TlsStage::Open(records) => open(records, bytes),
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
            TlsStage::Open(records) => records.has_own_bytes() || !self.held.is_empty(),
            _ => false,
        };
        !self.is_silent && (records || !self.to_send.is_empty())
    }

    fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        if self.is_silent {
            return;
        }
        // Its memory is not kept: this comes once or twice in the life of a connection.
        out.append(&mut std::mem::take(&mut self.to_send));
        match &mut self.stage {
            TlsStage::Open(records) => {
                let mut held = std::mem::take(&mut self.held);
                let plain = if held.is_empty() {
                    plain
                } else {
                    held.extend_from_slice(plain);
                    &held
                };
                self.is_silent = records.traffic.seal(plain, out);
            }
            TlsStage::Shaking(_) | TlsStage::Away(_) => self.held.extend_from_slice(plain),
            TlsStage::Failed => {}
        }
    }

    fn end(&mut self, _: CloseReason) {
        if let TlsStage::Open(records) = &mut self.stage
            && !self.is_silent
        {
            records.end();
        }
    }

    fn silence(&mut self) {
        self.is_silent = true;
    }
}
