//! Somebody who is no client: looks, lists, disconnects, publishes, deletes, while everything else goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dunlin::codec::{Forwarded, Version};
use dunlin::ids::{Qos, ShardId};
use dunlin::session::{Message as Published, MessageRef};
use dunlin::shard::command::{Audience, ClientFilter, PAGE_MAX};
use dunlin::shard::{ClientCursor, Command, Input, Reply, RequestId, SessionFate, Settings};
use dunlin::telemetry::TransportCounters;

use crate::actions::TOPICS;
use crate::oracle::{Check, Message, payload};
use crate::rng::Rng;
use crate::world::World;

/// Above the numbers of clients: an operator publishes under the number of the shard that it asks.
const OPERATORS: usize = 1_000;

/// A list that is being read page by page.
#[derive(Debug)]
struct Listing {
    after: Option<ClientCursor>,
    seen: BTreeSet<String>,
    /// Clients that had a session when it began, and have had it ever since.
    there: BTreeSet<usize>,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Operator {
    rng: Rng,
    requests: u64,
    /// Answers that nobody has looked at.
    pub(crate) replies: BTreeMap<RequestId, Reply>,
    /// By shard.
    listings: BTreeMap<usize, Listing>,
    messages: u32,
}

impl Operator {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed ^ 0x09e2_a708),
            requests: 0,
            replies: BTreeMap::new(),
            listings: BTreeMap::new(),
            messages: 0,
        }
    }

    /// The process has died: nothing that it was asked is answered.
    pub(crate) fn forget(&mut self) {
        self.replies.clear();
        self.listings.clear();
    }
}

impl World {
    /// One command, to any shard. In worlds whose clients are left alone it only looks.
    pub(crate) fn operator_acts(&mut self) -> Check {
        if !self.operator.rng.percent(2) {
            return Ok(());
        }
        let shard = self.operator.rng.below(self.shards.len());
        let what = self.operator.rng.below(if self.plan.operated { 10 } else { 6 });
        self.oracle.stats.commands += 1;
        match what {
            0 => self.ask_for_counts(shard),
            1 | 2 => self.ask_for_a_page(shard),
            3 | 4 => self.ask_for_a_client(shard),
            5 => self.reload(shard),
            6 | 7 => self.publish_for_operator(shard),
            _ => self.disconnect(shard),
        }
    }

    /// The answer to a command that is answered at once.
    pub(crate) fn command(&mut self, shard: usize, command: Command) -> Result<Reply, String> {
        let request = self.begin_command(shard, command)?;
        self.operator.replies.remove(&request).ok_or_else(|| format!("shard {shard} does not answer {request:?}"))
    }

    pub(crate) fn begin_command(&mut self, shard: usize, command: Command) -> Result<RequestId, String> {
        self.operator.requests += 1;
        let request = RequestId(self.operator.requests);
        self.trace.note(&format!("operator to shard {shard}: {command:?}"));
        let transport = &TransportCounters::default();
        self.turn(shard, Input::Command { request, command, edge: transport })?;
        Ok(request)
    }

    fn ask_for_counts(&mut self, shard: usize) -> Check {
        // As it is before the turn: what was deferred is handled behind the command.
        let held = self.shards[shard].gauges();
        let Reply::Counts(report) = self.command(shard, Command::Counts)? else { return Err("no counts".to_owned()) };
        if report.gauges == held { Ok(()) } else { Err(format!("shard {shard} tells {report:?} and has {held:?}")) }
    }

    /// Reads one list to its end, one page each time: who was there all the while is in it, and nobody twice.
    fn ask_for_a_page(&mut self, shard: usize) -> Check {
        let limit = self.operator.rng.between(1, 4) as u16;
        self.forget_in_listings();
        let there = self.clients_of(shard);
        let mut listing = match self.operator.listings.remove(&shard) {
            Some(listing) => listing,
            None => Listing { after: None, seen: BTreeSet::new(), there },
        };
        let command = Command::ListClients { after: listing.after, limit, filter: ClientFilter::default() };
        let Reply::Clients { mut page, next } = self.command(shard, command)? else { return Err("no page".to_owned()) };
        self.cage.skips(&mut page);
        for client in &page {
            let is_new = listing.seen.insert(client.client_id.to_string());
            let index = self.clients.iter().position(|known| *known.plan.name == *client.client_id);
            // A session that ended and began anew may stand in another place.
            if !is_new && index.is_some_and(|index| listing.there.contains(&index)) {
                return Err(format!("{} stands twice in a list of shard {shard}", client.client_id));
            }
        }
        listing.after = next;
        if next.is_some() {
            self.operator.listings.insert(shard, listing);
            return Ok(());
        }
        let missing = listing.there.iter().find(|&&client| !listing.seen.contains(&self.clients[client].plan.name));
        missing
            .map_or(Ok(()), |client| Err(format!("client {client} is not in the list of shard {shard}: {listing:?}")))
    }

    /// A session has ended: no list owes it any more.
    fn forget_in_listings(&mut self) {
        let ended = std::mem::take(&mut self.oracle.lately_ended);
        for listing in self.operator.listings.values_mut() {
            listing.there.retain(|client| !ended.contains(client));
        }
    }

    pub(crate) fn clients_of(&self, shard: usize) -> BTreeSet<usize> {
        let is_here =
            |&client: &usize| ShardId::owner_of(&self.clients[client].plan.name, self.shards.len()).index() == shard;
        self.oracle.sessions.keys().copied().filter(is_here).collect()
    }

    fn ask_for_a_client(&mut self, shard: usize) -> Check {
        let clients: Vec<usize> = self.clients_of(shard).into_iter().collect();
        if clients.is_empty() {
            return Ok(());
        }
        let client = *self.operator.rng.pick(&clients);
        let session = &self.oracle.sessions[&client];
        let is_over = session.is_over(self.now.ms());
        let filters: Vec<String> = session.subscriptions.keys().cloned().collect();
        let known = (filters.len(), session.conn.is_some(), session.expiry_s, session.will.is_some());
        let client_id: Box<str> = self.clients[client].plan.name.as_str().into();
        let reply = self.command(shard, Command::DescribeClient { client_id })?;
        match reply {
            Reply::Client(details) => {
                let subscriptions = details.summary.subscriptions as usize;
                let told = (subscriptions, details.connection.is_some(), details.session_expiry_s, details.has_will);
                // A will that has just come due is the shard's until its next tick.
                let is_due = !known.1 && told.3 && !known.3;
                if told == known || is_due && (told.0, told.1, told.2) == (known.0, known.1, known.2) {
                    return self.ask_for_an_audience(shard, client, filters.first());
                }
                Err(format!("client {client} is said to hold {told:?}, and has {known:?}, subscribed to {filters:?}"))
            }
            // The model is exact about the end of a session, a shard within its timers.
            Reply::NotFound if is_over => Ok(()),
            other => Err(format!("client {client} is described as {other:?}, and has {known:?}")),
        }
    }

    /// A client is among those who are subscribed to a filter that it is subscribed to, once.
    fn ask_for_an_audience(&mut self, shard: usize, client: usize, filter: Option<&String>) -> Check {
        let Some(filter) = filter else { return Ok(()) };
        let of = Audience::Filter(filter.as_str().into());
        let reply = self.command(shard, Command::ListAudience { of, after: None, limit: PAGE_MAX })?;
        let Reply::Audience { page, next } = reply else { return Err(format!("no audience of {filter}: {reply:?}")) };
        let rows = page.iter().filter(|row| *row.client_id == *self.clients[client].plan.name).count();
        let is_over = self.oracle.sessions.get(&client).is_none_or(|session| session.is_over(self.now.ms()));
        if rows == 1 || rows == 0 && (next.is_some() || is_over) {
            return Ok(());
        }
        Err(format!("client {client} is {rows} times in the audience of {filter}: {page:?}"))
    }

    fn reload(&mut self, shard: usize) -> Check {
        let subscriptions_per_turn = *self.operator.rng.pick(&[1, 8, 256]);
        let settings = Settings { subscriptions_per_turn, ..self.plan.settings.clone() };
        match self.command(shard, Command::Reload(Arc::new(settings)))? {
            Reply::Done => Ok(()),
            other => Err(format!("a reload is answered with {other:?}")),
        }
    }

    fn publish_for_operator(&mut self, shard: usize) -> Check {
        self.pass_us(1); // two writes at one instant on two shards are ordered by shard
        self.operator.messages += 1;
        let (key, topic) = ((OPERATORS + shard, self.operator.messages), *self.operator.rng.pick(&TOPICS));
        let qos = self.operator.rng.below(3) as u8;
        let retain = topic.starts_with("r/") && self.operator.rng.percent(50);
        let payload = payload(key, 0);
        let message = Published::new(&MessageRef {
            topic,
            qos: Qos::from_bits(qos).expect("below 3"),
            retain,
            expires: None,
            publisher: None,
            properties: Forwarded::EMPTY,
            payload: &payload,
        });
        let bytes = topic.len() + payload.len();
        let step = self.trace.step;
        let known =
            Message { topic: topic.to_owned(), qos, retain, expires_ms: None, order: key.1, step, routings: 0, bytes };
        self.oracle.publish(key, known);
        match self.command(shard, Command::Publish(message))? {
            Reply::Published { .. } => Ok(()),
            other => Err(format!("a message of an operator is answered with {other:?}")),
        }
    }

    fn disconnect(&mut self, shard: usize) -> Check {
        let clients = self.clients_of(shard);
        let clients: Vec<usize> = clients.into_iter().filter(|&client| !self.clients[client].plan.watcher).collect();
        if clients.is_empty() {
            return Ok(());
        }
        let client = *self.operator.rng.pick(&clients);
        // A 3.1 client is told by nobody that its session is gone: CONNACK cannot say it.
        let may_end = self.clients[client].plan.version != Version::V31;
        let ends = self.operator.rng.percent(30) && may_end;
        let session = if ends { SessionFate::Ended } else { SessionFate::Kept };
        if let Some(conn) = self.oracle.sessions[&client].conn {
            self.oracle.end_connection(client, conn);
        }
        if session == SessionFate::Ended && self.oracle.sessions.contains_key(&client) {
            self.oracle.end_session(client);
        }
        let client_id: Box<str> = self.clients[client].plan.name.as_str().into();
        match self.command(shard, Command::Disconnect { client_id, session, reason: None })? {
            Reply::Done | Reply::NotFound => Ok(()),
            other => Err(format!("a disconnect is answered with {other:?}")),
        }
    }

    /// Has every retained message deleted that a filter matches, and waits for the answer.
    pub(crate) fn delete_retained(&mut self, filter: &str) -> Check {
        let shard = self.operator.rng.below(self.shards.len());
        let request = self.begin_command(shard, Command::DeleteRetained { filter: filter.into() })?;
        self.rest(false)?;
        match self.operator.replies.remove(&request) {
            Some(Reply::Deleted { .. }) => {}
            other => return Err(format!("a deletion is answered with {other:?}")),
        }
        let matched = self.oracle.retained.iter_mut().filter(|(topic, _)| crate::oracle::matches(filter, topic));
        matched.for_each(|(_, key)| *key = None);
        Ok(())
    }
}
