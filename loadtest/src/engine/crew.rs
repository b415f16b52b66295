//! All clients of this part and what they share: the state that the engine's steps work on.
//!
//! Three kinds of step, one file each: what comes in (`receive`), what goes out (`publish`), and connections' lives (`life`).
//! None of them touches the plane: what it is to do is put into `orders` and the outbox, and done at the end of the turn.

use super::board::Seat;
use super::cast::Cast;
use super::client::Client;
use super::interest::Interest;
use super::mode::Mode;
use super::outbox::Outbox;
use super::stamp::{LONG, Stamper};
use super::tally::Tally;
use super::tracker::Trackers;
use super::transport::TokenMaker;
use crate::plan::{Content, MqttVersion, Plan, Publishing};
use dunlin::codec::Version;
use dunlin::ring::monotonic_ns;
use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

/// All clients of this part and what they share.
pub(super) struct Crew {
    pub(super) cast: Cast,
    pub(super) interest: Interest,
    pub(super) clients: Vec<Client>,
    pub(super) trackers: Trackers,
    /// Of second copies, third ones, and so on, where a client's subscriptions overlap.
    pub(super) copies: Vec<Trackers>,
    pub(super) stamper: Stamper,
    pub(super) outbox: Outbox,
    pub(super) tally: Tally,
    /// What other workers of this process know and are told.
    pub(super) seat: Seat,
    /// Clients that may have something to send.
    pub(super) eager: VecDeque<u32>,
    /// By role: how it publishes just now.
    pub(super) modes: Vec<Mode>,
    pub(super) orders: Vec<Order>,
    pub(super) version: Version,
    pub(super) keep_alive_s: u16,
    pub(super) retries_max: u16,
    /// Whoever loses its connection connects again.
    pub(super) comes_back: bool,
    /// Makes passwords, where clients show tokens.
    pub(super) token: Option<TokenMaker>,
    /// Connections being made.
    pub(super) under_way: u32,
    pub(super) dice: u64,
    /// Whether anybody of the run publishes a content.
    pub(super) has_contents: bool,
    /// What is to be added to the monotonic clock for milliseconds since 1970.
    pub(super) unix_offset_ms: u64,
    /// Scratch for contents.
    pub(super) payload: Vec<u8>,
    /// Scratch for names.
    pub(super) text: String,
    /// The topic that was written last, of which stream and sequence.
    pub(super) topic_of: (u32, u32, String),
}

/// How TCP takes leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goodbye {
    /// What is unsent goes out first.
    Fin,
    /// What is unsent is thrown away.
    Reset,
}

/// What the plane is to do at the end of the turn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Close a connection; `connecting` says that TCP still connects.
    Close { client: u32, by: Goodbye, connecting: bool },
    /// Connect again after the plan's pause.
    Retry { client: u32 },
    /// Begin to receive at a consumer's own pace.
    Slow { client: u32 },
    /// Receive no more.
    Stall { client: u32 },
}

/// Lengths that payloads of a group always have.
fn lengths_of(publishing: &Publishing) -> Vec<usize> {
    if publishing.content.is_empty() {
        return vec![publishing.payload_bytes as usize];
    }
    let length = |content: &Content| match content {
        Content::Bytes(bytes) => Some(bytes.len() + LONG),
        Content::Template(_) => None,
    };
    publishing.content.iter().filter_map(length).collect()
}

impl Crew {
    pub(super) fn new(plan: &Plan, seat: Seat, cast: Cast, interest: Interest, tally: Tally) -> Self {
        let lengths = plan.groups.iter().filter_map(|group| group.publishing.as_ref());
        let lengths = lengths.flat_map(lengths_of).collect();
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let mut clients = Vec::with_capacity(cast.clients as usize);
        clients.resize_with(cast.clients as usize, Client::new);
        Self {
            clients,
            trackers: Trackers::new(),
            copies: Vec::new(),
            stamper: Stamper::new(plan.run_id, lengths),
            outbox: Outbox::default(),
            tally,
            seat,
            eager: VecDeque::new(),
            modes: cast.roles.iter().map(|_| Mode::Silent).collect(),
            orders: Vec::new(),
            version: match plan.target.version {
                MqttVersion::V31 => Version::V31,
                MqttVersion::V311 => Version::V311,
                MqttVersion::V5 => Version::V5,
            },
            keep_alive_s: plan.target.keep_alive_s,
            retries_max: plan.target.retries,
            comes_back: plan.target.restarts.is_some(),
            token: None,
            under_way: 0,
            dice: plan.seed ^ 0x9e37_79b9_7f4a_7c15 ^ u64::from(plan.part.index) << 32 | 1,
            has_contents: cast.has_contents(),
            unix_offset_ms: unix_ms.saturating_sub(monotonic_ns() / 1_000_000),
            payload: Vec::new(),
            text: String::new(),
            topic_of: (u32::MAX, 0, String::new()),
            cast,
            interest,
        }
    }

    /// A number below `below`, drawn by lot (xorshift64*).
    pub(super) fn draw(&mut self, below: u32) -> u32 {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        let drawn = self.dice.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        ((drawn * u64::from(below)) >> 32) as u32
    }

    /// Notes that a client may have something to send.
    pub(super) fn make_eager(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        if !state.eager {
            state.eager = true;
            self.eager.push_back(client);
        }
    }

    /// Notes that deliveries are not owed after all.
    pub(super) fn excuse_fan(&mut self, role: usize, stream: u32) {
        let fan = self.interest.fan(role, stream);
        for (lane, count) in (0..).zip(fan) {
            self.tally.outcome.verdict.lane_mut(lane).excused += u64::from(count);
        }
    }
}
