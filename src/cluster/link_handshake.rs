//! Who is at the other end of a link.
//!
//! Always holds: nothing but HELLO and PROOF is heard before the peer is known, and no more than [`LINK_HELLO_MAX_BYTES`] of it. Behind mutual TLS a
//! certificate of the cluster's authority is enough; else each end shows that it knows the shared secret, which never travels. A proof covers both HELLOs,
//! in which each end has a nonce of its own, and which end it is: one that was heard before, or that comes back from where it went, shows nothing.
//! Leaves to others: TLS, and where nonces come from.
//!
//! Behind TLS frames follow one another. With the secret alone they travel in records, each with a tag under a key of this link and this direction and
//! the number of the record: what somebody on the way adds, changes, repeats, leaves out or turns back ends the link. They can be read by whoever
//! is on the way; only TLS hides them.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::link_bytes::LinkFrameError;
use super::link_frame::{LINK_PROOF_BYTES, LINK_VERSION, LinkFrame, LinkHello};
use super::range::{BootId, NodeId};
use crate::limits::{LINK_FRAME_MAX_BYTES, LINK_HELLO_MAX_BYTES, LINK_SECRET_MIN_BYTES};

/// Which end of a link this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkSide {
    /// It has connected.
    Dials,
    /// It was connected to.
    Accepts,
}

/// How the ends of a link know each other.
#[derive(Clone)]
pub enum LinkTrust {
    /// TLS has checked that the peer has a certificate of the cluster's authority.
    Certificate,
    /// Both know it.
    Secret(LinkSecret),
}

impl std::fmt::Debug for LinkTrust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Certificate => "Certificate",
            Self::Secret(_) => "Secret",
        })
    }
}

/// Bytes that every node of a cluster knows and nobody else.
#[derive(Clone)]
pub struct LinkSecret(Vec<u8>);

impl LinkSecret {
    /// `None` if it is too short to withstand guessing by whoever has seen a proof.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= LINK_SECRET_MIN_BYTES).then(|| Self(bytes.to_vec()))
    }
}

impl std::fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkSecret")
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkPeer {
    /// As it says: any member may, the secret is the same for all. `None` for one that is no member yet.
    pub node: Option<NodeId>,
    /// Its process.
    pub boot: BootId,
    /// How many shards it has, and which of them speaks here.
    pub shards: (u8, u8),
    /// Whether it forwards a client by this connection.
    pub carries_client: bool,
    /// What both speak.
    pub version: u16,
}

/// Why a link is not made, or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefusal {
    /// Bytes that are no frame.
    #[error("{0}")]
    Frame(#[from] LinkFrameError),
    /// Another frame than the one that has its turn.
    #[error("a frame that has not its turn")]
    Order,
    /// A node of another cluster.
    #[error("the peer is of another cluster")]
    Cluster,
    /// This node itself, or somebody who says that it is.
    #[error("the peer has this node's own number, or is this process")]
    Itself,
    /// No version that both speak.
    #[error("the peer speaks versions {0} to {1}, this node {LINK_VERSION}")]
    Version(u16, u16),
    /// It does not know the secret, or repeats what somebody said who does.
    #[error("the peer does not know the cluster's secret")]
    Proof,
    /// It says that it has received more than it was sent, or less than it had.
    #[error("the peer does not count what it was sent")]
    Count,
    /// A frame whose fields are right, and that cannot be meant.
    #[error("{0} that no node sends")]
    Content(&'static str),
    /// A record that was not sent so, or not now.
    #[error("a record that the peer has not sent")]
    Record,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandshakePhase {
    Hello,
    Proof,
    Done,
}

/// See the module's text.
#[derive(Debug)]
pub struct LinkHandshake {
    side: LinkSide,
    trust: LinkTrust,
    cluster: String,
    node: Option<NodeId>,
    boot: BootId,
    phase: HandshakePhase,
    own_hello: Vec<u8>,
    transcript: [u8; 32],
    peer: Option<LinkPeer>,
    out: Vec<u8>,
}

impl LinkHandshake {
    /// Begins, with a nonce in `hello` that was never used before. Whoever dials speaks first.
    pub fn new(side: LinkSide, trust: LinkTrust, hello: &LinkHello<'_>) -> Self {
        let mut own_hello = Vec::new();
        LinkFrame::Hello(*hello).encode(&mut own_hello);
        let out = if side == LinkSide::Dials { own_hello.clone() } else { Vec::new() };
        let (cluster, phase) = (hello.cluster.to_owned(), HandshakePhase::Hello);
        let (node, boot) = (hello.node, hello.boot);
        Self { side, trust, cluster, node, boot, phase, own_hello, transcript: [0; 32], peer: None, out }
    }

    /// What to send now.
    pub fn take_out(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// The peer, once it is known.
    pub fn peer(&self) -> Option<LinkPeer> {
        self.peer.filter(|_| self.phase == HandshakePhase::Done)
    }

    /// What seals and opens records from now on, where there is no TLS: first for what is sent, then for what is received.
    pub fn records(&self) -> Option<(LinkSealer, LinkOpener)> {
        let (LinkTrust::Secret(secret), HandshakePhase::Done) = (&self.trust, self.phase) else { return None };
        let key = |side| digest(&secret.0, label(side, "records"), &self.transcript);
        let (own, peer) = match self.side {
            LinkSide::Dials => (key(LinkSide::Dials), key(LinkSide::Accepts)),
            LinkSide::Accepts => (key(LinkSide::Accepts), key(LinkSide::Dials)),
        };
        Some((LinkSealer { key: own, number: 0 }, LinkOpener { key: peer, number: 0 }))
    }

    /// Takes what has come, as much as belongs to the handshake, and says how much that was.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<usize, LinkRefusal> {
        let mut taken = 0;
        while self.phase != HandshakePhase::Done {
            let Some((frame, len)) = LinkFrame::next(&bytes[taken..], LINK_HELLO_MAX_BYTES)? else { break };
            match (self.phase, frame) {
                (HandshakePhase::Hello, LinkFrame::Hello(hello)) => {
                    self.handle_hello(&hello, &bytes[taken..taken + len])?;
                }
                (HandshakePhase::Proof, LinkFrame::Proof(proof)) => self.handle_proof(&proof)?,
                _ => return Err(LinkRefusal::Order),
            }
            taken += len;
        }
        Ok(taken)
    }

    fn handle_hello(&mut self, hello: &LinkHello<'_>, bytes: &[u8]) -> Result<(), LinkRefusal> {
        if hello.cluster != self.cluster {
            return Err(LinkRefusal::Cluster);
        }
        if (hello.node.is_some() && hello.node == self.node) || hello.boot == self.boot {
            return Err(LinkRefusal::Itself);
        }
        if !(hello.versions.0..=hello.versions.1).contains(&LINK_VERSION) {
            return Err(LinkRefusal::Version(hello.versions.0, hello.versions.1));
        }
        if hello.carries_client && self.side == LinkSide::Dials {
            return Err(LinkRefusal::Order);
        }
        let LinkHello { node, boot, shards, carries_client, .. } = *hello;
        self.peer = Some(LinkPeer { node, boot, shards, carries_client, version: LINK_VERSION });
        let (first, second) = match self.side {
            LinkSide::Dials => (self.own_hello.as_slice(), bytes),
            LinkSide::Accepts => (bytes, self.own_hello.as_slice()),
        };
        self.transcript = Sha256::new().chain_update(first).chain_update(second).finalize().into();
        if self.side == LinkSide::Accepts {
            self.out.extend_from_slice(&self.own_hello);
        }
        self.phase = match self.trust {
            LinkTrust::Certificate => HandshakePhase::Done,
            LinkTrust::Secret(_) => HandshakePhase::Proof,
        };
        if self.side == LinkSide::Dials {
            self.prove();
        }
        Ok(())
    }

    fn handle_proof(&mut self, proof: &[u8; LINK_PROOF_BYTES]) -> Result<(), LinkRefusal> {
        let LinkTrust::Secret(secret) = &self.trust else { return Err(LinkRefusal::Order) };
        let peer = match self.side {
            LinkSide::Dials => LinkSide::Accepts,
            LinkSide::Accepts => LinkSide::Dials,
        };
        mac(&secret.0, label(peer, "proof"), &self.transcript).verify_slice(proof).map_err(|_| LinkRefusal::Proof)?;
        self.phase = HandshakePhase::Done;
        if self.side == LinkSide::Accepts {
            self.prove();
        }
        Ok(())
    }

    fn prove(&mut self) {
        if let LinkTrust::Secret(secret) = &self.trust {
            let proof = digest(&secret.0, label(self.side, "proof"), &self.transcript);
            LinkFrame::Proof(proof).encode(&mut self.out);
        }
    }
}

/// Puts frames into records.
pub struct LinkSealer {
    key: [u8; 32],
    number: u64,
}

/// Takes frames out of records.
pub struct LinkOpener {
    key: [u8; 32],
    number: u64,
}

impl std::fmt::Debug for LinkSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LinkSealer({})", self.number)
    }
}

impl std::fmt::Debug for LinkOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LinkOpener({})", self.number)
    }
}

/// Bytes before the frames of a record: how many follow, and the tag.
pub const LINK_RECORD_HEAD_BYTES: usize = 4 + TAG_BYTES;
const TAG_BYTES: usize = 16;

impl LinkSealer {
    /// Appends a record of whole frames, at most [`LINK_FRAME_MAX_BYTES`] and a length.
    pub fn seal(&mut self, frames: &[u8], out: &mut Vec<u8>) {
        assert!(frames.len() <= LINK_FRAME_MAX_BYTES + 4, "frames are cut into records that are no longer than one");
        out.extend_from_slice(&(frames.len() as u32).to_le_bytes());
        out.extend_from_slice(&tag(&self.key, self.number, frames));
        out.extend_from_slice(frames);
        self.number += 1;
    }
}

impl LinkOpener {
    /// The frames of the first record, and how many bytes it takes; `None` while it has not come whole.
    pub fn open<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(&'a [u8], usize)>, LinkRefusal> {
        let Some((head, rest)) = bytes.split_first_chunk::<LINK_RECORD_HEAD_BYTES>() else { return Ok(None) };
        let (len, sent_tag) = head.split_at(4);
        let len = len.iter().rev().fold(0_usize, |len, byte| len << 8 | usize::from(*byte));
        if len > LINK_FRAME_MAX_BYTES + 4 {
            return Err(LinkRefusal::Record);
        }
        let Some(frames) = rest.get(..len) else { return Ok(None) };
        tag_of(&self.key, self.number, frames).verify_truncated_left(sent_tag).map_err(|_| LinkRefusal::Record)?;
        self.number += 1;
        Ok(Some((frames, LINK_RECORD_HEAD_BYTES + len)))
    }
}

const fn label(side: LinkSide, what: &'static str) -> (&'static str, &'static str) {
    match side {
        LinkSide::Dials => ("dunlin link 1, who dials", what),
        LinkSide::Accepts => ("dunlin link 1, who accepts", what),
    }
}

fn mac(key: &[u8], (side, what): (&str, &str), transcript: &[u8]) -> Hmac<Sha256> {
    let mut mac = new_mac(key);
    for part in [side, "\0", what, "\0"] {
        mac.update(part.as_bytes());
    }
    mac.update(transcript);
    mac
}

fn digest(key: &[u8], label: (&str, &str), transcript: &[u8]) -> [u8; 32] {
    mac(key, label, transcript).finalize().into_bytes().into()
}

fn tag_of(key: &[u8; 32], number: u64, frames: &[u8]) -> Hmac<Sha256> {
    let mut mac = new_mac(key);
    mac.update(&number.to_le_bytes());
    mac.update(frames);
    mac
}

fn tag(key: &[u8; 32], number: u64, frames: &[u8]) -> [u8; TAG_BYTES] {
    let whole: [u8; 32] = tag_of(key, number, frames).finalize().into_bytes().into();
    std::array::from_fn(|at| whole[at])
}

fn new_mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}
