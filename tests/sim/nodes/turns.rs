//! Turns of shards: an input, or something that happens to connections, then all that follows, as the pump does it.

use dunlin::cluster::{LinkFrame, LinkOut};
use dunlin::conn::{Connections, KeptBuffer, LinkWord, Operation};
use dunlin::ids::{ConnectionId, ShardId};
use dunlin::limits::LINK_FRAME_MAX_BYTES;
use dunlin::shard::link_words::encode;
use dunlin::shard::{Effect, Input, MeshBatch, MeshMessage, Reply, RequestId, Turn};
use dunlin::telemetry::CloseReason;
use dunlin::time::Now;

use super::canary::Canary;
use super::node::{At, Host, Told};
use super::world::World;
use crate::oracle::Check;

/// What a turn leads to besides what its sockets do.
#[derive(Default)]
struct Outcome {
    mesh: Vec<(ShardId, MeshBatch)>,
    replies: Vec<(RequestId, Reply)>,
    counted_by: Vec<ShardId>,
    /// To other nodes.
    said: Vec<(ShardId, Said)>,
    /// To clients.
    packets: Vec<(ConnectionId, Vec<u8>)>,
}

/// A word to another node.
struct Said {
    frames: Vec<Vec<u8>>,
    /// The number of an announcement.
    interest: Option<u64>,
}

impl World {
    /// One input of a shard, and what follows.
    pub(crate) fn turn(&mut self, at: At, input: Input<'_>) -> Check {
        let now = self.time(at.node);
        let Some(host) = self.host(at) else { return Ok(()) };
        host.shard.handle(&mut Turn { now, fx: &mut host.fx }, input);
        self.end_turn(at)
    }

    /// Something happens to the connections of a shard.
    pub(crate) fn with(&mut self, at: At, act: impl FnOnce(&mut Connections, &mut Told<'_>)) -> Check {
        self.call(at, act)?;
        self.end_turn(at)
    }

    pub(crate) fn call(&mut self, at: At, act: impl FnOnce(&mut Connections, &mut Told<'_>)) -> Check {
        let now = self.time(at.node);
        let Self { nodes, streams, .. } = self;
        let Some(process) = &mut nodes[at.node].process else { return Ok(()) };
        let own = (process.boot, at.shard);
        let Host { shard, connections, fx, view, .. } = &mut process.hosts[at.shard];
        let (view, passed_on) = (view.as_deref(), Vec::new());
        let mut told = Told { now, shard, fx, view, streams: &mut *streams, own, passed_on, failed: Ok(()) };
        act(connections, &mut told);
        let Told { passed_on, failed, .. } = told;
        for (from, frame) in passed_on {
            for peer in view.iter().flat_map(|view| &view.peers).filter(|peer| peer.slot != from) {
                let (Some(out), Ok(Some((parsed, _)))) =
                    (connections.link_out(peer.slot), LinkFrame::next(&frame, LINK_FRAME_MAX_BYTES))
                else {
                    continue;
                };
                out.append(&parsed);
                streams.say((own.0, peer.boot.0, own.1), &frame);
            }
        }
        failed
    }

    /// Goes on with what of the connections of a shard has waited for this turn.
    pub(crate) fn go_on(&mut self, at: At) -> Check {
        let Some(host) = self.host(at) else { return Ok(()) };
        host.connections.begin_turn();
        self.hear_rest(at)?;
        self.end_turn(at)
    }

    /// Hears what has waited, as far as a turn goes.
    pub(crate) fn hear_rest(&mut self, at: At) -> Check {
        let most = self.plan.deliveries;
        if let Some(host) = self.host(at) {
            host.fx.deliveries = 0;
        }
        loop {
            let Some(host) = self.host(at) else { return Ok(()) };
            if host.shard.is_overloaded() || host.fx.deliveries >= most {
                return Ok(());
            }
            let mut is_heard = false;
            self.call(at, |connections, told| is_heard = connections.hear_resumed(told))?;
            if is_heard {
                continue;
            }
            let Some(host) = self.host(at) else { return Ok(()) };
            let Some(deferred) = host.connections.next_deferred() else { return Ok(()) };
            let kept = deferred.buffer().map(|KeptBuffer(number)| host.kept.remove(&number).expect("it was kept"));
            self.stats.deferred += 1;
            let bytes = kept.unwrap_or_default();
            self.call(at, |connections, told| connections.handle_deferred(told, deferred, &bytes))?;
        }
    }

    pub(crate) fn end_turn(&mut self, at: At) -> Check {
        self.take_effects(at)?;
        loop {
            self.take_links(at)?;
            self.take_news(at)?;
            self.flush(at)?;
            self.take_effects(at)?;
            if self.host(at).is_none_or(|host| host.noted.is_empty()) {
                break;
            }
        }
        self.carry_out_all(at)?;
        self.push_back(at);
        Ok(())
    }

    fn take_effects(&mut self, at: At) -> Check {
        let (now, shards) = (self.time(at.node), self.plan.shards);
        let Some(host) = self.host(at) else { return Ok(()) };
        if let Some(view) = host.fx.view.take() {
            host.connections.use_view(now, Some(super::node::number(at.node)), view.clone());
            host.view = Some(view);
        }
        let Outcome { mesh, said, replies, counted_by, packets } = outcome(now, host, shards)?;
        for (to, single) in mesh {
            self.send(at, to, single);
        }
        for (slot, word) in said {
            self.note_said(at, slot, word)?;
        }
        for (request, reply) in replies {
            self.take_reply(at.node, request, &reply)?;
        }
        for slot in counted_by {
            self.counts(at.node, slot)?;
        }
        for (client, packet) in packets {
            self.client_reads(at, client, &packet)?;
        }
        Ok(())
    }

    /// Gives a word of a shard to the lane that it is for.
    fn send(&mut self, at: At, to: ShardId, single: MeshBatch) {
        let Some(process) = self.process(at.node) else { return };
        let lane = process.lanes.entry((at.shard, to.index())).or_default();
        lane.push_back(single);
        if lane.len() == 1 {
            self.move_lane(at.node, at.shard, to.index());
        }
    }

    /// A shard is not heard while another one of its node cannot keep up with it.
    pub(crate) fn push_back(&mut self, at: At) {
        let most = self.plan.lane_words;
        let Some(process) = self.process(at.node) else { return };
        let lanes = process.lanes.iter().filter(|((from, _), _)| *from == at.shard);
        let waiting = lanes.map(|(_, lane)| lane.len()).max().unwrap_or(0);
        let connections = &mut process.hosts[at.shard].connections;
        if waiting > most && !connections.is_paused() {
            connections.set_paused(true);
            self.stats.pushed_back += 1;
        } else if waiting <= most / 4 && connections.is_paused() {
            connections.set_paused(false);
        }
    }

    /// Remembers what a shard says to another node's process, where there is a link to it.
    fn note_said(&mut self, at: At, slot: ShardId, Said { frames, interest }: Said) -> Check {
        let now = self.time(at.node);
        let Some(process) = self.nodes[at.node].process.as_mut() else { return Ok(()) };
        let (own, host) = (process.boot, &mut process.hosts[at.shard]);
        let peer = host.view.as_deref().and_then(|view| view.peer_at(slot));
        let (Some(peer), Some(_)) = (peer, host.connections.link_out(slot)) else { return Ok(()) };
        for frame in frames {
            self.streams.say((own, peer.boot.0, at.shard), &frame);
            self.trace.mix(&frame);
        }
        let Some(number) = interest.filter(|_| self.canary == Canary::SubackEarly) else { return Ok(()) };
        let message = MeshMessage::Applied { number };
        host.shard.handle(&mut Turn { now, fx: &mut host.fx }, Input::Mesh { from: slot, message, bytes: &[] });
        self.take_effects(at)
    }

    /// Gives links what is said to other nodes, and tells the shard which are behind.
    fn take_links(&mut self, at: At) -> Check {
        let now = self.time(at.node);
        let Some(host) = self.host(at) else { return Ok(()) };
        host.connections.take_links(now, &mut host.fx.mesh);
        host.noted.clear();
        while let Some((from, room)) = self.host(at).and_then(|host| host.connections.next_link_room()) {
            let Some(Host { shard, fx, .. }) = self.host(at) else { return Ok(()) };
            let message = MeshMessage::LogRoom { room };
            shard.handle(&mut Turn { now, fx }, Input::Mesh { from, message, bytes: &[] });
            self.take_effects(at)?;
        }
        Ok(())
    }

    /// What connections have found out.
    fn take_news(&mut self, at: At) -> Check {
        let Some(process) = self.nodes[at.node].process.as_mut() else { return Ok(()) };
        let (own, host) = (process.boot, &mut process.hosts[at.shard]);
        for refused in host.connections.refused() {
            self.trace.note(&format!("{at:?}: a link ends: {}", refused.text));
            let is_expected = matches!(
                refused.reason,
                CloseReason::LinkUnreachable
                    | CloseReason::LinkTimeout
                    | CloseReason::LinkClosed
                    | CloseReason::LinkNotMember
                    | CloseReason::LinkSilent
            );
            if !is_expected {
                return Err(format!("a link of {at:?} ends, and should not: {}", refused.text));
            }
        }
        for news in host.connections.link_news() {
            let key = (own, news.boot.0, at.shard);
            match news.word {
                LinkWord::Linked => {
                    self.stats.linked += 1;
                    let slot = host.view.iter().flat_map(|view| &view.peers).find(|peer| peer.boot == news.boot);
                    let Some(out) = slot.and_then(|peer| host.connections.link_out(peer.slot)) else { continue };
                    for frame in self.streams.stands(key) {
                        if let Ok(Some((frame, _))) = LinkFrame::next(&frame, LINK_FRAME_MAX_BYTES) {
                            out.append(&frame);
                        }
                    }
                }
                LinkWord::Broken => {
                    self.stats.broken += 1;
                    self.streams.breaks(key);
                }
                LinkWord::Heard(true) => {}
                word @ (LinkWord::Reached | LinkWord::Heard(false)) => {
                    return Err(format!("{at:?} says {word:?} of a member that is heard"));
                }
            }
        }
        Ok(())
    }

    /// Gives sockets what they take.
    fn flush(&mut self, at: At) -> Check {
        let mut flush = None;
        self.call(at, |connections, told| flush = Some(connections.begin_flush(told)))?;
        let (Some(flush), Some(host)) = (flush, self.host(at)) else { return Ok(()) };
        let sends: Vec<_> = host
            .connections
            .sends(&flush)
            .map(|(id, socket, outbox)| (id, socket, outbox.pieces().collect::<Vec<_>>().concat()))
            .collect();
        let mut short = Vec::new();
        for (id, socket, bytes) in sends {
            short.extend(self.give_socket(id, socket, &bytes));
        }
        self.stats.short += short.len() as u64;
        self.call(at, |connections, told| connections.finish_flush(told, flush, short.into_iter()))
    }

    fn carry_out_all(&mut self, at: At) -> Check {
        loop {
            let operation: Option<Operation> = self.host(at).and_then(|host| host.connections.next_operation());
            let Some(operation) = operation else { return Ok(()) };
            self.carry_out(at, operation)?;
        }
    }
}

/// Takes what a shard's last inputs have led to. What it says to other nodes is looked at, and stays for their links.
fn outcome(now: Now, host: &mut Host, shards: usize) -> Result<Outcome, String> {
    let fx = &mut host.fx;
    let mut outcome = Outcome {
        replies: std::mem::take(&mut fx.replies),
        counted_by: std::mem::take(&mut fx.counted_by),
        ..Outcome::default()
    };
    for (to, batch) in fx.mesh.batches() {
        if !to.is_slot(shards) {
            outcome.mesh.extend(batch.singles().map(|single| (to, single)));
            continue;
        }
        let noted = host.noted.entry(to).or_default();
        // What was for a process that is gone was forgotten.
        let new = batch.messages.get(*noted..).unwrap_or(&batch.messages);
        outcome.said.extend(new.iter().map(|message| (to, said(now, message, &batch.bytes))));
        *noted = batch.messages.len();
    }
    for effect in &fx.list {
        match *effect {
            Effect::Send { connection, encoded, packet_id }
            | Effect::SendPayload { connection, encoded, packet_id, .. } => {
                let mut packet = Vec::new();
                fx.copy_to(encoded, packet_id, &mut packet);
                if let Effect::SendPayload { payload, .. } = *effect {
                    packet.extend_from_slice(&fx.payloads[payload as usize]);
                }
                outcome.packets.push((connection, packet));
            }
            Effect::Close { reason, .. }
                if !matches!(reason, CloseReason::ClientDisconnect | CloseReason::SocketClosed) =>
            {
                return Err(format!("a client that does nothing wrong is closed: {reason:?}"));
            }
            _ => {}
        }
    }
    // Of clients it knows none: what is left is about links.
    host.connections.apply(fx);
    fx.clear();
    Ok(outcome)
}

/// What is said, as the frames that it takes.
fn said(now: Now, message: &MeshMessage, bytes: &[u8]) -> Said {
    let mut out = LinkOut::default();
    encode(now, message, bytes, &mut out);
    out.connected(0).expect("nothing was said yet");
    let mut frames = Vec::new();
    for bytes in std::iter::from_fn(|| out.next_bytes()) {
        let mut rest = &bytes[..];
        while let Some((_, len)) = LinkFrame::next(rest, LINK_FRAME_MAX_BYTES).expect("frames that can be read") {
            let (frame, behind) = rest.split_at(len);
            frames.push(frame.to_vec());
            rest = behind;
        }
        assert!(rest.is_empty(), "half a frame");
    }
    let interest = match message {
        MeshMessage::Interest { number, .. } => Some(*number),
        _ => None,
    };
    Said { frames, interest }
}
