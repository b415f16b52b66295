//! The process dies at any moment, and another one starts on what its disk has: with as many shards or others, a while later.
//!
//! Always holds: clients see their connections end, with or without the last bytes that the kernel had; what is read back is held against what was
//! written, and against what was acknowledged, before anybody is served.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use dunlin::codec::Packet;
use dunlin::ids::{PacketId, ShardId};
use dunlin::session::Message;
use dunlin::shard::{Input, RestoreStep, RestoredLog, RestoredRetained, RestoredSessions, Turn};
use dunlin::store::RecoveredLog;
use dunlin::store::format::MessageId;
use dunlin::store::state::{StoredDelivery, StoredSession};

use crate::conn::{Place, Receiving};
use crate::disks::{Opened, OpenedLog};
use crate::durable::Store;
use crate::oracle::{Check, Key, Survived, SurvivedDelivery, SurvivedForward, SurvivedSession, Tag, WILL};
use crate::world::{UNIX_MS_AT_ZERO, World};

/// Steps from one crash to the next.
const CRASH_EVERY: usize = 3_000;
/// Rounds within which shards know of each other's subscriptions.
const ROUNDS: usize = 10_000;

impl World {
    /// What happens to machines, where there is a disk.
    pub(crate) fn something_breaks(&mut self) -> Check {
        let Some(disks) = &mut self.disks else { return Ok(()) };
        if disks.rng.below(CRASH_EVERY) > 0 {
            return Ok(());
        }
        let shards = if disks.rng.percent(40) { disks.rng.between(1, 5) } else { self.shards.len() };
        self.crash(shards)
    }

    /// The process dies, and one with so many shards takes its place.
    pub(crate) fn crash(&mut self, shards: usize) -> Check {
        self.trace.note(&format!("the process dies, and comes back with {shards} shards"));
        self.oracle.stats.crashes += 1;
        self.oracle.stats.resharded += u64::from(shards != self.shards.len());
        self.end_connections();
        let disks = self.disks.as_mut().expect("the caller has seen them");
        disks.cut_power();
        let down_us = *disks.rng.pick(&[0, 1_000, 500_000, 3_000_000, 40_000_000]);
        self.now.mono_ns += down_us * 1_000;
        self.now.unix_ms = UNIX_MS_AT_ZERO + self.now.ms();
        let is_end_hit = disks.disk.1.borrow().is_end_hit();
        let queued_bytes = self.plan.settings.queued_memory_max_bytes / shards as u64;
        let opened = disks.open(shards, queued_bytes, self.now)?;
        let is_told = self.check_damage(&opened)?;
        self.disks.as_mut().expect("just seen").has_told = false;
        self.oracle.stats.told_damage += u64::from(is_told);
        let serials = self.compare(&opened, is_told || is_end_hit)?;
        let mut survived = self.survived(&opened, &serials);
        survived.is_damaged = is_told || is_end_hit;
        if survived.is_damaged {
            self.clients_forget(&survived);
        }
        self.past.add(&self.counters_now());
        self.plan.settings.shards = shards;
        self.begin_process(Some((opened, serials)))?;
        self.oracle.restart(&survived, self.now.ms())?;
        self.pass_us(0);
        Ok(())
    }

    /// The kernel ends every connection.
    fn end_connections(&mut self) {
        let disks = self.disks.as_mut().expect("a process that dies has a disk");
        for conn in self.conns.values_mut().filter(|conn| !conn.is_closed()) {
            conn.place = Place::Closed;
            (conn.at, conn.left, conn.held) = (None, true, false);
            conn.ended_ms.get_or_insert(self.now.ms());
            (conn.receiving, conn.stopped, conn.rest) = (Receiving::Nothing, None, None);
            conn.to_broker.clear();
            if disks.rng.percent(50) {
                conn.to_client.clear();
            }
        }
        for conn in self.conns.values_mut() {
            (conn.at, conn.stopped) = (None, None);
        }
        self.remove_finished();
    }

    /// Whether a start tells of damage. There is none but where a fault has hit.
    fn check_damage(&self, opened: &Opened) -> Result<bool, String> {
        let disks = self.disks.as_ref().expect("a start has a disk");
        let ledger = disks.disk.1.borrow();
        let mut is_told = opened.lost > 0 || disks.has_told;
        for RecoveredLog { log, scan, state, refused, .. } in &opened.before {
            if !scan.missing.is_empty() || !scan.cut_off.is_empty() || !refused.is_empty() {
                return Err(format!("{log} misses files that nobody took: {scan:?}, {refused:?}"));
            }
            if let Some(position) = ledger.too_much(*log, &scan.damage) {
                return Err(format!("record {position} of {log} is lost, and nothing has hit it: {:?}", scan.damage));
            }
            is_told |= !scan.damage.is_empty() || state.unmatched > 0;
        }
        for OpenedLog { recovered, lost, .. } in &opened.logs {
            if let Some(id) = lost.iter().find(|id| !ledger.is_hit(recovered.log, id.0)) {
                return Err(format!("the bytes of {id:?} in {} are lost, and nothing has hit them", recovered.log));
            }
            is_told |= !lost.is_empty();
        }
        if is_told && !disks.is_hit {
            return Err("damage is told, and nobody has damaged anything".to_owned());
        }
        Ok(is_told)
    }

    /// What clients know of exchanges that are gone with a damaged log makes no sense any more.
    fn clients_forget(&mut self, survived: &Survived) {
        for client in &mut self.clients {
            let deliveries = survived.sessions.get(&client.index).into_iter().flat_map(|session| &session.deliveries);
            let known: BTreeSet<u16> = deliveries.filter_map(|delivery| delivery.packet_id).collect();
            client.keep_taken(&known);
        }
    }

    /// Holds what was read back against what was written, unless it was damaged. Returns which sessions of the model there are, by client.
    fn compare(&mut self, opened: &Opened, is_damaged: bool) -> Result<BTreeMap<usize, u64>, String> {
        let mut serials = BTreeMap::new();
        for (recovered, store) in opened.before.iter().zip(&mut self.stores) {
            let end = recovered.scan.end.position;
            let mut known = BTreeSet::new();
            for (slot, session) in recovered.state.sessions().filter(|(_, session)| !session.was_ending()) {
                if !known.insert(&session.client_id) && !is_damaged {
                    return Err(format!("{} has two sessions of {}", recovered.log, session.client_id));
                }
                serials.extend(store.serial_at(slot, end));
            }
            store.note_end(end, &mut self.oracle.written);
            if !self.cage.canary.is_found_by_a_crash() && !is_damaged {
                store.compare(recovered)?;
            }
        }
        Ok(serials)
    }

    /// What was read back, in the model's words.
    fn survived(&self, opened: &Opened, serials: &BTreeMap<usize, u64>) -> Survived {
        let mut survived = Survived::default();
        let mut stamps = BTreeMap::new();
        let shards = opened.logs.len();
        for OpenedLog { recovered, messages, .. } in &opened.logs {
            let state = &recovered.state;
            for (_, session) in state.sessions().filter(|(_, session)| !session.was_ending()) {
                let client = self.clients.iter().position(|client| *client.plan.name == *session.client_id);
                let Some(client) = client else { continue };
                let serial = serials.get(&client).copied();
                survived.sessions.insert(client, self.survived_session(session, messages, serial));
            }
            for (_, session) in state.sessions().filter(|(_, session)| session.was_ending()) {
                let deliveries = session.deliveries.iter().filter_map(|delivery| body(messages, delivery.message?));
                survived.left_behind.extend(deliveries.filter_map(key_of));
            }
            let mut retain = |topic: &str, stamp, key: Option<Key>| {
                let known = stamps.entry(topic.to_owned()).or_insert((stamp, key));
                if known.0 < stamp {
                    *known = (stamp, key);
                }
            };
            for (topic, stored) in &state.retained {
                let message = stored.message.and_then(|id| body(messages, id));
                retain(topic, stored.stamp, message.and_then(key_of));
            }
            for to in (0..shards).map(|to| ShardId(to as u8)) {
                let there = |&client: &usize| ShardId::owner_of(&self.clients[client].plan.name, shards) == to;
                let clients: BTreeSet<usize> = (0..self.clients.len()).filter(there).collect();
                for forward in state.mailbox.forwards(to) {
                    let Some(message) = body(messages, forward.message) else { continue };
                    if let Some(stamp) = forward.retained {
                        retain(message.borrow().topic, stamp, key_of(message));
                    }
                    let Some(key) = key_of(message) else { continue };
                    let (clients, is_plain, has_groups) = (clients.clone(), forward.plain, !forward.groups.is_empty());
                    survived.forwards.push(SurvivedForward { clients, key, is_plain, has_groups });
                }
            }
        }
        survived.arrived = opened.arrived.iter().filter_map(|payload| key_in(payload)).collect();
        survived.retained = stamps.into_iter().map(|(topic, (_, key))| (topic, key)).collect();
        survived
    }

    fn survived_session(
        &self,
        session: &StoredSession,
        messages: &[(MessageId, Message)],
        serial: Option<u64>,
    ) -> SurvivedSession {
        let will = session.will.as_deref().and_then(|will| {
            let (_, number) = body(messages, will.message).and_then(key_of)?;
            Some((number - WILL, will.delay_s))
        });
        let subscriptions = session
            .subscriptions
            .iter()
            .map(|(filter, stored)| (filter.to_owned(), (stored.options, stored.identifier.map(NonZeroU32::get))));
        SurvivedSession {
            serial,
            expiry_s: session.expiry_s,
            ended_ms: session.disconnected.map_or(self.now.ms(), |at| at.0 - UNIX_MS_AT_ZERO),
            will,
            subscriptions: subscriptions.collect(),
            deliveries: session
                .deliveries
                .iter()
                .filter_map(|delivery| survived_delivery(delivery, messages))
                .collect(),
            exchanges: session.exchanges.iter().map(|id| id.get()).collect(),
        }
    }

    /// What a process begins with of each log: the shards have it, and know of each other's.
    pub(crate) fn hand_over_logs(&mut self, logs: Vec<OpenedLog>, serials: &BTreeMap<usize, u64>) -> Check {
        self.stores = logs.iter().map(|log| Store::restored(&self.clients, log, serials)).collect();
        let mut restored = Vec::new();
        for (shard, opened) in logs.into_iter().enumerate() {
            let OpenedLog { recovered, messages, in_memory, lost, start } = opened;
            self.bodies.restore(shard, &messages);
            self.note_records(shard, &start.group());
            restored.push((start.lost, RestoredLog { state: recovered.state, messages: in_memory, lost }));
        }
        let retained: Vec<RestoredRetained> = restored.iter().flat_map(|(_, log)| log.retained()).collect();
        let listeners = self.listeners.clone();
        for (shard, (lost, log)) in restored.iter().enumerate() {
            let sessions = RestoredSessions { log, retained: &retained, listeners: &listeners, lost: *lost };
            self.restore_step(shard, RestoreStep::Sessions(&sessions))?;
        }
        self.restore_subscriptions()?;
        // Nothing of what follows from it arrives before all have theirs.
        for (shard, (_, log)) in restored.iter().enumerate() {
            self.restore_step(shard, RestoreStep::Deliveries(log))?;
        }
        Ok(())
    }

    fn restore_step(&mut self, shard: usize, step: RestoreStep<'_>) -> Check {
        self.shards[shard].handle(&mut Turn { now: self.now, fx: &mut self.fx }, Input::Restore(step));
        assert!(self.fx.log.is_empty(), "the log has it already");
        self.carry_out_effects(shard)
    }

    /// Nobody is heard before every shard knows what the sessions of all are subscribed to.
    fn restore_subscriptions(&mut self) -> Check {
        let count = self.shards.len();
        for _ in 0..ROUNDS {
            for shard in 0..count {
                self.restore_step(shard, RestoreStep::Announce)?;
            }
            if self.shards.iter().all(dunlin::shard::Shard::is_restored) {
                return Ok(());
            }
            let (from, to) = (self.edge_rng.below(count), self.edge_rng.below(count));
            self.deliver_mesh(from, to)?;
        }
        Err("the shards never know of each other".to_owned())
    }

    /// A packet has really left for a client.
    pub(crate) fn note_told(&mut self, client: usize, packet: &Packet<'_>) {
        if let Packet::ConnAck(connack) = packet
            && !connack.reason.is_error()
            && let Some(session) = self.oracle.sessions.get_mut(&client)
        {
            // A session whose first CONNACK never left is told to be there before it survives: nothing of it was acknowledged.
            session.told |= !session.present;
            session.connack_told = true;
        }
    }

    /// After a write of a disk: what is durable.
    pub(crate) fn disk_writes(&mut self, shard: usize) -> Check {
        let Some(disks) = &mut self.disks else { return Ok(()) };
        if disks.logs[shard].stalled_until > self.trace.step {
            return Ok(());
        }
        let Some(position) = disks.end_write(shard) else {
            disks.begin_write(shard, self.now, false);
            return Ok(());
        };
        self.confirm(shard, position)?;
        self.nothing_is_ahead()
    }
}

fn body(messages: &[(MessageId, Message)], id: MessageId) -> Option<&Message> {
    let at = messages.binary_search_by_key(&id, |(id, _)| *id).ok()?;
    Some(&messages[at].1)
}

fn key_of(message: &Message) -> Option<Key> {
    key_in(message.borrow().payload)
}

fn key_in(payload: &[u8]) -> Option<Key> {
    match Tag::of(payload) {
        Tag::Known(key) => Some(key),
        Tag::Empty | Tag::Wild => None,
    }
}

/// `None` for one whose bytes are lost.
fn survived_delivery(delivery: &StoredDelivery, messages: &[(MessageId, Message)]) -> Option<SurvivedDelivery> {
    let message = match delivery.message {
        Some(id) => Some(body(messages, id)?),
        None => None,
    };
    let extra = delivery.extra.as_deref();
    Some(SurvivedDelivery {
        payload: message.map(|message| message.borrow().payload.to_vec()),
        qos: delivery.qos as u8,
        packet_id: delivery.packet_id.map(PacketId::get),
        is_of_group: extra.is_some_and(|extra| extra.group.is_some()),
        identifier: extra.and_then(|extra| extra.ids.first()).map(|id| id.get()),
    })
}
