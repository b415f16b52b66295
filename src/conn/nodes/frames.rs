//! Frames of links, as they come.
//!
//! Always holds: a counted frame leads to one input of the shard, in its order, and is counted when it has; what cannot have been meant ends the
//! link. A link whose frames have led to as many deliveries as a turn makes, or to more fan-outs than may be under way, goes on in another turn, and what it has sent
//! is kept. Who is not heard because this shard is paused is not called silent; the other end, whose PINGs nobody answers, makes a new connection.
//! Leaves to others: what is said (`lane`).

use std::sync::Arc;

use super::streams::{LinkMeeting, LinkNews, LinkRole};
use crate::cluster::{ClusterView, LinkFrame, LinkRefusal, NodeId};
use crate::conn::connection::Phase;
use crate::conn::connections::{Connections, InputHandler};
use crate::conn::receiving::Fed;
use crate::ids::ConnectionId;
use crate::limits::LINK_FRAME_MAX_BYTES;
use crate::shard::Input;
use crate::shard::link_words::decode;
use crate::telemetry::CloseReason;
use crate::time::Now;

impl Connections {
    /// What this node knows of the cluster from now on, and which member it is. Links to processes that are gone end, those to new ones are dialled.
    pub fn use_view(&mut self, now: Now, node: Option<NodeId>, view: Arc<ClusterView>) {
        let Some(links) = self.links.as_deref_mut() else { return };
        links.terms.node = node;
        links.waiters.look_again();
        for id in links.streams.use_view(now, node.is_some(), view) {
            self.close(id);
        }
    }

    /// Whether this node's beats come back to it: its PINGs say so.
    pub fn set_heard(&mut self, is_heard: bool) {
        if let Some(links) = self.links.as_deref_mut() {
            links.is_heard = is_heard;
        }
    }

    /// What was found out about other nodes' processes since this was last asked.
    pub fn link_news(&mut self) -> Vec<LinkNews> {
        self.links.as_deref_mut().map(|links| links.streams.take_news()).unwrap_or_default()
    }

    /// Dials, asks who is there, and ends what is not.
    pub(in crate::conn) fn keep_links(&mut self, now: Now) {
        self.end_late_links(now);
        let is_paused = self.is_paused;
        let dead = self.links.as_deref_mut().map(|links| {
            if is_paused {
                links.streams.hear_all(now);
            }
            links.streams.dead(now)
        });
        for id in dead.unwrap_or_default() {
            self.end_link(id, CloseReason::LinkSilent, "nothing was heard of it for three pings");
        }
        while let Some((boot, at)) = self.links.as_deref_mut().and_then(|links| links.streams.next_dial(now)) {
            let id = self.dial(now, at);
            if let (Some(links), Some(id)) = (self.links.as_deref_mut(), id) {
                links.streams.dialled(boot, id);
            }
        }
        while let Some((id, number)) = self.links.as_deref_mut().and_then(|links| links.streams.next_ping(now)) {
            self.ping(id, number, false);
        }
    }

    /// The layers of a link have opened something, of which `rest` is left: perhaps its peer is known now.
    pub(in crate::conn) fn find_link_peer(&mut self, now: Now, id: ConnectionId, rest: &[u8]) {
        let Some(connection) = self.table.get_mut(id) else { return };
        let (Phase::AwaitingPeer, Some(peer)) = (connection.phase, connection.wire.link_peer()) else { return };
        let Some(links) = self.links.as_deref_mut() else { return };
        if peer.carries_client {
            links.unknown.remove(&id);
            return; // what it forwards comes next, within its time
        }
        let (is_accepted, hearer) = (links.unknown.remove(&id), links.hearer_of(peer));
        if is_accepted && peer.node.is_some() && hearer != self.config.own {
            return self.hand_link_over(id, hearer, rest);
        }
        connection.phase = Phase::Link;
        match links.streams.know(now, id, peer) {
            LinkMeeting::Dialled | LinkMeeting::Probe => {}
            LinkMeeting::Reached => self.close(id),
            LinkMeeting::Accepted(earlier) => {
                if let Some(earlier) = earlier {
                    self.end_link(earlier, CloseReason::LinkClosed, "its other end has connected anew");
                }
                self.tell_received(id);
            }
            LinkMeeting::Stranger => {
                let text = "it is no process of a member that this node knows of";
                self.end_link(id, CloseReason::LinkNotMember, text);
            }
        }
    }

    /// Frames of a link, or pieces of them.
    pub(in crate::conn) fn take_link_bytes(&mut self, core: &mut impl InputHandler, id: ConnectionId, bytes: &[u8]) {
        if self.budgets.is_held(id) {
            if let Some(connection) = self.table.get_mut(id) {
                connection.partial.extend(bytes);
            }
            return;
        }
        self.find_link_peer(core.now(), id, bytes);
        if let Some(forwarder) = self.forwarder(id) {
            return self.take_forward(core, id, forwarder, bytes);
        }
        let Some(role) = self.role_of_link(id) else { return };
        if let Some(links) = self.links.as_deref_mut() {
            links.streams.heard(core.now(), role);
        }
        let Some(connection) = self.table.get_mut(id) else { return };
        let fed = if let Some(mut kept) = connection.partial.take() {
            kept.extend_from_slice(bytes);
            self.hear_kept(core, (id, role), kept)
        } else {
            let (read, fed) = self.take_frames(core, (id, role), bytes);
            if let Some(connection) = self.table.get_mut(id)
                && read < bytes.len()
            {
                connection.partial.extend(&bytes[read..]);
            }
            fed
        };
        if self.table.get(id).is_some() {
            self.keep_back(id, fed);
        }
    }

    /// Goes on with a link that had led to enough in an earlier turn.
    pub(in crate::conn) fn hear_link_on(&mut self, core: &mut impl InputHandler, id: ConnectionId) {
        let Some(role) = self.role_of_link(id) else { return };
        let kept = self.table.get_mut(id).and_then(|connection| connection.partial.take());
        let fed = kept.map_or(Fed::All, |kept| self.hear_kept(core, (id, role), kept));
        if self.table.get(id).is_none() {
            return;
        }
        if fed == Fed::All {
            self.budgets.release(id);
            self.finish_layers(core, id);
        } else {
            self.keep_back(id, fed);
        }
    }

    /// What a connection is, once its peer is known.
    fn role_of_link(&self, id: ConnectionId) -> Option<LinkRole> {
        self.table.get(id).filter(|connection| connection.phase == Phase::Link)?;
        self.links.as_deref()?.streams.role(id)
    }

    /// Hears what was kept, and keeps what is left of it.
    fn hear_kept(
        &mut self,
        core: &mut impl InputHandler,
        (id, role): (ConnectionId, LinkRole),
        mut kept: Vec<u8>,
    ) -> Fed {
        let (read, fed) = self.take_frames(core, (id, role), &kept);
        kept.drain(..read);
        if let Some(connection) = self.table.get_mut(id) {
            connection.partial.keep(kept);
        }
        fed
    }

    /// Hears whole frames, as many as a turn may. Returns the bytes that they take.
    fn take_frames(
        &mut self,
        core: &mut impl InputHandler,
        (id, role): (ConnectionId, LinkRole),
        bytes: &[u8],
    ) -> (usize, Fed) {
        let deliveries_max = self.config.settings.deliveries_per_turn;
        let mut read = 0;
        loop {
            let heard = match LinkFrame::next(&bytes[read..], LINK_FRAME_MAX_BYTES) {
                Ok(None) => return (read, Fed::All),
                Ok(Some((frame, len))) => {
                    read += len;
                    self.take_frame(core, (id, role), &frame, &bytes[read - len..read])
                }
                Err(error) => Err(error.into()),
            };
            if let Err(refusal) = heard {
                let (reason, text) = super::layer::refusal_words(refusal);
                self.end_link(id, reason, text);
            }
            if self.table.get(id).is_none() {
                return (bytes.len(), Fed::All);
            }
            if core.deliveries() >= deliveries_max || core.is_overloaded() {
                return (read, Fed::Spent);
            }
        }
    }

    fn take_frame(
        &mut self,
        core: &mut impl InputHandler,
        (id, role): (ConnectionId, LinkRole),
        frame: &LinkFrame<'_>,
        bytes: &[u8],
    ) -> Result<(), LinkRefusal> {
        let Some(links) = self.links.as_deref_mut() else { return Err(LinkRefusal::Order) };
        match (role, *frame) {
            (LinkRole::To(boot), LinkFrame::Received { count }) => {
                let Some((is_linked, stream)) = links.streams.stream_to(boot) else { return Err(LinkRefusal::Order) };
                if is_linked {
                    return stream.received(count);
                }
                stream.connected(count)?;
                links.streams.stands(boot);
            }
            (LinkRole::To(boot), LinkFrame::Ping { is_answer: true, is_heard, .. }) => {
                links.streams.told(boot, is_heard);
            }
            (LinkRole::From(boot, _), LinkFrame::Ping { number, is_answer: false, is_heard }) => {
                links.streams.told(boot, is_heard);
                self.ping(id, number, true);
            }
            (LinkRole::From(boot, shard), frame) if frame.is_counted() => {
                let Some((slot, stream)) = links.streams.stream_from(boot, shard) else {
                    return Err(LinkRefusal::Order);
                };
                let message = decode(core.now(), &frame, slot, bytes)?;
                stream.count();
                links.note_heard(id);
                core.handle(Input::Mesh { from: slot, message, bytes });
            }
            _ => return Err(LinkRefusal::Order),
        }
        Ok(())
    }

    /// Tells the other end how much of it has come, unless it knows.
    pub(super) fn tell_received(&mut self, id: ConnectionId) {
        let Some(links) = self.links.as_deref_mut() else { return };
        let Some(LinkRole::From(boot, shard)) = links.streams.role(id) else { return };
        if let Some((_, stream)) = links.streams.stream_from(boot, shard)
            && stream.is_to_be_told()
        {
            let frame = stream.tell();
            self.say(id, &frame);
        }
    }

    fn ping(&mut self, id: ConnectionId, number: u64, is_answer: bool) {
        let is_heard = self.links.as_deref().is_some_and(|links| links.is_heard);
        self.say(id, &LinkFrame::Ping { number, is_answer, is_heard });
    }

    fn say(&mut self, id: ConnectionId, frame: &LinkFrame<'_>) {
        let Some(connection) = self.table.get_mut(id) else { return };
        let pool = &mut self.pool;
        let outbox = connection.outbox.get_or_insert_with(|| pool.pop().unwrap_or_default());
        frame.encode(outbox.bytes_mut());
        self.mark_dirty(id);
    }
}
