//! What a match found, in memory that is used again for the next.

use crate::ids::ShardSet;

use super::entry::EntryId;
use super::name::TopicName;
use super::subscribers::{Subscriber, SubscriberLists, Subscribers};

/// Everybody whom one message is for. Made once and passed to every match: once grown, a match allocates nothing.
#[derive(Debug)]
pub struct Matches {
    /// Subscribers of this shard by plain filters, one after another by entry. A session whose filters overlap is in it
    /// once for each of them [MQTT-3.3.4-2]. None where they are a crowd.
    pub local: Vec<Subscriber>,
    /// The entries that these come from: with one or none, no session can be in `local` twice.
    pub entries: Vec<EntryId>,
    /// There are more subscribers than `copied_max`: whoever wants them walks the entries.
    pub is_crowd: bool,
    /// How many subscribers may be copied to `local`.
    pub copied_max: usize,
    /// Other shards with subscribers by plain filters.
    pub shards: ShardSet,
    /// Those of them where one such subscriber is a persistent session.
    pub durable_shards: ShardSet,
    /// Shared subscriptions that match; each is due the message once, by [`super::SubscriptionIndex::pick`].
    pub groups: Vec<EntryId>,
    /// Nodes of the wildcard trie that were looked at: what the match cost.
    pub nodes_visited: u32,
    pub(super) walk: Walk,
    /// The topic that this was found for; empty where that is not known.
    topic: String,
    /// How often the index had changed by then.
    changes: u64,
}

impl Default for Matches {
    /// For a match that copies all subscribers.
    fn default() -> Self {
        Self {
            local: Vec::new(),
            entries: Vec::new(),
            is_crowd: false,
            copied_max: usize::MAX,
            shards: ShardSet::default(),
            durable_shards: ShardSet::default(),
            groups: Vec::new(),
            nodes_visited: 0,
            walk: Walk::default(),
            topic: String::new(),
            changes: 0,
        }
    }
}

/// Longer topics are matched anew each time.
const NOTED_TOPIC_MAX_BYTES: usize = 256;

/// The working memory of one walk of the trie.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Nodes still to be looked at, each with the number of topic levels that lead to it.
    pub(super) stack: Vec<(u32, u32)>,
    /// The topic's levels as far as the walk has come.
    pub(super) levels: Vec<Level>,
}

/// One level of the topic: its bytes, and its hash once some node needed it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) hash: Option<u64>,
}

impl Matches {
    /// For a first match; allocates nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the message is for nobody at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.shards.is_empty() && self.groups.is_empty()
    }

    /// Adds a plain entry that matches.
    #[inline]
    pub(super) fn take(&mut self, entry: EntryId, subscribers: &Subscribers, lists: &SubscriberLists) {
        let room = self.copied_max.saturating_sub(self.local.len());
        let copied = lists.copy_to(subscribers, if self.is_crowd { 0 } else { room }, &mut self.local);
        match copied {
            Some(0) => return,
            Some(_) => {}
            None => {
                self.is_crowd = true;
                self.local.clear();
            }
        }
        self.entries.push(entry);
    }

    /// Whether this was found for `topic` by an index that had changed so often.
    pub(super) fn is_for(&self, topic: TopicName<'_>, changes: u64) -> bool {
        self.changes == changes && self.topic == topic.as_str()
    }

    /// Notes what this was found for.
    pub(super) fn note(&mut self, topic: TopicName<'_>, changes: u64) {
        if topic.as_str().len() <= NOTED_TOPIC_MAX_BYTES {
            self.topic.push_str(topic.as_str());
            self.changes = changes;
        }
    }

    /// Nobody: as before the first match.
    pub fn clear(&mut self) {
        self.topic.clear();
        self.local.clear();
        self.groups.clear();
        self.entries.clear();
        self.is_crowd = false;
        self.nodes_visited = 0;
        self.shards = ShardSet::default();
        self.durable_shards = ShardSet::default();
    }
}
