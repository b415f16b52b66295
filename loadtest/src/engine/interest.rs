//! Who is owed what: computed from filters and topics before the run, and asked for every message.
//!
//! For each pair of a publishing group and a subscription of another (or the same) group, the streams that it covers, in the
//! smallest form that tells them. A client is owed a message once, at the highest QoS of its own subscriptions that match,
//! and a broker may send it a copy for each of them (3.1.1 section 3.3.5, 5.0 section 3.3.4). A shared subscription is owed
//! it once for all its members, whatever else they subscribe to.
//!
//! A delivery is charged to a [lane](crate::outcome::Verdict::lane_mut): its QoS, apart for readers that are slow on purpose.

mod topics;

use self::topics::{Covers, NOBODY, Topics, filter_text};
use super::cast::Cast;
use crate::outcome::{LANES, lane};
use crate::plan::{Part, Reads};
use std::collections::{HashMap, HashSet};

/// Who is owed what.
pub(super) struct Interest {
    /// Those of one pair of roles stand together.
    claims: Vec<Claim>,
    /// By publishing and subscribing role: where their claims are.
    pairs: Vec<std::ops::Range<usize>>,
    roles: usize,
    /// For each publishing role, deliveries of one message by their lane.
    fans: Vec<Option<Fan>>,
    /// Of these, what subscribers in this process get; `None`: all of it.
    fans_here: Option<Vec<Option<Fan>>>,
}

/// One subscription of one role, towards the streams of one publishing role.
struct Claim {
    subscriber: usize,
    publisher: usize,
    /// Of the lower QoS of both.
    lane: u8,
    /// Number of the shared subscription, for those of constant text.
    share: Option<u32>,
    covers: Covers,
}

/// Deliveries of one message, by lane.
enum Fan {
    Uniform([u32; LANES]),
    Each { first: u32, counts: Vec<[u32; LANES]> },
}

impl Fan {
    #[inline]
    fn of(fan: Option<&Self>, stream: u32) -> [u32; LANES] {
        match fan {
            None => [0; LANES],
            Some(Self::Uniform(counts)) => *counts,
            Some(Self::Each { first, counts }) => counts[(stream - first) as usize],
        }
    }
}

/// What a message is to a client: nothing, where there are neither copies nor shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// The highest of the client's own subscriptions that match.
    pub(super) lane: u8,
    /// How many these are: one is owed, and so many may come.
    pub(super) copies: u32,
    /// A shared subscription of the client matches.
    pub(super) is_shared: bool,
}

impl Interest {
    /// # Errors
    /// So many filters with wildcards and placeholders against so many topics that finding out would take minutes.
    ///
    /// `process` says which clients are in this process.
    pub(super) fn new(cast: &Cast, process: Part) -> Result<Self, String> {
        let mut claims: Vec<Claim> = Vec::new();
        let mut shares: HashMap<String, u32> = HashMap::new();
        // One for all members, whatever the group that each is of: that of the first.
        let mut share_lanes: HashMap<(u32, usize), u8> = HashMap::new();
        let roles = cast.roles.len();
        let mut pairs = vec![0..0; roles * roles];
        for publisher in 0..roles {
            let Some(publishing) = &cast.roles[publisher].publishing else { continue };
            let topics = Topics::new(cast, publisher);
            for (subscriber, role) in cast.roles.iter().enumerate() {
                let first = claims.len();
                for (at, (name, subscription)) in role.filters.iter().enumerate() {
                    let template = |at: usize| &role.filters[at].1.filter;
                    // Asked for twice, a filter is one subscription still, and the later options stand.
                    if (at + 1..role.filters.len()).any(|later| template(later) == template(at)) {
                        continue;
                    }
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
                    let is_slow = role.group.reads != Reads::AllTheTime;
                    let lane = lane(subscription.qos.min(publishing.what.qos), is_slow);
                    let lane = share.map_or(lane, |share| *share_lanes.entry((share, publisher)).or_insert(lane));
                    claims.push(Claim { subscriber, publisher, lane, share, covers });
                }
                pairs[publisher * roles + subscriber] = first..claims.len();
            }
        }
        let fans_of = |part: Part| (0..roles).map(|role| fan(cast, &claims, role, part)).collect();
        let (fans, fans_here) = (fans_of(Part::default()), (process.of > 1).then(|| fans_of(process)));
        Ok(Self { claims, pairs, roles, fans, fans_here })
    }

    #[inline]
    fn claims_of(&self, subscriber: usize, publisher: usize) -> &[Claim] {
        &self.claims[self.pairs[publisher * self.roles + subscriber].clone()]
    }

    /// What a message of a stream is to a client.
    #[inline]
    pub(super) fn due(&self, subscriber: usize, index: u32, publisher: usize, stream: u32) -> Due {
        let mut due = Due::default();
        for claim in self.claims_of(subscriber, publisher).iter().filter(|claim| claim.covers.has(index, stream)) {
            if claim.share.is_some() {
                due.is_shared = true;
            } else {
                due.copies += 1;
                due.lane = due.lane.max(claim.lane);
            }
        }
        due
    }

    /// The shared subscriptions of a client that match a stream, each with its lane.
    pub(super) fn shares(
        &self,
        subscriber: usize,
        index: u32,
        publisher: usize,
        stream: u32,
    ) -> impl Iterator<Item = (u32, u8)> {
        let matching =
            self.claims_of(subscriber, publisher).iter().filter(move |claim| claim.covers.has(index, stream));
        matching.filter_map(|claim| claim.share.map(|share| (share, claim.lane)))
    }

    /// Deliveries that a message of this stream leads to, over all parts, by lane.
    #[inline]
    pub(super) fn fan(&self, publisher: usize, stream: u32) -> [u32; LANES] {
        Fan::of(self.fans[publisher].as_ref(), stream)
    }

    /// Of these deliveries, those to subscribers in this process. Of a shared subscription that has members elsewhere: none.
    #[inline]
    pub(super) fn fan_here(&self, publisher: usize, stream: u32) -> [u32; LANES] {
        Fan::of(self.fans_here.as_ref().unwrap_or(&self.fans)[publisher].as_ref(), stream)
    }

    /// Whether messages of a role's clients in this process go to subscribers in other ones.
    pub(super) fn leaves_process(&self, cast: &Cast, publisher: usize, process: Part) -> bool {
        let Some(publishing) = &cast.roles[publisher].publishing else { return false };
        let mut streams = publishing.first_stream..publishing.first_stream + publishing.streams;
        streams.any(|stream| {
            process.has(cast.publisher_index(publisher, stream))
                && self.fan(publisher, stream) != self.fan_here(publisher, stream)
        })
    }

    /// Calls `visit` with each stream that a client is owed by itself, and with the lane.
    pub(super) fn for_each_stream(&self, cast: &Cast, subscriber: usize, index: u32, visit: &mut dyn FnMut(u32, u8)) {
        for publisher in 0..self.roles {
            let claims = self.claims_of(subscriber, publisher);
            for (at, claim) in claims.iter().enumerate().filter(|(_, claim)| claim.share.is_none()) {
                let mut visit = |stream: u32| {
                    if let Some(lane) = first_of_own(claims, at, index, stream) {
                        visit(stream, lane);
                    }
                };
                match &claim.covers {
                    Covers::All => {
                        if let Some(publishing) = &cast.roles[publisher].publishing {
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
}

/// The lane in which a client is owed a stream by its own subscriptions, if claim `at` of the pair is the first of them that
/// covers it: so each stream counts once.
fn first_of_own(claims: &[Claim], at: usize, index: u32, stream: u32) -> Option<u8> {
    let covers = |claim: &&Claim| claim.share.is_none() && claim.covers.has(index, stream);
    if claims[..at].iter().any(|claim| covers(&claim)) {
        return None;
    }
    claims[at..].iter().filter(covers).map(|claim| claim.lane).max()
}

impl Claim {
    /// Not shared.
    const fn is_own(&self) -> bool {
        self.share.is_none()
    }

    /// It is not the same for all clients.
    const fn is_of_single_clients(&self) -> bool {
        matches!(self.covers, Covers::One(_) | Covers::Each(_))
    }
}

/// Deliveries of one message to the clients of a part.
fn fan(cast: &Cast, claims: &[Claim], publisher: usize, part: Part) -> Option<Fan> {
    let publishing = cast.roles[publisher].publishing.as_ref()?;
    let (first, streams) = (publishing.first_stream, publishing.streams);
    let mut mine = claims.iter().filter(move |claim| claim.publisher == publisher);
    // Streams are alike where every claim covers them all: one will do for the others.
    let simple = mine.all(|claim| matches!(claim.covers, Covers::All));
    let streams = first..first + if simple { 1 } else { streams };
    let mut counts = vec![[0_u32; LANES]; streams.len()];
    let mut shares: HashSet<(u32, u32)> = HashSet::new();
    for pair in claims.chunk_by(|a, b| (a.publisher, a.subscriber) == (b.publisher, b.subscriber)) {
        if pair[0].publisher != publisher {
            continue;
        }
        let clients = part.count(cast.roles[pair[0].subscriber].group.clients) as u32;
        for stream in streams.clone() {
            let count = &mut counts[(stream - first) as usize];
            if let Some(lane) = lane_of_all(pair, stream) {
                count[usize::from(lane)] += clients;
            }
            for claim in pair.iter().filter(|claim| part.of == 1 && claim.share.is_some()) {
                let is_new = claim.covers.has_any(stream) && shares.insert((claim.share.unwrap_or_default(), stream));
                count[usize::from(claim.lane)] += u32::from(is_new);
            }
        }
        // Clients with subscriptions of their own are owed it at another QoS, or are the only ones.
        each_of_own(pair, part, &mut |index, stream, at| {
            let count = &mut counts[(stream - first) as usize];
            let covers = |claim: &&Claim| claim.is_own() && claim.covers.has(index, stream);
            if pair[..at].iter().any(|claim| claim.is_of_single_clients() && covers(&claim)) {
                return;
            }
            if let Some(lane) = lane_of_all(pair, stream) {
                count[usize::from(lane)] -= 1;
            }
            let lane = pair.iter().filter(covers).map(|claim| claim.lane).max().unwrap_or_default();
            count[usize::from(lane)] += 1;
        });
    }
    let uniform = counts.windows(2).all(|two| two[0] == two[1]);
    Some(if uniform { Fan::Uniform(counts[0]) } else { Fan::Each { first, counts } })
}

/// The lane in which every client of the pair is owed a stream, by subscriptions that all of them have.
fn lane_of_all(pair: &[Claim], stream: u32) -> Option<u8> {
    let covers = |claim: &&Claim| claim.is_own() && !claim.is_of_single_clients() && claim.covers.has(0, stream);
    pair.iter().filter(covers).map(|claim| claim.lane).max()
}

/// Calls `visit` with each client of the part, and each stream, that a subscription of single clients covers, and with the
/// place of that subscription in the pair.
fn each_of_own(pair: &[Claim], part: Part, visit: &mut dyn FnMut(u32, u32, usize)) {
    for (at, claim) in pair.iter().enumerate().filter(|(_, claim)| claim.is_own()) {
        match &claim.covers {
            Covers::All | Covers::Same(_) => {}
            Covers::One(list) => {
                let here = (0..).zip(list).filter(|(index, stream)| part.has(*index) && **stream != NOBODY);
                here.for_each(|(index, stream)| visit(index, *stream, at));
            }
            Covers::Each(lists) => {
                for (index, list) in (0..).zip(lists).filter(|(index, _)| part.has(*index)) {
                    for stream in list {
                        visit(index, *stream, at);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
