//! What one connection has below MQTT, from the socket up: TLS, then a WebSocket.
//!
//! Always holds: what is in `own` leaves before whatever is sealed after it; while TLS shakes hands nothing else is sealed.

use super::frames::{Control, ServerFrames, write_frame};
use super::reasons::{DoneBefore, WireEnd, of_alert, of_end, of_handshake};
use super::upgrade::Upgrade;
use super::{Shared, TlsSetup};
use crate::outcome::FailureReason;
use dunlin::conn::tls::{AgreedTls, ClientHandshake, ClientRecords, RecordsEnd};
use dunlin::conn::websocket::Opcode;
use dunlin::ring::monotonic_ns;
use std::sync::Arc;

/// See the module's text.
#[derive(Debug)]
pub(in crate::engine) struct Wire {
    tls: TlsEnd,
    websocket: WebSocketEnd,
    /// Of the layers themselves, as it goes on the socket.
    own: Vec<u8>,
}

#[derive(Debug)]
enum TlsEnd {
    None,
    /// The next job begins it.
    Due,
    Shaking(Box<Shaking>),
    Open(ClientRecords),
    Over,
}

#[derive(Debug)]
struct Shaking {
    handshake: ClientHandshake,
    /// What loadtest itself has taken of its time.
    own_ns: u64,
    is_queued: bool,
    had_answer: bool,
}

#[derive(Debug)]
enum WebSocketEnd {
    None,
    Due,
    Asked(Box<Upgrade>),
    Open(ServerFrames),
    Over,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Step {
    /// The broker's turn.
    Waits,
    /// There is something for a job to run with.
    HasWork,
    /// TLS is there, and the WebSocket is asked for.
    Shaken(Set),
    /// MQTT may begin, by TLS or by the WebSocket.
    Ready(Option<Set>),
    /// What was opened is MQTT.
    Open,
}

/// A handshake that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Set {
    pub(in crate::engine) agreed: AgreedTls,
    /// Of its time, what loadtest itself has taken: waiting for its turn, and working.
    pub(in crate::engine) own_ns: u64,
}

/// What came of bytes or of a job: how far it is, and the end that stands behind that.
pub(in crate::engine) type Came = (Step, Option<WireEnd>);

/// Whose job it is, and what it may show.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Job<'a> {
    pub(in crate::engine) client: u32,
    /// Since when it had something to run with.
    pub(in crate::engine) since_ns: u64,
    /// Files of a certificate and its key, where each client has its own.
    pub(in crate::engine) files: (&'a str, &'a str),
}

impl Wire {
    pub(super) const fn new(shared: &Shared) -> Self {
        Self {
            tls: if shared.tls.is_some() { TlsEnd::Due } else { TlsEnd::None },
            websocket: if shared.upgrade.is_some() { WebSocketEnd::Due } else { WebSocketEnd::None },
            own: Vec::new(),
        }
    }

    /// Takes what has come from the socket. What it leaves in `bytes` is MQTT.
    pub(in crate::engine) fn receive(&mut self, client: u32, bytes: &mut Vec<u8>, shared: &mut Shared) -> Came {
        let mut end = None;
        match &mut self.tls {
            TlsEnd::None => {}
            TlsEnd::Shaking(shaking) => {
                shaking.handshake.take(bytes);
                shaking.had_answer = true;
                bytes.clear();
                let is_new = !std::mem::replace(&mut shaking.is_queued, true);
                return (if is_new { Step::HasWork } else { Step::Waits }, None);
            }
            TlsEnd::Open(records) => {
                if let Some(tickets) = shared.tls.as_ref().and_then(|tls| tls.tickets.as_ref()) {
                    tickets.turn_to(client, false);
                }
                end = records.open(bytes).map(of_records);
            }
            TlsEnd::Due | TlsEnd::Over => bytes.clear(),
        }
        let (step, own_end) = self.receive_plain(bytes, shared);
        (step, own_end.or(end))
    }

    /// What TLS has opened, or the socket has brought.
    fn receive_plain(&mut self, bytes: &mut Vec<u8>, shared: &mut Shared) -> Came {
        let mut is_new = false;
        if let (WebSocketEnd::Asked(upgrade), Some(asked)) = (&mut self.websocket, &shared.upgrade) {
            match upgrade.take(bytes, asked) {
                Ok(false) => return (Step::Waits, None),
                Ok(true) => {
                    self.websocket = WebSocketEnd::Open(ServerFrames::default());
                    is_new = true;
                }
                Err(end) => {
                    self.websocket = WebSocketEnd::Over;
                    bytes.clear();
                    return (Step::Waits, Some(end));
                }
            }
        }
        let end = match &mut self.websocket {
            WebSocketEnd::Open(frames) => {
                let mut controls = Vec::new();
                let opened = frames.open(bytes, &mut controls);
                self.answer(controls, opened, shared)
            }
            WebSocketEnd::Due | WebSocketEnd::Over => {
                bytes.clear();
                None
            }
            WebSocketEnd::None | WebSocketEnd::Asked(_) => None,
        };
        (if is_new { Step::Ready(None) } else { Step::Open }, end)
    }

    fn answer(
        &mut self,
        controls: Vec<Control>,
        opened: Result<(), &'static str>,
        shared: &mut Shared,
    ) -> Option<WireEnd> {
        let mut end = opened.err().map(|words| WireEnd::Broken(words.to_owned()));
        if end.is_some() {
            self.say(Opcode::Close, &1002_u16.to_be_bytes(), shared);
        }
        for control in controls {
            match control {
                Control::Ping(payload) => self.say(Opcode::Pong, &payload, shared),
                Control::Close(code) => {
                    let payload = code.map(u16::to_be_bytes);
                    self.say(Opcode::Close, payload.as_ref().map_or(&[], |code| &code[..]), shared);
                    let code = code.map(|code| format!(" with code {code}")).unwrap_or_default();
                    end = end.or(Some(WireEnd::Closed(format!("the broker closed the WebSocket{code}"))));
                }
            }
        }
        if end.is_some() {
            self.websocket = WebSocketEnd::Over;
        }
        end
    }

    /// Puts a frame where it leaves next.
    fn say(&mut self, opcode: Opcode, payload: &[u8], shared: &mut Shared) {
        shared.framed.clear();
        write_frame(opcode, payload, mask(shared.dice.next()), &mut shared.framed);
        self.put(&shared.framed);
    }

    fn put(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            TlsEnd::Open(records) => records.seal(bytes, &mut self.own),
            _ => self.own.extend_from_slice(bytes),
        }
    }

    /// Begins, or goes on with what has come: of TLS where there is any.
    pub(in crate::engine) fn run(&mut self, job: Job<'_>, bytes: &mut Vec<u8>, shared: &mut Shared) -> Came {
        bytes.clear();
        let Some(tls) = &shared.tls else { return self.rise(None, bytes, shared) };
        let drawn = (shared.dice.next() % 10_000) as f64 / 100.0;
        match self.shake(job, tls, bytes, drawn < tls.resume_percent) {
            Ok(None) => (Step::Waits, None),
            Ok(set) => self.rise(set, bytes, shared),
            Err(end) => {
                self.tls = TlsEnd::Over;
                (Step::Waits, Some(end))
            }
        }
    }

    /// Returns what was agreed on, when it is. Whether it may resume counts when it begins.
    fn shake(
        &mut self,
        job: Job<'_>,
        tls: &TlsSetup,
        bytes: &mut Vec<u8>,
        may_resume: bool,
    ) -> Result<Option<Set>, WireEnd> {
        let is_due = matches!(self.tls, TlsEnd::Due);
        if let Some(tickets) = &tls.tickets {
            tickets.turn_to(job.client, may_resume);
        }
        if is_due {
            let handshake = ClientHandshake::new(Arc::clone(&tls.config), tls.name.clone());
            let handshake = handshake.map_err(|error| of_handshake(&error))?;
            self.tls = TlsEnd::Shaking(Box::new(Shaking { handshake, own_ns: 0, is_queued: false, had_answer: false }));
        } else if let Some(identity) = tls.identity.as_ref().filter(|identity| identity.is_own()) {
            let shown = identity.show(job.files.0, job.files.1);
            shown.map_err(|words| WireEnd::Failed(FailureReason::ClientFile, words))?;
        }
        let TlsEnd::Shaking(shaking) = &mut self.tls else { return Ok(None) };
        shaking.is_queued = false;
        let is_done = shaking.handshake.run(&mut self.own).map_err(|error| of_handshake(&error))?;
        shaking.own_ns += monotonic_ns().saturating_sub(job.since_ns);
        if !is_done {
            return Ok(None);
        }
        let TlsEnd::Shaking(shaking) = std::mem::replace(&mut self.tls, TlsEnd::Over) else { return Ok(None) };
        let Shaking { handshake, own_ns, .. } = *shaking;
        let agreed = handshake.agreed();
        let finished = handshake.finish(tls.tickets.is_some()).map_err(|error| of_handshake(&error))?;
        let (records, mut plain, end) = finished;
        self.tls = TlsEnd::Open(records);
        bytes.append(&mut plain);
        match end.map(of_records) {
            Some(end) => Err(end),
            None => Ok(agreed.map(|agreed| Set { agreed, own_ns })),
        }
    }

    /// TLS is there, or there is none: what is above it begins.
    fn rise(&mut self, set: Option<Set>, bytes: &mut Vec<u8>, shared: &mut Shared) -> Came {
        if !matches!(self.websocket, WebSocketEnd::Due) {
            return (Step::Ready(set), None);
        }
        let Some(asked) = &shared.upgrade else { return (Step::Ready(set), None) };
        let mut request = Vec::new();
        self.websocket = WebSocketEnd::Asked(Box::new(asked.ask(&mut shared.dice, &mut request)));
        self.put(&request);
        // Nothing can have been answered yet.
        bytes.clear();
        (set.map_or(Step::Waits, Step::Shaken), None)
    }

    /// Whether there is something to send that does not wait for MQTT.
    pub(in crate::engine) fn has_own_bytes(&self) -> bool {
        !self.own.is_empty() || matches!(&self.tls, TlsEnd::Open(records) if records.has_own_bytes())
    }

    /// Appends what the socket is to be given: of the layers, and `plain`, which may be empty. Behind what is the last, the
    /// layers say goodbye.
    pub(in crate::engine) fn seal(&mut self, plain: &[u8], is_last: bool, out: &mut Vec<u8>, shared: &mut Shared) {
        // Its memory is not kept: this comes a few times in the life of a connection.
        out.append(&mut std::mem::take(&mut self.own));
        let framed = match &self.websocket {
            WebSocketEnd::None => plain,
            WebSocketEnd::Open(_) => {
                shared.framed.clear();
                if !plain.is_empty() {
                    write_frame(Opcode::Binary, plain, mask(shared.dice.next()), &mut shared.framed);
                }
                if is_last {
                    write_frame(Opcode::Close, &1000_u16.to_be_bytes(), mask(shared.dice.next()), &mut shared.framed);
                }
                &shared.framed
            }
            WebSocketEnd::Due | WebSocketEnd::Asked(_) | WebSocketEnd::Over => &[],
        };
        match &mut self.tls {
            TlsEnd::None => out.extend_from_slice(framed),
            TlsEnd::Open(records) => {
                if is_last {
                    records.end();
                }
                records.seal(framed, out);
            }
            TlsEnd::Due | TlsEnd::Shaking(_) | TlsEnd::Over => {}
        }
    }

    /// The socket has ended before MQTT could begin: what that means.
    pub(in crate::engine) fn ended(&self) -> Option<WireEnd> {
        match (&self.tls, &self.websocket) {
            (TlsEnd::Shaking(shaking), _) if shaking.had_answer => Some(of_end(DoneBefore::PartOfTls)),
            (TlsEnd::Due | TlsEnd::Shaking(_), _) => Some(of_end(DoneBefore::Nothing)),
            (_, WebSocketEnd::Asked(_)) => Some(of_end(DoneBefore::Asking)),
            _ => None,
        }
    }
}

fn of_records(end: RecordsEnd) -> WireEnd {
    match end {
        RecordsEnd::Clean => WireEnd::Closed("the broker closed the TLS connection".to_owned()),
        RecordsEnd::Alert(alert) => of_alert(alert),
        RecordsEnd::Failed(words) => WireEnd::Broken(format!("of the broker's TLS: {words}")),
    }
}

fn mask(drawn: u64) -> [u8; 4] {
    (drawn as u32).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside the secrets of the next keys, some 100 bytes, and what the allocator rounds up.
    #[test]
    fn a_silent_client_is_small() {
        assert!(size_of::<Wire>() <= 304, "{}", size_of::<Wire>());
    }
}
