//! What a turn takes in: of sockets, of other shards, of links to other nodes, of threads that are no shard.
//!
//! Always holds: what one source may give in a turn has a bound, and what that leads to counts as well; what a socket said is
//! carried out before the next is heard, and what a shard said before it comes to more than a flush.

use std::sync::Arc;

use super::{Pump, core};
use crate::limits::{COMPLETIONS_PER_TURN, DELIVERIES_PER_TURN, TLS_HANDSHAKES_PER_TURN, TURN_MAX_BYTES};
use crate::net::ListenerChange;
use crate::ring::RingError;
use crate::runtime::clock;
use crate::runtime::handshakes::Handshaker;
use crate::runtime::listeners::ListenerOrder;
use crate::runtime::mesh::Batch;
use crate::shard::{Command, Input, MeshMessage, Reply, Turn};
use crate::telemetry::log;
use crate::time::Now;

impl Pump {
    /// Returns whether there may be more than one turn should take.
    pub(super) fn take_events(&mut self, now: Now) -> Result<bool, RingError> {
        self.edge.begin_turn();
        let more = self.take_admitted(now)?;
        // Who has sent more than a share goes on when the others have been served.
        self.fx.deliveries = 0;
        while self.may_hear() && self.edge.take_deferred(&mut core(now, &mut self.shard, &mut self.fx)) {
            self.apply_effects(now)?;
        }
        Ok(more)
    }

    fn take_admitted(&mut self, now: Now) -> Result<bool, RingError> {
        let mut taken = 0;
        self.fx.deliveries = 0;
        loop {
            let before = taken;
            while self.may_hear() && self.edge.take_event(&mut core(now, &mut self.shard, &mut self.fx)) {
                taken += 1;
                self.apply_effects(now)?;
            }
            if !self.may_hear() {
                return Ok(true);
            }
            // What has arrived meanwhile belongs to this turn: the more of it, the more goes out with one send.
            if taken >= COMPLETIONS_PER_TURN {
                return Ok(true);
            }
            if taken == before || !self.edge.collect()? {
                return Ok(false);
            }
        }
    }

    /// Whether the turn has not heard enough. A few bytes may be messages to thousands: what they come to bounds it, too.
    fn may_hear(&self) -> bool {
        !self.shard.is_overloaded() && self.fx.deliveries < DELIVERIES_PER_TURN
    }

    /// Returns the time that holds for the rest of the turn.
    pub(super) fn take_messages(&mut self, mut now: Now) -> Result<Now, RingError> {
        self.fx.deliveries = 0;
        while self.may_hear()
            && let Some((from, batch)) = self.rest.take().or_else(|| self.port.next_batch())
        {
            // What came may have been sent after this turn began, by a later clock: a message that expires in 100 s would
            // have 101 left by ours.
            now = clock::now();
            let Batch { shard: mut batch, handovers } = batch;
            let mut messages = batch.messages.drain(..);
            while self.may_hear()
                && let Some(message) = messages.next()
            {
                let input = Input::Mesh { from, message, bytes: &batch.bytes };
                self.shard.handle(&mut Turn { now, fx: &mut self.fx }, input);
                if self.fx.held_bytes() > TURN_MAX_BYTES {
                    self.apply_effects(now)?;
                }
            }
            let left: Vec<MeshMessage> = messages.collect();
            if !left.is_empty() {
                batch.messages = left;
                self.rest = Some((from, Batch { shard: batch, handovers }));
                self.apply_effects(now)?;
                break;
            }
            self.port.give_back(from, batch);
            for handover in handovers {
                self.edge.take_handover(&mut core(now, &mut self.shard, &mut self.fx), handover);
                if self.fx.held_bytes() > TURN_MAX_BYTES {
                    self.apply_effects(now)?;
                }
            }
            self.apply_effects(now)?;
        }
        Ok(now)
    }

    /// Says to other nodes what this shard has for them, and hears whose links are behind.
    pub(super) fn take_links(&mut self, now: Now) -> Result<(), RingError> {
        self.edge.take_links(now, &mut self.fx.mesh);
        while let Some((from, room)) = self.edge.next_link_room() {
            let input = Input::Mesh { from, message: MeshMessage::LogRoom { room }, bytes: &[] };
            self.shard.handle(&mut Turn { now, fx: &mut self.fx }, input);
            self.apply_effects(now)?;
        }
        Ok(())
    }

    /// Handshakes that were run.
    pub(super) fn take_handshakes(&mut self, now: Now) -> Result<(), RingError> {
        for _ in 0..TLS_HANDSHAKES_PER_TURN {
            let Some((connection, handshake)) = self.handshaker.as_ref().and_then(Handshaker::next) else { break };
            self.edge.take_handshake(&mut core(now, &mut self.shard, &mut self.fx), connection, *handshake);
            self.apply_effects(now)?;
        }
        Ok(())
    }

    /// Whether no handshake has come back.
    pub(super) fn is_done_shaking(&self) -> bool {
        self.handshaker.as_ref().is_none_or(Handshaker::is_quiet)
    }

    /// What threads that are no shard ask for, and what they answer.
    pub(super) fn take_commands(&mut self, now: Now) -> Result<(), RingError> {
        self.inbox.begin_turn();
        while let Some((request, command)) = self.inbox.next_command() {
            if let Command::Reload(settings) = &command {
                self.edge.set_settings(Arc::clone(settings));
            }
            if let Command::UseBans(bans) = &command {
                self.edge.use_bans(bans.clone());
            }
            if let Command::UseBanList(list) = &command {
                self.edge.use_ban_list(list.clone());
            }
            if let Command::SetListener { index, is_open } = command
                && (self.is_leaving() || self.edge.set_listener(index, is_open).is_err())
            {
                self.inbox.reply(request, Reply::NotNow("the address cannot be listened at now"));
                continue;
            }
            if matches!(&command, Command::Drain(Some(plan)) if plan.is_last) {
                self.is_last_drain = true;
                self.edge.stop_listening();
            }
            if matches!(command, Command::ChangeListeners) {
                self.change_listeners();
            }
            let input = Input::Command { request, command, edge: self.edge.facts() };
            self.shard.handle(&mut Turn { now, fx: &mut self.fx }, input);
            self.apply_effects(now)?;
        }
        while let Some(socket) = self.inbox.next_socket() {
            self.edge.take_internal(socket);
        }
        while let Some((ask, verdict)) = self.inbox.next_verdict() {
            self.shard.handle(&mut Turn { now, fx: &mut self.fx }, Input::Verdict { ask, verdict });
            self.apply_effects(now)?;
        }
        Ok(())
    }

    /// What a reload has made of the listeners. A broker that stops listens no more.
    fn change_listeners(&mut self) {
        for ListenerOrder { changes, handshaker } in self.listener_orders.try_iter() {
            self.handshaker = self.handshaker.take().or(handshaker);
            for change in changes {
                let opens = matches!(change, ListenerChange::Open { .. });
                if opens && self.is_leaving() {
                    continue;
                }
                if let Err(error) = self.edge.change_listener(change) {
                    log::event::config_warning(&error.to_string());
                }
            }
        }
    }
}
