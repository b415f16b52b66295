//! Several nodes that act as one broker: who owns which client ids, how that is agreed upon, and the logs that outlive a node.
//!
//! Owns: which range a client id belongs to ([`RangeCount`]); the documents that all nodes read, and every change that one of them may make
//! ([`ClusterMap`], [`Membership`]), and a node's part in it, which puts all that together ([`ClusterNode`]); a range's log, written by one owner ([`LogOwner`]) and read by the next ([`LogReader`]); what nodes say to each
//! other ([`LinkFrame`]), how it arrives once and in order ([`LinkOut`]) and how they know each other ([`LinkHandshake`]); what a node tells its shards of all that ([`ClusterView`]); retained messages, which every node has ([`RetainedTail`]).
//! Always holds: the log itself is the lock. Whoever owns a range by the map serves it only after its MARK was appended right behind all that it has
//! read, and an acknowledgement counts only when everything before it in the run of that MARK has one. So two nodes may both take
//! themselves for the owner, and never both be acknowledged.
//! Leaves to others: sockets and the engine's protocol (the edge), what the records of a batch mean (`store`), when there is one (`shard`).
//!
//! No setting starts any of it yet. `docs/decisions/2026-11-30-cluster-core.md` has the reasons.

mod batch;
mod document;
mod exchange;
mod link_bytes;
mod link_forward;
mod link_frame;
mod link_handshake;
mod link_nonces;
mod link_publish;
mod link_stream;
mod map;
mod membership;
mod node;
mod node_exchange;
mod owner;
mod peer_words;
mod range;
mod range_log;
mod reader;
mod retained;
mod retained_entry;
mod retained_topic;
mod run;
#[cfg(test)]
mod tests;
mod view;

pub use batch::{BatchKind, RANGE_BATCH_FORMAT, RangeBatch, RangeBatchError, RangeBatchHeader, StatePage};
pub use document::{CONTROL_FORMAT, ClusterDocument, ControlKey, DocumentError, NodeDocument};
pub use exchange::{AppendId, LogAnswer, LogOperation, LossReason, RangeClaim, RangeNews};
pub use link_bytes::LinkFrameError;
pub use link_forward::{LinkForward, LinkIdentity, LinkTexts};
pub use link_frame::{
    LINK_NONCE_BYTES, LINK_PROOF_BYTES, LINK_VERSION, LinkFrame, LinkHello, LinkInterest, LinkReception, LinkRoom,
};
pub use link_handshake::{
    LINK_RECORD_HEAD_BYTES, LinkHandshake, LinkOpener, LinkPeer, LinkRefusal, LinkSealer, LinkSecret, LinkSide,
    LinkTrust,
};
pub use link_nonces::LinkNonces;
pub use link_publish::{LinkPublish, LinkToken};
pub use link_stream::{LinkIn, LinkOut, LinkPulse, LinkRedial};
pub use map::{ClusterMap, MapChange, MapMember, RangeEntry};
pub use membership::{ControlPut, Membership, MembershipNews, NodeIdentity, Standing};
pub use node::ClusterNode;
pub use node_exchange::{EndReason, NodeAsk, NodeNews};
pub use owner::LogOwner;
pub use peer_words::PeerWord;
pub use range::{BootId, Mark, NodeId, NodeSet, RangeCount, RangeId, RangeSet};
pub use range_log::RangeLog;
pub use reader::{LogReader, RangeLogEnd};
pub use retained::{RetainedAnswer, RetainedAppend, RetainedAsk, RetainedNews, RetainedTail};
pub use retained_entry::{RETAINED_FORMAT, RetainedBody, RetainedEntry, RetainedEntryError, RetainedSubject};
pub use run::LogDamage;
pub use view::{ClusterView, NodeStanding, PeerProcess, PeerSlots, RangePlace, RangeServer};
