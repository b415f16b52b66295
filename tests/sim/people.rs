//! The steps of those who are connected: bytes that arrive, bytes that are read, decisions.

use dunlin::codec::{ConnectWill, Forwarded, Version};
use dunlin::ids::Qos;

use crate::actions::Move;
use crate::client::Client;
use crate::conn::{Conn, Owner};
use crate::oracle::{Check, will_payload};
use crate::world::World;

impl World {
    /// Some bytes of somebody reach the broker, or the news that there are no more.
    pub(crate) fn some_bytes_arrive(&mut self) -> Check {
        let waiting: Vec<usize> =
            self.conns.iter().filter(|(_, conn)| conn.has_news()).map(|(&index, _)| index).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let index = *self.rng.pick(&waiting);
        let conn = &self.conns[&index];
        if conn.to_broker.is_empty() || (conn.dropped && self.rng.percent(5)) {
            self.notice_drop(index)?;
        } else {
            let all = conn.to_broker.len();
            let count = if self.rng.percent(40) { all } else { self.rng.between(1, all) };
            self.arrive(index, count)?;
        }
        self.remove_finished();
        Ok(())
    }

    /// Somebody reads some of what has been sent.
    pub(crate) fn somebody_reads(&mut self) -> Check {
        let waiting: Vec<usize> = self
            .conns
            .iter()
            .filter(|(_, conn)| {
                let reads = match conn.owner {
                    Owner::Client(_) | Owner::Silent(_) => true,
                    Owner::Hostile(hostile) => self.hostiles[hostile].reads,
                };
                reads && !conn.dropped && (!conn.to_client.is_empty() || conn.is_at_end())
            })
            .map(|(&index, _)| index)
            .collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let index = *self.rng.pick(&waiting);
        if let Owner::Client(client) = self.conns[&index].owner
            && self.clients[client].plan.slow
            && self.rng.percent(80)
        {
            return Ok(());
        }
        let all = self.conns[&index].to_client.len();
        let count = if self.rng.percent(50) || all == 0 { all } else { self.rng.between(1, all) };
        self.read(index, count)?;
        self.remove_finished();
        Ok(())
    }

    /// A client reads `count` bytes and does what has to follow at once.
    pub(crate) fn read(&mut self, index: usize, count: usize) -> Check {
        let conn = self.conns.get_mut(&index).expect("the caller has it");
        let bytes = conn.read(count);
        self.send_rest(index);
        let conn = self.conns.get_mut(&index).expect("still there");
        let at_end = conn.is_at_end();
        if let Owner::Client(client) = conn.owner
            && self.clients[client].conn == Some(index)
        {
            let client = &mut self.clients[client];
            let mut out = Vec::new();
            client.read(&bytes, &mut self.oracle, &mut out)?;
            if !out.is_empty() {
                client.sent_ms = self.now.ms();
            }
            if at_end {
                client.disconnected(conn.ended_ms.unwrap_or(self.now.ms()));
            } else {
                conn.write(&out);
            }
        } else if let Owner::Hostile(hostile) = conn.owner
            && at_end
            && self.hostiles[hostile].conn == Some(index)
        {
            self.hostiles[hostile].conn = None;
        }
        // Whoever has read the end closes its own, but for some who never do.
        let stays = matches!(conn.owner, Owner::Hostile(_)) && self.edge_rng.percent(30);
        if at_end && !stays {
            self.drop_conn(index);
        }
        Ok(())
    }

    /// Somebody decides.
    pub(crate) fn somebody_acts(&mut self) {
        let number = self.rng.below(self.clients.len() + self.hostiles.len());
        if number < self.clients.len() {
            self.client_acts(number);
        } else {
            self.hostile_acts(number - self.clients.len());
        }
        self.remove_finished();
    }

    fn client_acts(&mut self, number: usize) {
        let mut out = Vec::new();
        let client = &mut self.clients[number];
        let decision = client.act(&mut self.rng, self.now.ms(), &mut out);
        if let Some(index) = client.conn
            && !out.is_empty()
        {
            client.sent_ms = self.now.ms();
            if let Some(conn) = self.conns.get_mut(&index) {
                conn.write(&out);
            }
        }
        match decision {
            Move::Nothing => {}
            Move::Open { clean_start } => self.open(number, clean_start),
            Move::Drop => self.drop_client(number),
            Move::Takeover { clean_start } => {
                if self.clients[number].plan.fights {
                    // The other one's connection: it stays, and reads what comes until it is taken over.
                    self.leave_conn(number);
                } else {
                    self.drop_client(number);
                }
                self.open(number, clean_start);
            }
        }
    }

    /// A client opens a connection and sends CONNECT.
    pub(crate) fn open(&mut self, number: usize, clean_start: bool) {
        let plan = self.clients[number].plan.clone();
        let mut conn = self.new_conn(Owner::Client(number), plan.version);
        // Before 5.0, a session that is not kept is what a clean one is.
        let never_kept = !plan.version.is_v5() && plan.expiry_s == 0;
        let expired = self.clients[number].has_expired(self.now.ms());
        let clean_start = clean_start || never_kept || expired || self.clients[number].forgot;
        if clean_start {
            self.clients[number].forget();
        }
        let mut connect = Client::connect(&plan.name, &plan, clean_start);
        let will_number = self.oracle.next_will();
        let (topic, payload) = (format!("will/{number}"), will_payload(number, will_number));
        if !plan.watcher && self.rng.percent(40) {
            connect.will = Some(ConnectWill {
                topic: &topic,
                payload: &payload,
                qos: Qos::AtLeastOnce,
                retain: false,
                delay_s: if plan.version.is_v5() { *self.rng.pick(&[0, 0, 2, 30]) } else { 0 },
                message_expiry_s: None,
                properties: Forwarded::EMPTY,
            });
        }
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        if self.edge_rng.percent(25) {
            self.clients[number].ping(&mut bytes); // it need not wait for CONNACK
        }
        conn.write(&bytes);
        let index = self.add_conn(conn);
        self.trace.note(&format!("client {number} opens connection {index}, clean start {}", connect.clean_start));
        self.clients[number].conn = Some(index);
        self.clients[number].expiry_s = connect.session_expiry_s.min(self.plan.settings.session_expiry_max_s);
        self.clients[number].sent_ms = self.now.ms();
    }

    /// By some shard's listener, of those that the plan has.
    fn new_conn(&mut self, owner: Owner, version: Version) -> Conn {
        let shard = self.edge_rng.below(self.shards.len());
        let is_layered = self.plan.layered && self.edge_rng.percent(50);
        Conn::new(owner, version, shard, u8::from(is_layered) + self.authenticator.listener(self.plan.asks))
    }

    pub(crate) fn add_conn(&mut self, conn: Conn) -> usize {
        self.next_conn += 1;
        self.conns.insert(self.next_conn, conn);
        self.next_conn
    }

    /// A client walks off. What it has sent may still arrive.
    pub(crate) fn drop_client(&mut self, number: usize) {
        let Some(index) = self.clients[number].conn else { return };
        self.trace.note(&format!("client {number} drops connection {index}"));
        self.leave_conn(number);
        self.drop_conn(index);
    }

    /// A client has no connection any more, since the broker ended it or from now on.
    fn leave_conn(&mut self, number: usize) {
        let conn = self.clients[number].conn.and_then(|index| self.conns.get(&index));
        let ended_ms = conn.and_then(|conn| conn.ended_ms);
        self.clients[number].disconnected(ended_ms.unwrap_or(self.now.ms()));
    }

    pub(crate) fn drop_conn(&mut self, index: usize) {
        let Some(conn) = self.conns.get_mut(&index) else { return };
        conn.dropped = true;
        conn.to_client.clear();
        if self.rng.percent(30) {
            conn.to_broker.clear(); // a reset: what was on its way is lost
        }
        self.send_rest(index);
    }

    fn hostile_acts(&mut self, number: usize) {
        let mut out = Vec::new();
        let Some(index) = self.hostiles[number].conn else {
            let version = self.hostiles[number].connect(&mut self.rng, &mut out);
            let mut conn = self.new_conn(Owner::Hostile(number), version);
            conn.write(&out);
            let index = self.add_conn(conn);
            self.hostiles[number].conn = Some(index);
            return;
        };
        let drops = self.hostiles[number].act(&mut self.rng, &mut out);
        if self.edge_rng.percent(3) {
            self.hostiles[number].flood(&mut self.edge_rng, &mut out);
        }
        let Some(conn) = self.conns.get_mut(&index).filter(|conn| !conn.is_closed() && !conn.half_closed) else {
            self.hostiles[number].conn = None;
            self.drop_conn(index);
            return;
        };
        if conn.to_broker.len() < 20_000 {
            conn.write(&out);
        }
        if drops && self.edge_rng.percent(20) {
            conn.half_closed = true; // it sends no more, and reads on
        } else if drops {
            self.hostiles[number].conn = None;
            self.drop_conn(index);
        }
    }

    /// Connections that are over leave the books.
    pub(crate) fn remove_finished(&mut self) {
        let over: Vec<usize> = self.conns.iter().filter(|(_, conn)| conn.is_over()).map(|(&index, _)| index).collect();
        for index in over {
            if let Owner::Client(client) = self.conns[&index].owner
                && self.clients[client].conn == Some(index)
            {
                self.leave_conn(client);
            }
            if let Some(name) = self.conns.remove(&index).and_then(|conn| conn.at) {
                self.names.remove(&name);
            }
            self.aliases.retain(|&(conn, _), _| conn != index);
            self.aliases_in.retain(|&(conn, _), _| conn != index);
        }
    }
}
