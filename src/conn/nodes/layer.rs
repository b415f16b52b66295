//! What nodes say to each other as a layer: a handshake, then frames, in records where there is no TLS below.
//!
//! Always holds: nothing passes before the peer is known, and no more than [`LINK_HELLO_MAX_BYTES`] of it is kept; of its own it says one HELLO and
//! one proof. What came in a record passes when its tag is right and as a whole, whatever came before; behind one that is not, nothing passes.
//!
//! [`LINK_HELLO_MAX_BYTES`]: crate::limits::LINK_HELLO_MAX_BYTES

use crate::cluster::{LinkHandshake, LinkOpener, LinkPeer, LinkRefusal, LinkSealer};
use crate::conn::layer::{LayerEnd, LayerFailure, WireLayer};
use crate::limits::LINK_CHUNK_BYTES;
use crate::telemetry::CloseReason;

/// See the module's text.
#[derive(Debug)]
pub(in crate::conn) struct LinkLayer {
    stage: LinkStage,
    peer: Option<LinkPeer>,
    /// What cannot be opened yet.
    kept: Vec<u8>,
    /// What the handshake has to say.
    to_say: Vec<u8>,
    is_silent: bool,
    /// Once the connection is a client's.
    pub(in crate::conn) forwarded: Option<Box<ForwardedClient>>,
}

/// What another node says of a client that it forwards, beside what a connection has of any client.
#[derive(Debug)]
pub(in crate::conn) struct ForwardedClient {
    /// The client id that it has in place of CONNECT's.
    pub(in crate::conn) client_id: Option<Box<str>>,
    /// Whom it has proved to be.
    pub(in crate::conn) proved_user: Option<Box<str>>,
}

#[derive(Debug)]
enum LinkStage {
    Handshake(Box<LinkHandshake>),
    Records(Box<(LinkSealer, LinkOpener)>),
    /// TLS is below.
    Frames,
    Failed,
}

impl LinkLayer {
    /// Of a connection on which nothing was said.
    pub(in crate::conn) fn new(mut handshake: LinkHandshake) -> Self {
        let to_say = handshake.take_out();
        Self {
            stage: LinkStage::Handshake(Box::new(handshake)),
            peer: None,
            kept: Vec::new(),
            to_say,
            is_silent: false,
            forwarded: None,
        }
    }

    /// Who is at the other end, once that is known.
    pub(in crate::conn) const fn peer(&self) -> Option<LinkPeer> {
        self.peer
    }

    /// Takes what belongs to the handshake out of `bytes`. What is left of them comes behind it.
    fn shake(&mut self, bytes: &mut Vec<u8>) -> Result<(), LinkRefusal> {
        let LinkStage::Handshake(handshake) = &mut self.stage else { return Ok(()) };
        if !self.kept.is_empty() {
            bytes.splice(..0, self.kept.drain(..));
        }
        let taken = handshake.handle_bytes(bytes)?;
        bytes.drain(..taken);
        self.to_say.extend(handshake.take_out());
        self.peer = handshake.peer();
        if self.peer.is_some() {
            self.stage = match handshake.records() {
                Some(records) => LinkStage::Records(Box::new(records)),
                None => LinkStage::Frames,
            };
        } else {
            // A frame whose length is right, and that is not whole.
            self.kept.append(bytes);
        }
        Ok(())
    }

    /// Leaves in `bytes` what whole records carry.
    fn open_records(&mut self, bytes: &mut Vec<u8>) -> Result<(), LinkRefusal> {
        let LinkStage::Records(records) = &mut self.stage else { return Ok(()) };
        self.kept.append(bytes);
        let mut read = 0;
        let found = loop {
            match records.1.open(&self.kept[read..]) {
                Ok(Some((frames, len))) => {
                    bytes.extend_from_slice(frames);
                    read += len;
                }
                Ok(None) => break Ok(()),
                Err(refusal) => break Err(refusal),
            }
        };
        self.kept.drain(..read);
        if self.kept.is_empty() {
            self.kept.shrink_to(LINK_CHUNK_BYTES);
        }
        found
    }
}

impl WireLayer for LinkLayer {
    fn open(&mut self, bytes: &mut Vec<u8>) -> Option<LayerEnd> {
        let opened = match self.shake(bytes) {
            Ok(()) => self.open_records(bytes),
            Err(refusal) => {
                bytes.clear();
                Err(refusal)
            }
        };
        let refusal = opened.err()?;
        self.kept = Vec::new();
        self.stage = LinkStage::Failed;
        self.is_silent = true; // no frame says why
        let (reason, text) = refusal_words(refusal);
        Some(LayerEnd::Failed(LayerFailure { reason, text }))
    }

    fn has_own_bytes(&self) -> bool {
        !self.is_silent && !self.to_say.is_empty()
    }

    fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        out.append(&mut self.to_say);
        match &mut self.stage {
            LinkStage::Records(records) => {
                plain.chunks(LINK_CHUNK_BYTES).for_each(|frames| records.0.seal(frames, out));
            }
            LinkStage::Frames => out.extend_from_slice(plain),
            LinkStage::Handshake(_) => debug_assert!(plain.is_empty(), "nobody is known to hear it"),
            // A client that was forwarded may be told why it ends: by a connection whose other end cannot be believed any more.
            LinkStage::Failed => {}
        }
    }

    fn end(&mut self, _: CloseReason) {}

    fn silence(&mut self) {
        self.is_silent = true;
    }
}

/// How a refusal is counted and told.
pub(super) const fn refusal_words(refusal: LinkRefusal) -> (CloseReason, &'static str) {
    match refusal {
        LinkRefusal::Frame(_) => {
            (CloseReason::LinkMalformed, "what it says is no frame of a link, or none that can be")
        }
        LinkRefusal::Order => (CloseReason::LinkMalformed, "it says something that has not its turn"),
        LinkRefusal::Count => (CloseReason::LinkMalformed, "it does not count what it was sent"),
        LinkRefusal::Content(_) => (CloseReason::LinkMalformed, "it says what no node says"),
        LinkRefusal::Record => (CloseReason::LinkMalformed, "a record came that the peer has not sent so, or not then"),
        LinkRefusal::Cluster => (CloseReason::LinkCluster, "it is of another cluster (--cluster-name)"),
        LinkRefusal::Itself => (CloseReason::LinkItself, "it is this node itself, or has its number"),
        LinkRefusal::Version(..) => (CloseReason::LinkVersion, "no version of what nodes say is spoken by both"),
        LinkRefusal::Proof => {
            (CloseReason::LinkSecret, "it does not know the cluster's secret, or repeats what somebody said who does")
        }
    }
}
