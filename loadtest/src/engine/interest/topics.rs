//! Which streams a filter covers, in the smallest form that tells them.

use crate::engine::cast::Cast;
use dunlin::topic::{SubscribedFilter, TopicName, matches};
use std::collections::HashMap;

/// Levels that are matched; a plan's names were checked against the same.
pub(super) const LEVELS_MAX: u16 = 1024;
/// Pairs of filter and topic that are tried one by one, at most.
const PAIRS_MAX: u64 = 200_000_000;
/// No stream.
pub(super) const NOBODY: u32 = u32::MAX;

/// The streams of a claim.
pub(super) enum Covers {
    All,
    /// The same streams for every client; sorted.
    Same(Vec<u32>),
    /// One stream at most for each client, by index.
    One(Vec<u32>),
    /// Sorted streams for each client, by index.
    Each(Vec<Vec<u32>>),
}

impl Covers {
    /// Whether any client has the stream by it. Shared subscriptions are the same for all their members.
    pub(super) fn has_any(&self, stream: u32) -> bool {
        self.has(0, stream)
    }

    #[inline]
    pub(super) fn has(&self, index: u32, stream: u32) -> bool {
        match self {
            Self::All => true,
            Self::Same(streams) => streams.binary_search(&stream).is_ok(),
            Self::One(streams) => streams[index as usize] == stream,
            Self::Each(streams) => streams[index as usize].binary_search(&stream).is_ok(),
        }
    }
}

/// The text of a client's filter.
pub(super) fn filter_text(cast: &Cast, role: usize, index: u32, filter: usize) -> String {
    let mut text = String::new();
    cast.write_filter(role, index, filter, &mut text);
    text
}

/// The topics of one publishing role: one for all its streams, or one each.
pub(super) struct Topics<'a> {
    first: u32,
    streams: u32,
    constant: bool,
    /// Each message has a topic of its own.
    sequenced: bool,
    cast: &'a Cast,
    publisher: usize,
}

impl<'a> Topics<'a> {
    pub(super) fn new(cast: &'a Cast, publisher: usize) -> Self {
        let publishing = cast.roles[publisher].publishing.as_ref().expect("only of roles that publish");
        Self {
            first: publishing.first_stream,
            streams: publishing.streams,
            constant: publishing.topic.is_constant(),
            sequenced: publishing.is_sequenced,
            cast,
            publisher,
        }
    }

    /// The streams that a filter of a subscribing role covers; `None`: none.
    pub(super) fn covered(
        &self,
        cast: &Cast,
        subscriber: usize,
        at: usize,
        constant: bool,
    ) -> Result<Option<Covers>, String> {
        if constant {
            let streams = self.matched(&filter_text(cast, subscriber, 0, at))?;
            return Ok(match streams.len() {
                0 => None,
                all if all == self.streams as usize => Some(Covers::All),
                _ => Some(Covers::Same(streams)),
            });
        }
        let clients = cast.roles[subscriber].group.clients;
        let literal = !filter_text(cast, subscriber, 0, at).contains(['+', '#']);
        if literal && !self.constant && !self.sequenced {
            return Ok(self.looked_up(cast, subscriber, at, clients));
        }
        let tries = if self.constant { 1 } else { self.streams };
        if u64::from(tries) * u64::from(clients) > PAIRS_MAX {
            return Err(format!(
                "filter {}: {clients} clients with a wildcard of their own against {tries} topics are too many to judge",
                filter_text(cast, subscriber, 0, at)
            ));
        }
        let each: Vec<Vec<u32>> = (0..clients)
            .map(|index| self.matched(&filter_text(cast, subscriber, index, at)))
            .collect::<Result<_, _>>()?;
        Ok(if each.iter().all(Vec::is_empty) { None } else { Some(Covers::Each(each)) })
    }

    /// Streams whose topics a filter matches. A filter that takes some messages of a stream and leaves others is refused.
    fn matched(&self, text: &str) -> Result<Vec<u32>, String> {
        let Ok(filter) = SubscribedFilter::parse(text, LEVELS_MAX) else { return Ok(Vec::new()) };
        let mut topic = String::new();
        let mut is_matched = |stream: u32, sequence: u32| {
            topic.clear();
            self.cast.write_topic(self.publisher, stream, sequence, &mut topic);
            TopicName::parse(&topic, LEVELS_MAX).is_ok_and(|name| matches(filter.filter, name))
        };
        let all = self.first..self.first + self.streams;
        if self.constant {
            return Ok(if is_matched(self.first, 0) { all.collect() } else { Vec::new() });
        }
        let others = if self.sequenced { numbers_in(text) } else { Vec::new() };
        let mut streams = Vec::new();
        for stream in all {
            let takes_all = is_matched(stream, 0);
            if others.iter().any(|sequence| is_matched(stream, *sequence) != takes_all) {
                return Err(format!(
                    "filter {text}: it takes some messages of a topic with %s and leaves others, which cannot be judged: put \
                     + where %s is"
                ));
            }
            if takes_all {
                streams.push(stream);
            }
        }
        Ok(streams)
    }

    /// For filters without wildcards: a table of all topics instead of trying each.
    fn looked_up(&self, cast: &Cast, subscriber: usize, at: usize, clients: u32) -> Option<Covers> {
        let hasher = ahash::RandomState::with_seeds(5, 6, 7, 8);
        let mut by_topic: HashMap<u64, u32> = HashMap::with_capacity(self.streams as usize);
        let mut text = String::new();
        for stream in self.first..self.first + self.streams {
            text.clear();
            self.cast.write_topic(self.publisher, stream, 0, &mut text);
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

/// Every number whose digits stand somewhere in a filter: only messages with such a number can differ from all others in
/// whether the filter takes them. And one that does not.
fn numbers_in(filter: &str) -> Vec<u32> {
    let mut numbers = vec![u32::MAX];
    for run in filter.split(|c: char| !c.is_ascii_digit()) {
        for from in 0..run.len() {
            numbers.extend((from + 1..=run.len()).filter_map(|to| run[from..to].parse::<u32>().ok()));
        }
    }
    numbers
}
