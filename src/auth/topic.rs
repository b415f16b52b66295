//! Questions about what a client wants to do, which somebody else decides.

use core::net::IpAddr;

use crate::ids::Qos;

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicAction {
    /// Send a message, or leave one as its will.
    Publish,
    /// Be sent what matches a filter.
    Subscribe,
}

/// A topic or a filter, and what is to be done with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AskedTopic {
    /// What.
    pub action: TopicAction,
    /// A topic name, or a filter without `$share/name/`.
    pub topic: Box<str>,
    /// Of the message, or asked for.
    pub qos: Qos,
    /// Whether the message is to be retained.
    pub retain: bool,
}

/// What somebody else is asked about a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicsQuestion {
    /// As it came in CONNECT, or was assigned.
    pub client_id: Box<str>,
    /// The user name that somebody has verified.
    pub user: Option<Box<str>>,
    /// The name of the listener that it came by.
    pub listener: Box<str>,
    /// Where it comes from, if that is an address.
    pub peer: Option<IpAddr>,
    /// What it wants to do.
    pub topics: Vec<AskedTopic>,
}

/// What somebody else says of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicDecision {
    /// It may.
    Allow,
    /// It may not.
    Deny,
    /// The rules of the file decide.
    Ignore,
    /// Nobody could be asked: too much is asked already.
    Unasked,
}

/// A decision, and whether it holds for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicAnswer {
    /// What was decided.
    pub decision: TopicDecision,
    /// Whether it may be kept; one that somebody's failure has led to may not.
    pub is_kept: bool,
}
