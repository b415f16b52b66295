//! A stage's action, step by step: who is to connect, go, or publish now, and when it is over.

use super::client::State;
use super::crew::Crew;
use super::mode::Mode;
use super::schedule::Schedule;
use crate::plan::{Action, DropHow, Pace, Plan};
use std::collections::VecDeque;

/// A stage's action under way.
pub(super) enum Doing {
    /// Connects the clients of a list.
    Connecting(Connecting),
    /// Lets time pass.
    Passing { until_ns: u64 },
    /// Waits until these roles have sent all.
    Bursting { roles: Vec<usize>, look_ns: u64 },
    /// Ends the connections of a list.
    Dropping { clients: Vec<u32>, at: usize, how: DropHow },
    /// Lets clients go and come back.
    Churning { clients: Vec<u32>, began_ns: u64, until_ns: u64, per_s: f64, gone: u64, back: VecDeque<u32> },
}

/// Clients that are to connect, at a pace.
pub(super) struct Connecting {
    clients: Vec<u32>,
    at: usize,
    began_ns: u64,
    per_s: f64,
}

/// Connections under way at a time, without a rate.
const UNDER_WAY_MAX: u32 = 1000;
/// How often it is looked whether a burst is over.
const LOOK_NS: u64 = 1_000_000;
/// Connections begun, or ended, in one turn.
const TURN_MAX: usize = 128;

/// What a step asks of the engine.
#[derive(Default)]
pub(super) struct Step {
    /// Clients to connect now.
    pub(super) connect: Vec<u32>,
    /// When to look again, if nothing happens before.
    pub(super) wake_ns: Option<u64>,
    /// The action is over.
    pub(super) over: bool,
    /// How much of it is done, where that is known.
    pub(super) done: Option<f64>,
}

impl Doing {
    /// Begins an action.
    pub(super) fn new(action: &Action, plan: &Plan, crew: &mut Crew, now_ns: u64) -> Self {
        let parts = f64::from(plan.part.of);
        for name in action.publishers() {
            let Some(role) = role_named(crew, name) else { continue };
            let mode = mode_of(action, crew, role, now_ns);
            crew.set_mode(role, mode, now_ns);
        }
        let after = |seconds: f64| now_ns + (seconds * 1e9) as u64;
        match action {
            Action::Ramp { groups, rate_per_s } => {
                let clients = clients_of(crew, groups, 100.0, |state| state == State::Away);
                Self::Connecting(Connecting { clients, at: 0, began_ns: now_ns, per_s: rate_per_s / parts })
            }
            Action::Resume { groups, percent, rate_per_s } => {
                let clients = clients_of(crew, groups, *percent, |state| state == State::Away);
                Self::Connecting(Connecting { clients, at: 0, began_ns: now_ns, per_s: rate_per_s / parts })
            }
            Action::Hold { seconds, .. } => Self::Passing { until_ns: after(*seconds) },
            Action::Burst { groups, .. } => {
                Self::Bursting { roles: groups.iter().filter_map(|name| role_named(crew, name)).collect(), look_ns: 0 }
            }
            Action::Drop { groups, percent, how } => {
                let clients = clients_of(crew, groups, *percent, |state| state == State::Live);
                Self::Dropping { clients, at: 0, how: *how }
            }
            Action::Churn { groups, seconds, rate_per_s, .. } => Self::Churning {
                clients: clients_of(crew, groups, 100.0, |state| state == State::Live),
                began_ns: now_ns,
                until_ns: after(*seconds),
                per_s: rate_per_s / parts,
                gone: 0,
                back: VecDeque::new(),
            },
        }
    }

    /// What is to be done now.
    pub(super) fn step(&mut self, crew: &mut Crew, now_ns: u64) -> Step {
        match self {
            Self::Connecting(connecting) => connecting.step(crew.under_way, now_ns),
            Self::Passing { until_ns } => {
                Step { wake_ns: Some(*until_ns), over: now_ns >= *until_ns, ..Step::default() }
            }
            // To look at every client takes its time, so it is not done in every turn.
            Self::Bursting { look_ns, .. } if now_ns < *look_ns => Step { wake_ns: Some(*look_ns), ..Step::default() },
            Self::Bursting { roles, look_ns } => {
                *look_ns = now_ns + LOOK_NS;
                let over = crew.outbox.is_empty() && roles.iter().all(|role| crew.has_burst(*role));
                Step { wake_ns: Some(*look_ns), over, ..Step::default() }
            }
            Self::Dropping { clients, at, how } => {
                let next = (*at + TURN_MAX).min(clients.len());
                clients[*at..next].iter().for_each(|client| crew.part(*client, *how));
                *at = next;
                // Closing takes a turn or more; whoever is closed leaves the list from its end, so each is looked at once.
                if next == clients.len() {
                    while clients.last().is_some_and(|client| crew.clients[*client as usize].socket.is_none()) {
                        clients.pop();
                    }
                    *at = clients.len();
                }
                let over = clients.is_empty();
                Step { wake_ns: (!over).then_some(now_ns), over, ..Step::default() }
            }
            Self::Churning { clients, began_ns, until_ns, per_s, gone, back } => {
                let mut step = Step::default();
                while let Some(client) = back.pop_front().filter(|_| step.connect.len() < TURN_MAX) {
                    // One that has not been closed yet waits for the next turn.
                    if crew.clients[client as usize].socket.is_some() {
                        back.push_front(client);
                        break;
                    }
                    step.connect.push(client);
                }
                let until = now_ns.min(*until_ns);
                let due = ((until.saturating_sub(*began_ns)) as f64 / 1e9 * *per_s) as u64;
                while *gone < due && !clients.is_empty() && back.len() < TURN_MAX {
                    let client = clients[(*gone % clients.len() as u64) as usize];
                    *gone += 1;
                    if crew.clients[client as usize].state == State::Live {
                        crew.part(client, DropHow::Disconnect);
                        back.push_back(client);
                    }
                }
                let next = *began_ns + ((*gone + 1) as f64 / per_s.max(1e-9) * 1e9) as u64;
                step.wake_ns = Some(if back.is_empty() { next.min(*until_ns) } else { now_ns });
                step.over = now_ns >= *until_ns && back.is_empty() && step.connect.is_empty() && crew.under_way == 0;
                step
            }
        }
    }
}

impl Connecting {
    fn step(&mut self, under_way: u32, now_ns: u64) -> Step {
        let mut step = Step::default();
        let elapsed_s = now_ns.saturating_sub(self.began_ns) as f64 / 1e9;
        let allowed = if self.per_s > 0.0 { (elapsed_s * self.per_s) as usize + 1 } else { usize::MAX };
        // A rate is kept whatever the broker does, within what a backlog may hold.
        let room = if self.per_s > 0.0 { 20 * UNDER_WAY_MAX } else { UNDER_WAY_MAX }.saturating_sub(under_way) as usize;
        let next = allowed.min(self.clients.len()).min(self.at + room.min(TURN_MAX));
        if next > self.at {
            step.connect.extend_from_slice(&self.clients[self.at..next]);
            self.at = next;
        }
        if self.at < self.clients.len() && self.per_s > 0.0 {
            step.wake_ns = Some(self.began_ns + (self.at as f64 / self.per_s * 1e9) as u64);
        } else if self.at < self.clients.len() && room > TURN_MAX {
            step.wake_ns = Some(now_ns);
        }
        step.over = self.at == self.clients.len() && under_way == 0 && step.connect.is_empty();
        step.done = (!self.clients.is_empty())
            .then(|| (self.at as f64 - f64::from(under_way)).max(0.0) / self.clients.len() as f64);
        step
    }
}

fn role_named(crew: &Crew, name: &str) -> Option<usize> {
    crew.cast.roles.iter().position(|role| role.group.name == name)
}

fn mode_of(action: &Action, crew: &Crew, role: usize, now_ns: u64) -> Mode {
    if let Action::Burst { messages_per_client, .. } = action {
        return Mode::Burst { limit: *messages_per_client };
    }
    let end_ns = match action {
        Action::Hold { seconds, .. } | Action::Churn { seconds, .. } => now_ns + (seconds * 1e9) as u64,
        _ => u64::MAX,
    };
    let role = &crew.cast.roles[role];
    let Some(publishing) = &role.publishing else { return Mode::Silent };
    match publishing.what.pace {
        Pace::Open { per_client_per_s } => Mode::Open(Schedule::new(
            now_ns..end_ns,
            per_client_per_s,
            role.group.clients,
            crew.cast.part,
            publishing.what.messages_per_client,
        )),
        Pace::Closed { window } => {
            Mode::Closed { window, limit: publishing.what.messages_per_client.unwrap_or(u64::MAX) }
        }
    }
}

/// A share of the clients of some groups that are in a state, drawn by lot where it is not all of them.
fn clients_of(crew: &mut Crew, groups: &[String], percent: f64, is_wanted: impl Fn(State) -> bool) -> Vec<u32> {
    let mut chosen = Vec::new();
    for name in groups {
        let Some(role) = role_named(crew, name) else { continue };
        let (first, here) = (crew.cast.roles[role].first_local, crew.cast.roles[role].here);
        let mut clients: Vec<u32> =
            (first..first + here).filter(|client| is_wanted(crew.clients[*client as usize].state)).collect();
        let wanted = (clients.len() as f64 * percent / 100.0).ceil() as usize;
        if wanted < clients.len() {
            for at in 0..wanted {
                let other = at + crew.draw((clients.len() - at) as u32) as usize;
                clients.swap(at, other);
            }
            clients.truncate(wanted);
        }
        chosen.extend(clients);
    }
    chosen
}
