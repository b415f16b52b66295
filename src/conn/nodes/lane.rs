//! What a shard says to other nodes, once a turn: from its mesh to links, and what links are behind with.
//!
//! Always holds: what is said to a process that the view has is encoded in its order, in the turn in which it was said, and kept until the process has it;
//! what is said to another is forgotten. RECEIVED is said once in a turn in which something has come. A link is given no more than
//! [`LINK_TURN_BYTES`] a turn, and nothing while its socket is behind; while one was not given all, the shard does not sleep. A link is behind from
//! [`LINK_BUFFER_MARK_BYTES`] on, until half of that is left, and the shard hears of both once.
//! Leaves to others: what follows from a link that is behind (`shard`), the streams (`streams`), the words (`link_words`).
//!
//! [`LINK_BUFFER_MARK_BYTES`]: crate::limits::LINK_BUFFER_MARK_BYTES

use crate::cluster::LinkOut;
use crate::conn::connections::Connections;
use crate::ids::ShardId;
use crate::limits::LINK_TURN_BYTES;
use crate::shard::link_words::encode;
use crate::shard::{LogRoom, MeshOut, PeerFault};
use crate::telemetry::CloseReason;
use crate::time::Now;

/// Messages that an empty batch keeps room for at most.
const KEPT_MESSAGES: usize = 256;
/// The same in bytes of messages.
const KEPT_BYTES: usize = 32 * 1024;

impl Connections {
    /// Gives links what this shard has said to other nodes; to be called once a turn, before sockets are given anything.
    pub fn take_links(&mut self, now: Now, mesh: &mut MeshOut) {
        let shards = self.config.shards;
        for (slot, batch) in mesh.batches_of_nodes(shards) {
            if let Some(out) = self.link_out(slot) {
                batch.messages.iter().for_each(|message| encode(now, message, &batch.bytes, out));
            }
            batch.clear(KEPT_MESSAGES, KEPT_BYTES);
        }
        if self.links.is_some() {
            self.tell_all_received();
            self.send_links();
        }
    }

    /// The next peer whose link is behind from now on, or has room again: to be told to the shard, behind [`Self::take_links`].
    pub fn next_link_room(&mut self) -> Option<(ShardId, LogRoom)> {
        self.links.as_deref_mut()?.streams.next_room()
    }

    /// What is said to the process with this slot: it leaves with [`Self::take_links`].
    pub fn link_out(&mut self, slot: ShardId) -> Option<&mut LinkOut> {
        self.links.as_deref_mut()?.streams.out(slot)
    }

    fn tell_all_received(&mut self) {
        let Some(links) = self.links.as_deref_mut() else { return };
        let mut heard = std::mem::take(&mut links.heard);
        heard.drain(..).for_each(|id| self.tell_received(id));
        if let Some(links) = self.links.as_deref_mut() {
            links.heard = heard;
        }
    }

    fn send_links(&mut self) {
        let Self { links: Some(links), table, pool, dirty, .. } = self else { return };
        links.has_more = false;
        for (id, to) in links.streams.standing() {
            let Some(connection) = table.get_mut(id).filter(|connection| connection.rest_bytes == 0) else { continue };
            let mut given = connection.waiting_bytes() as usize;
            while given < LINK_TURN_BYTES
                && let Some(bytes) = to.next_piece(LINK_TURN_BYTES - given)
            {
                given += bytes.len();
                connection.outbox.get_or_insert_with(|| pool.pop().unwrap_or_default()).push_payload(bytes);
                if !std::mem::replace(&mut connection.is_dirty, true) {
                    dirty.push(id);
                }
            }
            links.has_more |= to.has_more();
        }
    }

    /// The process with this slot has said what it cannot mean: the links between it and this shard end. What it had said before counts.
    pub(in crate::conn) fn end_links_of(&mut self, slot: ShardId, fault: PeerFault) {
        let ended = self.links.as_deref().map(|links| links.streams.connections_of(slot)).unwrap_or_default();
        for id in ended {
            self.end_link(id, CloseReason::LinkMalformed, fault.text());
        }
    }
}
