//! Before the first turn: the broker's address, the addresses that connections come from, and an outcome to fill.

use super::error::EngineError;
use crate::outcome::Outcome;
use crate::plan::{Action, Pace, Plan, Sources};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Connections from one source address: a third of the usual port range, so that a free port is found at once.
const CONNECTIONS_PER_SOURCE: u64 = 10_000;

/// Where connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    Ip(SocketAddr),
    Unix(PathBuf),
}

impl Destination {
    pub(super) fn resolve(plan: &Plan) -> Result<Self, EngineError> {
        if let Some(path) = &plan.target.unix {
            return Ok(Self::Unix(path.clone()));
        }
        let unreachable = |reason: String| EngineError::Unreachable { target: plan.target.name(), reason };
        let addresses = (plan.target.host.as_str(), plan.target.port).to_socket_addrs();
        let addresses: Vec<SocketAddr> = addresses.map_err(|error| unreachable(error.to_string()))?.collect();
        let v4 = addresses.iter().find(|address| address.is_ipv4());
        let found = v4.or(addresses.first()).copied();
        found.map(Self::Ip).ok_or_else(|| unreachable("the name has no address".to_owned()))
    }

    /// Whether somebody is there. Waits for a second at most.
    pub(super) fn answers(&self) -> bool {
        match self {
            Self::Ip(address) => TcpStream::connect_timeout(address, Duration::from_secs(1)).is_ok(),
            Self::Unix(path) => UnixStream::connect(path).is_ok(),
        }
    }
}

/// Addresses that connections come from; empty: the system's choice.
pub(super) fn sources(plan: &Plan, target: &Destination) -> Vec<IpAddr> {
    let Destination::Ip(target) = target else { return Vec::new() };
    match &plan.sources {
        Sources::Addresses(addresses) => addresses.clone(),
        Sources::Auto if target.ip().is_loopback() && target.is_ipv4() && plan.clients() > CONNECTIONS_PER_SOURCE => {
            let count = plan.clients_here().div_ceil(CONNECTIONS_PER_SOURCE) as u32;
            // 127.0.1.0 and up; each part has its own.
            let first = 0x7f00_0100 + plan.part.index * (count + 1);
            (first..first + count).map(|address| IpAddr::V4(Ipv4Addr::from(address))).collect()
        }
        Sources::Auto => Vec::new(),
    }
}

pub(super) fn blank_outcome(plan: &Plan) -> Outcome {
    let windows = plan.groups.iter().filter_map(|group| group.publishing.as_ref());
    let window = windows.map(|publishing| match publishing.pace {
        Pace::Closed { window } => window,
        Pace::Open { .. } => 0,
    });
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut outcome = Outcome {
        name: plan.name.clone(),
        description: plan.description.clone(),
        target: plan.target.name(),
        run_id: plan.run_id,
        started_unix_ms: since_1970.as_millis() as u64,
        loop_kind: plan.loop_kind(),
        pipeline: plan.pipeline(),
        window: window.max().unwrap_or(0),
        parts: 1,
        ..Outcome::default()
    };
    outcome.generator.workers = 1;
    outcome.generator.cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    outcome
}

pub(super) const fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Ramp { .. } => "ramp",
        Action::Hold { .. } => "hold",
        Action::Burst { .. } => "burst",
        Action::Drop { .. } => "drop",
        Action::Resume { .. } => "resume",
        Action::Churn { .. } => "churn",
    }
}
