//! Topic names, topic filters, the subscription index and retained messages by topic.
//!
//! Owns: what a valid topic name, filter and shared subscription is, whether one matches the other, and the index that
//! answers for one topic "who of this shard, which other shards, which shared subscriptions".
//!
//! What always holds:
//! - A [`TopicName`], [`TopicFilter`] or [`SubscribedFilter`] that exists is valid.
//! - Every shard's [`SubscriptionIndex`] knows every filter of the process: its own subscribers one by one, those of
//!   other shards as one interest per shard.
//! - A match allocates nothing and visits a bounded number of nodes, whatever clients subscribe to.
//! - Adding and removing one subscription takes constant time, however many the session or the filter has.
//!
//! Leaves to others: which session has which subscription (`session` keeps the entry and position), access rules
//! (`auth`), how interest travels between shards and what a retained message is (`shard`).
//!
//! Reading order: [`name`](TopicName) and [`filter`](TopicFilter); `index`, over its three stores `literal` (filters
//! without `+`: hash tables), `trie` (filters with `+`, bounded by `shape`) and `group` (shared subscriptions);
//! `remote_walk`, over all of it; `retained`. `table`, `text` and `scan` are what they are built of.

mod entry;
mod filter;
mod group;
mod index;
mod literal;
mod matches;
#[cfg(test)]
mod model_tests;
mod name;
mod remote_walk;
mod retained;
mod scan;
mod shape;
mod subscribers;
mod table;
mod text;
mod trie;

pub use entry::{EntryId, GroupTag};
pub use filter::{SubscribedFilter, TopicFilter, matches};
pub use group::{MemberRoom, Pick};
pub use index::{Inserted, Removed, SubscriptionIndex};
pub use matches::Matches;
pub use name::{TopicError, TopicName, TopicOwner, holds_control_characters};
pub use remote_walk::InterestCursor;
pub use retained::{Cursor, RetainedTree, Scan};
pub use subscribers::{Interest, InterestChange, Subscriber};
