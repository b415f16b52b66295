//! Who is owed what: computed from filters and topics before the run, and asked for every message.
//!
//! For each pair of a publishing group and a subscription of another (or the same) group, the streams that it covers, in the
//! smallest form that tells them. A client is owed a message once, whatever number of its subscriptions match: the first
//! that does decides the QoS. A shared subscription is owed it once for all its members.

use super::cast::Cast;
use dunlin::topic::{SubscribedFilter, TopicName, matches};
use std::collections::HashMap;

/// Levels that are matched; a plan's names were checked against the same.
const LEVELS_MAX: u16 = 1024;
/// Pairs of filter and topic that are tried one by one, at most.
const PAIRS_MAX: u64 = 200_000_000;

/// Who is owed what.
pub(super) struct Interest {
    claims: Vec<Claim>,
    /// For each publishing role, deliveries of one message by their QoS.
    fans: Vec<Option<Fan>>,
}

/// One subscription of one role, towards the streams of one publishing role.
struct Claim {
    subscriber: usize,
    publisher: usize,
    /// The lower one of both.
    qos: u8,
    /// Number of the shared subscription, for those of constant text.
    share: Option<u32>,
    covers: Covers,
}

enum Covers {
    All,
    /// The same streams for every client; sorted.
    Same(Vec<u32>),
    /// One stream at most for each client, by index.
    One(Vec<u32>),
    /// Sorted streams for each client, by index.
    Each(Vec<Vec<u32>>),
}

/// Deliveries of one message, by QoS.
enum Fan {
    Uniform([u32; 3]),
    Each { first: u32, counts: Vec<[u32; 3]> },
}

/// What a message is to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) qos: u8,
    pub(super) share: Option<u32>,
}

const NOBODY: u32 = u32::MAX;

impl Interest {
    /// # Errors
    /// So many filters with wildcards and placeholders against so many topics that finding out would take minutes.
    pub(super) fn new(cast: &Cast) -> Result<Self, String> {
        let mut claims: Vec<Claim> = Vec::new();
        let mut shares: HashMap<String, u32> = HashMap::new();
        for publisher in 0..cast.roles.len() {
            let Some(publishing) = &cast.roles[publisher].publishing else { continue };
            let topics = Topics::new(cast, publisher);
            for (subscriber, role) in cast.roles.iter().enumerate() {
                for (at, (name, subscription)) in role.filters.iter().enumerate() {
                    let text = filter_text(cast, subscriber, 0, at);
                    let share = match text.strip_prefix("$share/") {
                        Some(_) if !name.is_constant() => {
                            return Err(format!("{text}: a shared subscription must be the same for all its members"));
                        }
                        Some(_) => {
                            let next = shares.len() as u32;
                            Some(*shares.entry(text.clone()).or_insert(next))
                        }
                        None => None,
                    };
                    let Some(covers) = topics.covered(cast, subscriber, at, name.is_constant())? else { continue };
                    let qos = subscription.qos.min(publishing.what.qos);
                    claims.push(Claim { subscriber, publisher, qos, share, covers });
                }
            }
        }
        let fans = (0..cast.roles.len()).map(|role| fan(cast, &claims, role)).collect();
        Ok(Self { claims, fans })
    }

    /// What a message of a stream is to a client; `None` if it is owed none.
    #[inline]
    pub(super) fn due(&self, subscriber: usize, index: u32, publisher: usize, stream: u32) -> Option<Due> {
        self.claims
            .iter()
            .filter(|claim| claim.subscriber == subscriber && claim.publisher == publisher)
            .find(|claim| claim.covers.has(index, stream))
            .map(|claim| Due { qos: claim.qos, share: claim.share })
    }

    /// Deliveries that a message of this stream leads to, over all parts.
    #[inline]
    pub(super) fn fan(&self, publisher: usize, stream: u32) -> [u32; 3] {
        match &self.fans[publisher] {
            None => [0; 3],
            Some(Fan::Uniform(counts)) => *counts,
            Some(Fan::Each { first, counts }) => counts[(stream - first) as usize],
        }
    }

    /// Calls `visit` with each stream that a client is owed by itself, and with the QoS.
    pub(super) fn for_each_stream(&self, cast: &Cast, subscriber: usize, index: u32, visit: &mut dyn FnMut(u32, u8)) {
        for (at, claim) in self.claims.iter().enumerate() {
            if claim.subscriber != subscriber || claim.share.is_some() {
                continue;
            }
            let before = self.claims[..at]
                .iter()
                .filter(|earlier| earlier.subscriber == subscriber && earlier.publisher == claim.publisher);
            let mut visit = |stream: u32| {
                if !before.clone().any(|earlier| earlier.covers.has(index, stream)) {
                    visit(stream, claim.qos);
                }
            };
            match &claim.covers {
                Covers::All => {
                    if let Some(publishing) = &cast.roles[claim.publisher].publishing {
                        (publishing.first_stream..publishing.first_stream + publishing.streams).for_each(visit);
                    }
                }
                Covers::Same(streams) => streams.iter().copied().for_each(visit),
                Covers::One(streams) => {
                    let stream = streams[index as usize];
                    if stream != NOBODY {
                        visit(stream);
                    }
                }
                Covers::Each(streams) => streams[index as usize].iter().copied().for_each(visit),
            }
        }
    }
}

impl Covers {
    #[inline]
    fn has(&self, index: u32, stream: u32) -> bool {
        match self {
            Self::All => true,
            Self::Same(streams) => streams.binary_search(&stream).is_ok(),
            Self::One(streams) => streams[index as usize] == stream,
            Self::Each(streams) => streams[index as usize].binary_search(&stream).is_ok(),
        }
    }
}

fn filter_text(cast: &Cast, role: usize, index: u32, filter: usize) -> String {
    let mut text = String::new();
    cast.write_filter(role, index, filter, &mut text);
    text
}

/// The topics of one publishing role: one for all its streams, or one each.
struct Topics<'a> {
    first: u32,
    streams: u32,
    constant: bool,
    cast: &'a Cast,
    publisher: usize,
}

impl<'a> Topics<'a> {
    fn new(cast: &'a Cast, publisher: usize) -> Self {
        let publishing = cast.roles[publisher].publishing.as_ref().expect("only of roles that publish");
        Self {
            first: publishing.first_stream,
            streams: publishing.streams,
            constant: publishing.topic.is_constant(),
            cast,
            publisher,
        }
    }

    fn covered(&self, cast: &Cast, subscriber: usize, at: usize, constant: bool) -> Result<Option<Covers>, String> {
        if constant {
            let streams = self.matched(&filter_text(cast, subscriber, 0, at));
            return Ok(match streams.len() {
                0 => None,
                all if all == self.streams as usize => Some(Covers::All),
                _ => Some(Covers::Same(streams)),
            });
        }
        let clients = cast.roles[subscriber].group.clients;
        let literal = !filter_text(cast, subscriber, 0, at).contains(['+', '#']);
        if literal && !self.constant {
            return Ok(self.looked_up(cast, subscriber, at, clients));
        }
        let tries = if self.constant { 1 } else { self.streams };
        if u64::from(tries) * u64::from(clients) > PAIRS_MAX {
            return Err(format!(
                "filter {}: {clients} clients with a wildcard of their own against {tries} topics are too many to judge",
                filter_text(cast, subscriber, 0, at)
            ));
        }
        let each: Vec<Vec<u32>> =
            (0..clients).map(|index| self.matched(&filter_text(cast, subscriber, index, at))).collect();
        Ok(if each.iter().all(Vec::is_empty) { None } else { Some(Covers::Each(each)) })
    }

    /// Streams whose topics a filter matches.
    fn matched(&self, filter: &str) -> Vec<u32> {
        let Ok(filter) = SubscribedFilter::parse(filter, LEVELS_MAX) else { return Vec::new() };
        let mut topic = String::new();
        let mut is_matched = |stream: u32| {
            topic.clear();
            self.cast.write_topic(self.publisher, stream, &mut topic);
            TopicName::parse(&topic, LEVELS_MAX).is_ok_and(|name| matches(filter.filter, name))
        };
        let all = self.first..self.first + self.streams;
        if self.constant {
            return if is_matched(self.first) { all.collect() } else { Vec::new() };
        }
        all.filter(|stream| is_matched(*stream)).collect()
    }

    /// For filters without wildcards: a table of all topics instead of trying each.
    fn looked_up(&self, cast: &Cast, subscriber: usize, at: usize, clients: u32) -> Option<Covers> {
        let hasher = ahash::RandomState::with_seeds(5, 6, 7, 8);
        let mut by_topic: HashMap<u64, u32> = HashMap::with_capacity(self.streams as usize);
        let mut text = String::new();
        for stream in self.first..self.first + self.streams {
            text.clear();
            self.cast.write_topic(self.publisher, stream, &mut text);
            by_topic.insert(hasher.hash_one(text.as_str()), stream);
        }
        let mut find = |index: u32| {
            text.clear();
            cast.write_filter(subscriber, index, at, &mut text);
            by_topic.get(&hasher.hash_one(text.as_str())).copied().unwrap_or(NOBODY)
        };
        let streams: Vec<u32> = (0..clients).map(&mut find).collect();
        if streams.iter().all(|stream| *stream == NOBODY) { None } else { Some(Covers::One(streams)) }
    }
}

fn fan(cast: &Cast, claims: &[Claim], publisher: usize) -> Option<Fan> {
    let publishing = cast.roles[publisher].publishing.as_ref()?;
    let (first, streams) = (publishing.first_stream, publishing.streams as usize);
    let mut mine = claims.iter().filter(move |claim| claim.publisher == publisher);
    let simple = mine.all(|claim| matches!(claim.covers, Covers::All));
    // Streams are alike where every claim covers them all: one will do for the others.
    let mut counts = vec![[0_u32; 3]; if simple { 1 } else { streams }];
    let mut shares: Vec<(u32, u32)> = Vec::new();
    for (at, claim) in claims.iter().enumerate().filter(|(_, claim)| claim.publisher == publisher) {
        let earlier =
            || claims[..at].iter().filter(|one| one.publisher == publisher && one.subscriber == claim.subscriber);
        let clients = cast.roles[claim.subscriber].group.clients;
        let mut add = |index: u32, stream: u32, many: u32| {
            if let Some(share) = claim.share {
                if !shares.contains(&(share, stream)) {
                    shares.push((share, stream));
                    counts[(stream - first) as usize][usize::from(claim.qos)] += 1;
                }
            } else if !earlier().any(|one| one.covers.has(index, stream)) {
                counts[(stream - first) as usize][usize::from(claim.qos)] += many;
            }
        };
        match &claim.covers {
            Covers::All if simple => add(0, first, clients),
            Covers::All => (0..publishing.streams).for_each(|at| add(0, first + at, clients)),
            Covers::Same(list) => list.iter().for_each(|stream| add(0, *stream, clients)),
            Covers::One(list) => {
                for (index, stream) in list.iter().enumerate().filter(|(_, stream)| **stream != NOBODY) {
                    add(index as u32, *stream, 1);
                }
            }
            Covers::Each(lists) => {
                for (index, list) in lists.iter().enumerate() {
                    for stream in list {
                        add(index as u32, *stream, 1);
                    }
                }
            }
        }
    }
    let uniform = counts.windows(2).all(|two| two[0] == two[1]);
    Some(if uniform { Fan::Uniform(counts[0]) } else { Fan::Each { first, counts } })
}
