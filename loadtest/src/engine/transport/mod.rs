//! What lies below MQTT: TLS and WebSocket at a client's end, one `Wire` for each connection that has any.
//!
//! Owns: handshakes, records, frames, whom to trust, what to show, and which client has which ticket. Always holds: bytes of a
//! connection that were sealed leave in that order; a set-up that fails has a reason that is counted and words that help; what is
//! kept of a client that is silent is its keys and where in a frame it is.
//!
//! The work of handshakes is done on the thread that carries the clients, a quarter of a millisecond a turn at most, so that other
//! clients are read between them; how long each waited for that is told apart from the rest of its time.
//!
//! Reading order: `trust`, `identity`, `tickets` (what a configuration of TLS is made of), `reasons`, `frames`, `upgrade`, `wire` (one
//! connection), then what is here. `token` is by itself.

mod frames;
mod identity;
mod reasons;
mod tickets;
mod token;
mod trust;
mod upgrade;
mod wire;

pub(super) use reasons::WireEnd;
pub(super) use token::TokenMaker;
pub(super) use wire::{Came, Job, Set, Step, Wire};

use crate::plan::{PlanError, Target};
use bytes::Bytes;
use dunlin::ids::ConnectionId;
use rustls::pki_types::ServerName;
use std::collections::VecDeque;
use std::sync::Arc;
use tickets::Tickets;

/// Time for handshakes in one turn; the first is run in any case.
pub(super) const TURN_NS: u64 = 250_000;

/// What the connections of a part share, and what each has below MQTT.
pub(super) struct Transport {
    /// By client; empty where MQTT is spoken on the socket itself.
    wires: Vec<Option<Box<Wire>>>,
    shared: Shared,
    /// Handshakes that have something to run with, by when they had it.
    pub(super) jobs: VecDeque<(u64, ConnectionId)>,
    /// What layers open, kept for its memory.
    pub(super) plain: Vec<u8>,
}

/// What the wires of a part share.
pub(super) struct Shared {
    tls: Option<TlsSetup>,
    upgrade: Option<upgrade::Asking>,
    dice: Dice,
    /// Frames before they are sealed, kept for its memory.
    framed: Vec<u8>,
}

/// How each connection shakes hands.
struct TlsSetup {
    config: Arc<rustls::ClientConfig>,
    name: ServerName<'static>,
    identity: Option<Arc<identity::Identity>>,
    tickets: Option<Arc<Tickets>>,
    resume_percent: f64,
}

/// Masks, keys of upgrades and who resumes are drawn by lot: nobody's secrets hang on them.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

impl Transport {
    /// Reads the files that the target names.
    pub(super) fn new(target: &Target, clients: u32, seed: u64) -> Result<Self, PlanError> {
        let tls = target.tls.as_ref().map(|tls| TlsSetup::new(tls, target)).transpose().map_err(PlanError::of_plan)?;
        let upgrade = target.websocket.as_ref().map(|websocket| upgrade::Asking::new(websocket, target));
        let is_plain = tls.is_none() && upgrade.is_none() && target.token.is_none();
        let mut wires = Vec::new();
        wires.resize_with(if is_plain { 0 } else { clients as usize }, || None);
        let shared = Shared { tls, upgrade, dice: Dice(seed | 1), framed: Vec::new() };
        Ok(Self { wires, shared, jobs: VecDeque::new(), plain: Vec::new() })
    }

    /// Whether MQTT is spoken on the socket, and nothing is to be made before.
    pub(super) fn is_plain(&self) -> bool {
        self.wires.is_empty()
    }

    /// A client is connected: what lies below MQTT begins.
    pub(super) fn begin(&mut self, client: u32) {
        self.wires[client as usize] = Some(Box::new(Wire::new(&self.shared)));
    }

    /// Its connection is no more.
    pub(super) fn forget(&mut self, client: u32) {
        if let Some(wire) = self.wires.get_mut(client as usize) {
            *wire = None;
        }
    }

    /// What a client has below MQTT, and what that shares with others.
    pub(super) fn wire(&mut self, client: u32) -> Option<(&mut Wire, &mut Shared)> {
        let wire = self.wires.get_mut(client as usize)?.as_deref_mut()?;
        Some((wire, &mut self.shared))
    }

    /// Appends what a client's socket is to be given for `plain`.
    pub(super) fn seal(&mut self, client: u32, plain: &[u8], is_last: bool, out: &mut Vec<u8>) {
        match self.wire(client) {
            Some((wire, shared)) => wire.seal(plain, is_last, out, shared),
            None => out.extend_from_slice(plain),
        }
    }

    /// The same, of bytes that stand alone.
    pub(super) fn sealed(&mut self, client: u32, plain: Bytes) -> Bytes {
        if self.is_plain() {
            return plain;
        }
        let mut out = Vec::new();
        self.seal(client, &plain, false, &mut out);
        Bytes::from(out)
    }

    /// Whether clients ask for a WebSocket.
    pub(super) const fn has_websocket(&self) -> bool {
        self.shared.upgrade.is_some()
    }

    /// The next one's handshake; `None` where all are done.
    pub(super) fn next_job(&mut self) -> Option<(u64, ConnectionId)> {
        self.jobs.pop_front()
    }
}

impl TlsSetup {
    fn new(tls: &crate::plan::TlsTarget, target: &Target) -> Result<Self, String> {
        let name = tls.server_name.as_ref().unwrap_or(&target.host);
        let name =
            ServerName::try_from(name.clone()).map_err(|_| format!("tls_name: {name:?} is no name of a host"))?;
        let identity = identity::Identity::read(tls)?;
        let tickets = (tls.resume_percent > 0.0).then(Arc::<Tickets>::default);
        let config = trust::config(tls, identity.clone(), tickets.clone())?;
        Ok(Self { config, name, identity, tickets, resume_percent: tls.resume_percent })
    }
}
