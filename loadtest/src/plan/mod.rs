//! What is to happen: the broker, the clients by groups, and the stages they go through.
//!
//! Owns the shape of a plan and what makes one valid ([`Plan::check`]). A plan is pure data: presets, flags, and scenario
//! files all end in one, an agent gets one as JSON, and the engine carries it out. Two equal plans are the same load: whatever
//! is drawn by lot comes from `seed`.
//!
//! Leaves to others: where plans come from, and every measurement.

mod check;
mod content;
mod group;
mod stage;
mod target;
mod template;
mod transport;

pub use check::{At, PlanError};
pub use content::{Content, ContentPiece};
pub use group::{
    Group, Order, PAYLOAD_LONG_STAMP_BYTES, PAYLOAD_MIN_BYTES, Pace, Publishing, Reads, RetainHandling, Subscription,
    Targets,
};
pub use stage::{Action, DropHow, Stage};
pub use target::{MqttVersion, Restarts, Target};
pub use template::{Piece, Template};
pub use transport::{GROUPS, TlsTarget, TlsVersion, TokenTarget, WebSocketTarget};

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Short, as in a list of presets.
    pub name: String,
    /// One sentence.
    #[serde(default)]
    pub description: String,
    /// The broker.
    #[serde(default)]
    pub target: Target,
    /// Clients that are alike, group by group. Names are unique.
    pub groups: Vec<Group>,
    /// What happens, in this order.
    pub stages: Vec<Stage>,
    /// Threads that carry the clients; 0 chooses one, or two where more than 200,000 clients share the work.
    #[serde(default)]
    pub workers: u16,
    /// Addresses that connections come from.
    #[serde(default)]
    pub sources: Sources,
    /// Tells this run's messages from those of another. Every agent of one run has the same.
    #[serde(default)]
    pub run_id: u32,
    /// Whatever is drawn by lot comes from here.
    #[serde(default)]
    pub seed: u64,
    /// At the end: how long to wait for what is still owed, at most.
    #[serde(default = "default_drain_s")]
    pub drain_s: u32,
    /// Which clients of the plan run here.
    #[serde(default)]
    pub part: Part,
    /// Where several agents share the plan: for each the number of the clock that it stamps with, so that those on one machine
    /// have the same. Empty: all parts share one clock.
    #[serde(default)]
    pub clocks: Vec<u32>,
}

fn default_drain_s() -> u32 {
    10
}

impl Plan {
    /// `None` if no group is called that.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Clients of all groups, those of other parts included.
    pub fn clients(&self) -> u64 {
        self.groups.iter().map(|group| u64::from(group.clients)).sum()
    }

    /// Clients that run here.
    pub fn clients_here(&self) -> u64 {
        self.groups.iter().map(|group| self.part.count(group.clients)).sum()
    }

    /// How its publishers pace themselves: what a report must say beside every latency.
    pub fn loop_kind(&self) -> LoopKind {
        let mut kind = LoopKind::None;
        for publishing in self.groups.iter().filter_map(|group| group.publishing.as_ref()) {
            let this = match publishing.pace {
                Pace::Open { .. } => LoopKind::Open,
                Pace::Closed { .. } => LoopKind::Closed,
            };
            kind = match kind {
                LoopKind::None => this,
                same if same == this => this,
                _ => LoopKind::Mixed,
            };
        }
        kind
    }

    /// Whether its subscribers wait for CONNACK: what a report must say beside every figure of connecting.
    pub fn pipeline(&self) -> Pipeline {
        let mut subscribers = self.groups.iter().filter(|group| !group.subscriptions.is_empty());
        let pipelining = subscribers.clone().filter(|group| group.pipeline).count();
        match pipelining {
            0 => Pipeline::Off,
            _ if subscribers.all(|group| group.pipeline) => Pipeline::On,
            _ => Pipeline::Mixed,
        }
    }

    /// Lets every group that subscribes do so without waiting for CONNACK.
    pub fn pipeline_subscribers(&mut self) {
        for group in self.groups.iter_mut().filter(|group| !group.subscriptions.is_empty()) {
            group.pipeline = true;
        }
    }
}

/// How messages were paced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoopKind {
    /// Nobody publishes.
    #[default]
    None,
    /// By a schedule, whatever the broker does; latency counts from the scheduled time.
    Open,
    /// A message follows an earlier one's end; a slow broker slows the load down.
    Closed,
    /// Some groups so, others so.
    Mixed,
}

/// Whether SUBSCRIBE went out together with CONNECT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pipeline {
    /// Nobody's: it waited for CONNACK.
    #[default]
    Off,
    /// That of all who subscribe.
    On,
    /// That of some groups.
    Mixed,
}

/// Where connections come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sources {
    /// To a loopback address: as many addresses of 127.0.0.0/8 as the number of connections needs. Elsewhere: the
    /// system's choice.
    #[default]
    Auto,
    /// These, in turn.
    Addresses(Vec<IpAddr>),
}

/// One of several processes that share a plan: client `n` of a group belongs to part `n % of`.
///
/// Each sees the whole plan, so that it knows who is to get what a client of another part publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// From 0.
    pub index: u32,
    /// At least 1.
    pub of: u32,
}

impl Default for Part {
    fn default() -> Self {
        Self { index: 0, of: 1 }
    }
}

impl Part {
    /// Whether client `index` (from 0, whatever number it starts from) of a group runs here.
    pub const fn has(self, index: u32) -> bool {
        index % self.of == self.index
    }

    /// How many of a group of `clients` run here.
    pub const fn count(self, clients: u32) -> u64 {
        ((clients as u64) + (self.of as u64) - 1 - (self.index as u64)) / (self.of as u64)
    }
}

#[cfg(test)]
mod tests;
