//! The end of a run: everybody comes back and takes what is owed, then everybody leaves and nothing may be left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dunlin::auth::Policy;
use dunlin::codec::{Connect, Packet, Publish, Side, SubscribeFilter, Version, decode, encode_subscribe, frame};
use dunlin::ids::{ConnectionId, PacketId, Qos, ShardId};
use dunlin::limits;
use dunlin::settings::ListenerSettings;
use dunlin::shard::{ConnectInfo, Effect, Input, Turn, UserNameBasis};
use dunlin::store::Position;
use dunlin::telemetry::TransportCounters;

use crate::actions::options;
use crate::conn::Place;
use crate::oracle::{Check, Tag};
use crate::world::World;

/// Rounds after which a world that still moves will never come to rest.
const ROUNDS: usize = 100_000;

impl World {
    /// Runs to the end and checks what must be true there.
    pub(crate) fn finish(&mut self) -> Check {
        self.trace.note("everybody comes back");
        for number in 0..self.hostiles.len() {
            if let Some(index) = self.hostiles[number].conn.take() {
                self.drop_conn(index);
            }
        }
        self.withdraw_orders()?;
        self.rest(true)?;
        self.oracle.at_rest(&self.counters())?;
        self.nothing_is_on_its_way()?;
        if let Some(disks) = &mut self.disks {
            let shards = disks.rng.between(1, 5);
            self.crash(shards)?;
            self.rest(true)?;
            self.oracle.at_rest(&self.counters())?;
            self.nothing_is_on_its_way()?;
        }
        for client in &self.clients {
            if client.conn.is_some() && !client.is_settled() {
                return Err(format!("client {} still waits: {client:?}", client.index));
            }
        }
        self.compare_retained()?;
        self.delete_retained("r/+")?;
        self.compare_retained()?;
        self.leave()
    }

    /// Moves everything until nothing moves. With `come_back`, whoever has a session to come back to does.
    pub(crate) fn rest(&mut self, come_back: bool) -> Check {
        for _ in 0..ROUNDS {
            self.trace.step += 1;
            self.pass_us(100);
            let mut moved = false;
            for index in self.conns.keys().copied().collect::<Vec<_>>() {
                moved |= self.settle_conn(index)?;
            }
            self.remove_finished();
            for number in 0..self.clients.len() {
                moved |= self.settle_client(number, come_back);
            }
            moved |= self.settle_shards()?;
            for shard in 0..self.shards.len() {
                moved |= self.bodies_come(shard)?;
            }
            moved |= self.settle_waiting()?;
            self.check()?;
            if !moved {
                return Ok(());
            }
        }
        Err("the world never comes to rest".to_owned())
    }

    fn settle_conn(&mut self, index: usize) -> Result<bool, String> {
        let Some(conn) = self.conns.get(&index) else { return Ok(false) };
        if let Place::Backlog(shard) = conn.place {
            return self.accept_one(shard);
        }
        if conn.has_news() && !conn.to_broker.is_empty() {
            let all = conn.to_broker.len();
            // Two writes at one instant on two shards are ordered by shard and not by this loop.
            self.pass_us(1);
            self.arrive(index, all)?;
            return Ok(true);
        }
        if conn.has_news() {
            self.notice_drop(index)?;
            return Ok(true);
        }
        let reads = !conn.dropped && (!conn.to_client.is_empty() || conn.is_at_end());
        if reads {
            let all = conn.to_client.len();
            self.read(index, all)?;
        }
        Ok(reads)
    }

    fn settle_client(&mut self, number: usize, come_back: bool) -> bool {
        let client = &mut self.clients[number];
        let Some(index) = client.conn else {
            if come_back && self.oracle.sessions.contains_key(&number) {
                if std::mem::take(&mut client.refused) {
                    self.pass_us(limits::TAKEOVER_REFILL_MS as usize * 1_000);
                }
                self.open(number, false);
                return true;
            }
            return false;
        };
        let mut out = Vec::new();
        client.send_acks(&mut self.rng, &mut out);
        if out.is_empty() {
            return false;
        }
        if let Some(conn) = self.conns.get_mut(&index) {
            conn.write(&out);
        }
        true
    }

    fn settle_shards(&mut self) -> Result<bool, String> {
        let mut moved = false;
        let count = self.shards.len();
        for (from, to) in (0..count * count).map(|n| (n / count, n % count)) {
            while !self.channels[from][to].sent.is_empty() {
                self.deliver_mesh(from, to)?;
                moved = true;
            }
        }
        for (from, to) in (0..count * count).map(|n| (n / count, n % count)) {
            while !self.handovers[from][to].is_empty() {
                self.deliver_handover(from, to)?;
                moved = true;
            }
        }
        for shard in 0..count {
            while !self.sockets[shard].happened.is_empty() {
                self.tell(shard, 0)?;
                moved = true;
            }
            self.keep_time(shard)?;
            let connections = self.connections[shard].as_ref().expect("no call is within another");
            moved |= connections.has_work();
            let Position(appended) = self.stores[shard].appended;
            if self.disks.is_some() {
                moved |= self.settle_disk(shard)?;
            } else if self.stores[shard].durable.0 < appended {
                self.confirm(shard, Position(appended))?;
                moved = true;
            }
            let due = self.shards[shard].next_deadline().is_some_and(|due| due.is_due(self.now));
            if self.shards[shard].has_work() || due {
                self.turn(shard, Input::Tick { transport: &TransportCounters::default() })?;
                moved = true;
            }
            self.flush(shard)?;
        }
        Ok(moved)
    }

    /// Everything is written that there is.
    pub(crate) fn settle_disk(&mut self, shard: usize) -> Result<bool, String> {
        let mut moved = false;
        while let Some(disks) = &mut self.disks {
            disks.begin_write(shard, self.now, true);
            let Some(position) = disks.end_write(shard) else { break };
            self.confirm(shard, position)?;
            moved = true;
        }
        Ok(moved)
    }

    /// Every shard shows the same retained messages, and they are the last writes.
    fn compare_retained(&mut self) -> Check {
        let shown: Vec<BTreeMap<String, Vec<u8>>> =
            (0..self.shards.len()).map(|shard| self.audit(shard, &[])).collect();
        for (shard, retained) in shown.iter().enumerate() {
            if *retained != shown[0] {
                return Err(format!("shard {shard} retains {retained:?}, shard 0 {:?}", shown[0]));
            }
        }
        let now_ms = self.now.ms();
        for (topic, key) in &self.oracle.retained {
            let alive = key.filter(|key| self.oracle.messages[key].expires_ms.is_none_or(|expires| expires > now_ms));
            let found = shown[0].get(topic).map(|payload| Tag::of(payload));
            if alive.map(Tag::Known) != found {
                return Err(format!("{topic} retains {found:?}, the last write is {alive:?}"));
            }
        }
        Ok(())
    }

    /// Everybody leaves for good, what is retained is deleted, and time passes: nothing may be left.
    fn leave(&mut self) -> Check {
        let retained = self.audit(0, &[]);
        let topics: Vec<&str> = retained.keys().map(String::as_str).collect();
        self.audit(0, &topics);
        for number in 0..self.clients.len() {
            self.drop_client(number);
        }
        self.rest(false)?;
        let names: Vec<String> = self.clients.iter().map(|client| client.plan.name.clone()).collect();
        let others = (0..self.hostiles.len()).map(|n| format!("hostile-{n}"));
        self.oracle.sessions.clear(); // from here on only the shards' own word counts
        for name in names.into_iter().chain(others) {
            self.come_and_go(&name)?;
        }
        self.rest(false)?;
        // Sessions of clients that got their own name wrong end by themselves.
        self.pass_us(8 * 24 * 3_600 * 1_000_000);
        for _ in 0..720 {
            self.pass_us(1_000_000);
            self.rest(false)?;
        }
        self.nothing_is_left()
    }

    fn nothing_is_left(&self) -> Check {
        let own_topics = self.plan.settings.sys_interval_s > 0;
        for (number, shard) in self.shards.iter().enumerate() {
            let mut gauges = shard.gauges();
            let mut holdings = shard.holdings();
            let grown_bytes = holdings.index_bytes.saturating_sub(self.fresh_index_bytes);
            if own_topics {
                (gauges.retained_messages, holdings.retained_entries) = (0, 0);
            }
            if gauges != dunlin::telemetry::Gauges::default() {
                return Err(format!("shard {number} is not empty: {gauges:?}"));
            }
            holdings.index_bytes = 0;
            if holdings != dunlin::shard::Holdings::default() {
                return Err(format!("shard {number} still holds {holdings:?}"));
            }
            let connections = self.connections[number].as_ref().expect("no call is within another");
            let (held, pending) = (connections.len(), connections.handovers_pending());
            if held + pending > 0 || !self.sockets[number].is_idle() {
                let (sockets, conns) = (&self.sockets[number], self.conns.iter().filter(|(_, conn)| !conn.is_over()));
                let conns: Vec<_> = conns.collect();
                return Err(format!(
                    "shard {number} holds {held} connections, {pending} handovers, {sockets:?}: {conns:?}"
                ));
            }
            let on_their_way = self.handovers_counts[number].load(Ordering::Relaxed);
            if on_their_way > 0 {
                return Err(format!("{on_their_way} connections are still on their way to shard {number}"));
            }
            if grown_bytes > INDEX_KEEPS_BYTES {
                return Err(format!("the index of shard {number} keeps {grown_bytes} bytes for nothing"));
            }
        }
        Ok(())
    }

    /// A client comes with a clean start and goes at once: whatever there was of its session ends.
    fn come_and_go(&mut self, name: &str) -> Check {
        let shard = ShardId::owner_of(name, self.shards.len()).index();
        let connection = AUDITOR;
        let connect = Connect::new(Version::V311, name, true);
        let listener = Arc::new(ListenerSettings { policy: Policy::Admit, ..ListenerSettings::default() });
        let info = ConnectInfo {
            assigned_client_id: false,
            listener_index: 0,
            peer: None,
            listener: &listener,
            identity: None,
            user_name: UserNameBasis::Claim,
        };
        self.ask(shard, Input::Connect { connection, connect: &connect, info });
        self.ask(shard, Input::Closed { connection });
        self.settle_shards().map(|_| ())
    }

    /// Connects to a shard, deletes the retained messages of `topics`, and returns what is retained there.
    fn audit(&mut self, shard: usize, topics: &[&str]) -> BTreeMap<String, Vec<u8>> {
        let names = (0..10_000).map(|n| format!("auditor-{n}"));
        let name = names
            .into_iter()
            .find(|name| ShardId::owner_of(name, self.shards.len()).index() == shard)
            .expect("the hash reaches every shard");
        let connection = AUDITOR;
        let connect = Connect::new(Version::V5, &name, true);
        let listener = Arc::new(ListenerSettings { policy: Policy::Admit, ..ListenerSettings::default() });
        let info = ConnectInfo {
            assigned_client_id: false,
            listener_index: 0,
            peer: None,
            listener: &listener,
            identity: None,
            user_name: UserNameBasis::Claim,
        };
        self.ask(shard, Input::Connect { connection, connect: &connect, info });
        for topic in topics {
            let publish = Publish {
                dup: false,
                qos: Qos::AtMostOnce,
                retain: true,
                topic,
                packet_id: None,
                payload: &[],
                topic_alias: None,
                message_expiry_s: None,
                properties: dunlin::codec::Forwarded::EMPTY,
                subscription_ids: dunlin::codec::EncodedSubscriptionIds::EMPTY,
            };
            self.ask(shard, Input::Packet { connection, packet: Packet::Publish(publish) });
            let _ = self.rest(false);
        }
        let mut bytes = Vec::new();
        let filter = SubscribeFilter { filter: "#", options: options(0) };
        encode_subscribe(Version::V5, PacketId::MIN, None, [filter], &mut bytes);
        let (frame, _) = frame::next(&bytes, u32::MAX).expect("a packet").expect("a whole one");
        let packet = decode(frame, Version::V5, Side::Server).expect("a SUBSCRIBE");
        let mut sent = self.ask(shard, Input::Packet { connection, packet });
        for _ in 0..ROUNDS {
            let mut moved = self.mesh_round(&mut sent, shard);
            for tick in 0.. {
                if !self.shards[shard].has_work() {
                    break;
                }
                assert!(tick < TICKS_MAX, "shard {shard} says without an end that it has work");
                sent.extend(self.ask(shard, Input::Tick { transport: &TransportCounters::default() }));
                moved = true;
            }
            if !moved {
                break;
            }
        }
        sent.extend(self.ask(shard, Input::Closed { connection }));
        let _ = self.settle_shards();
        let mut retained = BTreeMap::new();
        for packet in sent {
            let (frame, _) = frame::next(&packet, u32::MAX).expect("a packet").expect("a whole one");
            if let Ok(Packet::Publish(publish)) = decode(frame, Version::V5, Side::Client)
                && publish.retain
            {
                retained.insert(publish.topic.to_owned(), publish.payload.to_vec());
            }
        }
        retained
    }

    /// Delivers what is on its way between shards; what comes of it for the auditor is appended to `sent`.
    fn mesh_round(&mut self, sent: &mut Vec<Vec<u8>>, auditor: usize) -> bool {
        let count = self.shards.len();
        let mut moved = false;
        for (from, to) in (0..count * count).map(|n| (n / count, n % count)) {
            while let Some(mut single) = self.channels[from][to].sent.pop_front() {
                let kept = self.channels[from][to].kept.pop_front();
                self.channels[from][to].sent.extend(kept);
                let message = single.messages.pop().expect("a batch of one message");
                let answer = self.ask(to, Input::Mesh { from: ShardId(from as u8), message, bytes: &single.bytes });
                if to == auditor {
                    sent.extend(answer);
                }
                moved = true;
            }
        }
        moved
    }

    /// One input from outside the model, and what is sent to the auditor because of it.
    fn ask(&mut self, shard: usize, input: Input<'_>) -> Vec<Vec<u8>> {
        self.fx.deliveries = 0;
        self.shards[shard].handle(&mut Turn { now: self.now, fx: &mut self.fx }, input);
        let mut fx = std::mem::take(&mut self.fx);
        let (mut sent, mut closed) = (Vec::new(), Vec::new());
        for effect in &fx.list {
            let mut packet = Vec::new();
            match *effect {
                Effect::Send { connection, encoded, packet_id } if connection == AUDITOR => {
                    fx.copy_to(encoded, packet_id, &mut packet);
                }
                Effect::SendPayload { connection, encoded, packet_id, payload } if connection == AUDITOR => {
                    fx.copy_to(encoded, packet_id, &mut packet);
                    packet.extend_from_slice(&fx.payloads[payload as usize]);
                }
                // One that has had enough of what the auditor does to what is retained.
                Effect::Close { connection, reason } if connection != AUDITOR => {
                    closed.push((connection, reason));
                    continue;
                }
                _ => continue,
            }
            sent.push(packet);
        }
        self.take_mesh(shard, &mut fx);
        self.take_records(shard, &fx.log);
        self.bodies.ask(shard, fx.reads.drain(..));
        fx.clear();
        self.fx = fx;
        for (connection, reason) in closed {
            // Its own shard's connections are told before any other's are asked.
            let told = self.close(shard, connection, reason).and_then(|()| self.with(shard, |_, _| ()));
            told.unwrap_or_else(|what| panic!("{what}"));
        }
        self.shards[shard].handle(&mut Turn { now: self.now, fx: &mut self.fx }, Input::Flushed);
        sent
    }
}

/// More turns than whatever a shard still has to do can take.
const TICKS_MAX: u32 = 100_000;
/// A connection that no slot of a table names.
const AUDITOR: ConnectionId = ConnectionId::new(5_000, 1);
/// Table space that an index may keep once it has grown.
const INDEX_KEEPS_BYTES: usize = 256 * 1024;
