//! Turns of shards: an input, or something that happens to connections, then all that follows, as the pump does it.

use dunlin::cluster::{LinkFrame, LinkOut};
use dunlin::conn::{Connections, LinkWord, Operation};
use dunlin::ids::ShardId;
use dunlin::limits::LINK_FRAME_MAX_BYTES;
use dunlin::shard::link_words::encode;
use dunlin::shard::{Effect, Input, MeshBatch, MeshMessage, Reply, RequestId, Turn};
use dunlin::telemetry::CloseReason;

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
    /// To clients.
    packets: Vec<(u32, Vec<u8>)>,
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

    fn call(&mut self, at: At, act: impl FnOnce(&mut Connections, &mut Told<'_>)) -> Check {
        let now = self.time(at.node);
        let Self { nodes, streams, .. } = self;
        let Some(process) = &mut nodes[at.node].process else { return Ok(()) };
        let own = (process.boot, at.shard);
        let Host { shard, connections, fx, view } = &mut process.hosts[at.shard];
        let mut told = Told { now, shard, fx, view: view.as_deref(), streams, own, failed: Ok(()) };
        act(connections, &mut told);
        told.failed
    }

    pub(crate) fn end_turn(&mut self, at: At) -> Check {
        self.take_effects(at)?;
        self.take_news(at)?;
        self.flush(at)?;
        self.take_effects(at)?;
        self.carry_out_all(at)
    }

    fn take_effects(&mut self, at: At) -> Check {
        let now = self.time(at.node);
        let Some(host) = self.host(at) else { return Ok(()) };
        if let Some(view) = host.fx.view.take() {
            host.connections.use_view(now, Some(super::node::number(at.node)), view.clone());
            host.view = Some(view);
        }
        let Outcome { mesh, replies, counted_by, packets } = outcome(host)?;
        for (to, single) in mesh {
            self.send(at, to, single)?;
        }
        for (request, reply) in replies {
            self.take_reply(at.node, request, &reply)?;
        }
        for slot in counted_by {
            self.counts(at.node, slot)?;
        }
        for (client, packet) in packets {
            self.client_reads(at, client as usize, &packet)?;
        }
        Ok(())
    }

    /// Gives a word of a shard to the lane or the link that it is for.
    fn send(&mut self, at: At, to: ShardId, single: MeshBatch) -> Check {
        if to.is_slot(self.plan.shards) {
            return self.say(at, to, &single.messages[0], &single.bytes);
        }
        let Some(process) = self.process(at.node) else { return Ok(()) };
        let lane = process.lanes.entry((at.shard, to.index())).or_default();
        lane.push_back(single);
        if lane.len() == 1 {
            self.move_lane(at.node, at.shard, to.index());
        }
        Ok(())
    }

    /// Says something to another node's process.
    fn say(&mut self, at: At, slot: ShardId, message: &MeshMessage, bytes: &[u8]) -> Check {
        let now = self.time(at.node);
        for frame in frames(now, message, bytes) {
            self.say_frame(at, slot, &frame).map_err(|what| format!("{message:?} is said as {what}"))?;
        }
        let is_early = self.canary == Canary::SubackEarly;
        let Some(host) = self.host(at) else { return Ok(()) };
        match message {
            MeshMessage::Interest { number, .. } if is_early => {
                let message = MeshMessage::Applied { number: *number };
                host.shard.handle(&mut Turn { now, fx: &mut host.fx }, Input::Mesh { from: slot, message, bytes: &[] });
                self.take_effects(at)
            }
            _ => Ok(()),
        }
    }

    /// Gives a frame to the link to another node's process, where there is one, and remembers it.
    pub(crate) fn say_frame(&mut self, at: At, slot: ShardId, frame: &[u8]) -> Check {
        let Some(process) = self.nodes[at.node].process.as_mut() else { return Ok(()) };
        let (own, host) = (process.boot, &mut process.hosts[at.shard]);
        let peer = host.view.as_deref().and_then(|view| view.peer_at(slot));
        let (Some(peer), Some(out)) = (peer, host.connections.link_out(slot)) else { return Ok(()) };
        let parsed = LinkFrame::next(frame, LINK_FRAME_MAX_BYTES);
        let (parsed, _) = parsed.map_err(|error| format!("no frame: {error}"))?.ok_or("half a frame")?;
        out.append(&parsed);
        self.streams.say((own, peer.boot.0, at.shard), frame);
        self.trace.mix(frame);
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

    /// Gives links what waits for them, and sockets what they take.
    fn flush(&mut self, at: At) -> Check {
        let Some(host) = self.host(at) else { return Ok(()) };
        host.connections.send_links();
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

/// Takes what a shard's last inputs have led to.
fn outcome(host: &mut Host) -> Result<Outcome, String> {
    let fx = &mut host.fx;
    let mut outcome = Outcome {
        replies: std::mem::take(&mut fx.replies),
        counted_by: std::mem::take(&mut fx.counted_by),
        ..Outcome::default()
    };
    for (to, batch) in fx.mesh.batches() {
        outcome.mesh.extend(batch.singles().map(|single| (to, single)));
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
                outcome.packets.push((connection.slot, packet));
            }
            Effect::EndLink { slot, fault } => {
                return Err(format!(
                    "shard {:?} ends the links of slot {}: {fault}",
                    host.connections.config().own,
                    slot.0
                ));
            }
            Effect::Close { reason, .. }
                if !matches!(reason, CloseReason::ClientDisconnect | CloseReason::SocketClosed) =>
            {
                return Err(format!("a client that does nothing wrong is closed: {reason:?}"));
            }
            _ => {}
        }
    }
    fx.clear();
    Ok(outcome)
}

/// The frames in which something is said.
fn frames(now: dunlin::time::Now, message: &MeshMessage, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut out = LinkOut::default();
    encode(now, message, bytes, &mut out);
    out.connected(0).expect("nothing was said yet");
    std::iter::from_fn(|| out.next_bytes()).map(|bytes| bytes.to_vec()).collect()
}
