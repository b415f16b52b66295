//! Lists that an operator reads: filters of a client, shared subscriptions, retained messages, the first clients and topics.
//!
//! Always holds: a list has what the model knows to be there, nothing twice, and is in the order that it was asked for in.

use std::collections::BTreeSet;

use dunlin::shard::command::{PAGE_MAX, TopBy, TopicsBy};
use dunlin::shard::{Command, Input, Reply};
use dunlin::telemetry::TransportCounters;
use dunlin::topic::Cursor;

use crate::oracle::{Check, matches};
use crate::world::World;

/// Ticks within which the first clients are told: a page of slots each.
const SLICES_MAX: usize = 16;
const TOPS: [TopBy; 10] = [
    TopBy::Received,
    TopBy::Sent,
    TopBy::ReceivedBytes,
    TopBy::SentBytes,
    TopBy::Dropped,
    TopBy::Queued,
    TopBy::QueuedBytes,
    TopBy::QueueAge,
    TopBy::InFlight,
    TopBy::AckAge,
];

impl World {
    /// One of them, from its beginning to its end.
    pub(crate) fn ask_for_a_list(&mut self, shard: usize) -> Check {
        self.oracle.stats.lists += 1;
        match self.orders.rng.below(6) {
            0 | 1 => self.ask_for_filters(shard),
            2 => self.ask_for_groups(shard),
            3 => self.ask_for_retained(shard),
            4 => self.ask_for_the_first(shard),
            _ => self.ask_for_topics(shard),
        }
    }

    /// Exactly what the model says the client is subscribed to.
    fn ask_for_filters(&mut self, shard: usize) -> Check {
        let clients: Vec<usize> = self.clients_of(shard).into_iter().collect();
        if clients.is_empty() {
            return Ok(());
        }
        let client = *self.orders.rng.pick(&clients);
        let session = &self.oracle.sessions[&client];
        let is_over = session.is_over(self.now.ms());
        let known: BTreeSet<String> = session.subscriptions.keys().cloned().collect();
        let client_id: Box<str> = self.clients[client].plan.name.as_str().into();
        let (mut told, mut first) = (BTreeSet::new(), Some(0));
        while let Some(place) = first {
            let command = Command::ListSubscriptions { client_id: client_id.clone(), first: place };
            let page = match self.command(shard, command)? {
                Reply::Subscriptions { page, next, .. } => {
                    first = next;
                    page
                }
                Reply::NotFound if is_over => return Ok(()),
                other => return Err(format!("no filters of client {client}: {other:?}")),
            };
            let mut page: Vec<Box<str>> = page.into_iter().map(|row| row.filter).collect();
            self.cage.skips_filter(&mut page);
            let (before, count) = (told.len(), page.len());
            told.extend(page.into_iter().map(String::from));
            if told.len() != before + count {
                return Err(format!("a filter of client {client} is told twice: {told:?}"));
            }
        }
        if told == known { Ok(()) } else { Err(format!("client {client} is told to have {told:?}, and has {known:?}")) }
    }

    /// Every shared subscription that a client of the shard has a part in.
    fn ask_for_groups(&mut self, shard: usize) -> Check {
        let here = self.clients_of(shard);
        let sessions = self
            .oracle
            .sessions
            .iter()
            .filter(|(client, session)| here.contains(client) && !session.is_over(self.now.ms()));
        let filters = sessions.flat_map(|(_, session)| session.subscriptions.keys());
        let known: BTreeSet<String> = filters.filter(|filter| filter.starts_with("$share/")).cloned().collect();
        let limit = self.orders.rng.between(1, 4) as u16;
        let (mut told, mut first) = (BTreeSet::new(), Some(0));
        while let Some(from) = first {
            let Reply::Groups { page, next } = self.command(shard, Command::ListGroups { first: from, limit })? else {
                return Err("no shared subscriptions".to_owned());
            };
            for row in page {
                if row.members == 0 || row.connected > row.members || !told.insert(String::from(row.filter.clone())) {
                    return Err(format!("a shared subscription is told as {row:?}, beside {told:?}"));
                }
            }
            first = next;
        }
        let missing = known.difference(&told).next();
        missing.map_or(Ok(()), |filter| Err(format!("shard {shard} has members of {filter}, and lists {told:?}")))
    }

    /// In the order of their topics, and of the filter alone.
    fn ask_for_retained(&mut self, shard: usize) -> Check {
        let filter = *self.orders.rng.pick(&["r/+", "r/#", "r/0", "#"]);
        let limit = self.orders.rng.between(1, 3) as u16;
        let (mut last, mut after) = (None::<Box<str>>, Some(Cursor::default()));
        while let Some(cursor) = after {
            let command = Command::ListRetained { filter: filter.into(), cursor, limit };
            let Reply::Retained { page, next } = self.command(shard, command)? else {
                return Err(format!("no retained messages of {filter}"));
            };
            for row in page {
                let is_behind = last.as_ref().is_none_or(|last| *last < row.topic);
                if !is_behind || !matches(filter, &row.topic) {
                    return Err(format!("{row:?} is listed for {filter} behind {last:?}"));
                }
                last = Some(row.topic);
            }
            after = next;
        }
        Ok(())
    }

    fn ask_for_the_first(&mut self, shard: usize) -> Check {
        let by = *self.orders.rng.pick(&TOPS);
        let limit = self.orders.rng.between(1, 5) as u16;
        let request = self.begin_command(shard, Command::ListTop { by, limit })?;
        // It may take several ticks.
        for _ in 0..SLICES_MAX {
            if self.operator.replies.contains_key(&request) {
                break;
            }
            self.turn(shard, Input::Tick { transport: &TransportCounters::default() })?;
        }
        let reply = self.operator.replies.remove(&request);
        match reply.ok_or_else(|| format!("the first by {by:?} are never told"))? {
            Reply::Top { rows, .. } => {
                let names: BTreeSet<&str> = rows.iter().map(|row| &*row.client_id).collect();
                let falls = rows.windows(2).all(|pair| pair[0].value >= pair[1].value);
                let is_right = falls && names.len() == rows.len() && rows.len() <= limit.into();
                if is_right && rows.iter().all(|row| row.value > 0) {
                    return Ok(());
                }
                Err(format!("the first {limit} by {by:?} are {rows:?}"))
            }
            // Somebody has to look for a while before there is anything to tell.
            Reply::NotNow(_) => Ok(()),
            other => Err(format!("the first by {by:?} are {other:?}")),
        }
    }

    fn ask_for_topics(&mut self, shard: usize) -> Check {
        let by = *self.orders.rng.pick(&[TopicsBy::Messages, TopicsBy::Bytes, TopicsBy::Last]);
        let command = Command::ListTopics { by, limit: PAGE_MAX };
        let Reply::Topics { rows, .. } = self.command(shard, command)? else { return Err("no topics".to_owned()) };
        let names: BTreeSet<&str> = rows.iter().map(|row| &*row.topic).collect();
        let falls = rows.windows(2).all(|pair| match by {
            TopicsBy::Messages => pair[0].messages >= pair[1].messages,
            TopicsBy::Bytes => pair[0].bytes >= pair[1].bytes,
            TopicsBy::Last => pair[0].last_ago_ms <= pair[1].last_ago_ms,
        });
        if falls && names.len() == rows.len() { Ok(()) } else { Err(format!("topics by {by:?} are {rows:?}")) }
    }
}
