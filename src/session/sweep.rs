//! The replay of retained messages to one new subscription, a page at a time.
//!
//! Always holds: the replay shows the store as it was when the subscription was made. What was written to the store
//! afterwards (`written > as_of`) reached the subscription as a live message and is passed over; so nothing is missed
//! and nothing comes twice.

use crate::ids::{ClientKey, Qos, SubscriptionId};
use crate::topic::{Cursor, EntryId};

/// One replay that is under way.
#[derive(Debug)]
pub struct Sweep {
    /// The subscription's entry in the index: what tells one replay of a session from another.
    pub entry: EntryId,
    /// The subscription's filter.
    pub filter: Box<str>,
    /// Where it goes on.
    pub cursor: Cursor,
    /// The store's count of writes when the subscription was made.
    pub as_of: u64,
    /// Granted QoS.
    pub qos: Qos,
    /// Whose messages are left out: the session's own, where the subscription says no-local.
    pub except: Option<ClientKey>,
    /// Identifier of the subscription.
    pub id: Option<SubscriptionId>,
}
