//! WebSocket as a layer: the request, then frames, and what the broker says of its own.
//!
//! Always holds: of its own it owes one answer, one pong, to the last ping, and one close frame at most, however much a peer asks for;
//! behind its close frame nothing is sent.

use core::net::IpAddr;
use std::sync::Arc;

use super::answer::UpgradeAnswer;
use super::close::CloseCode;
use super::frames::{ControlPayload, Deframer, Piece};
use super::head::{Opcode, write_head};
use super::upgrade::{UpgradeGrant, UpgradeRefusal, UpgradeRequest, UpgradeRules};
use crate::conn::layer::{LayerEnd, LayerFailure, Learned, WireLayer};
use crate::conn::peer::Peer;
use crate::conn::spoken::spoken;
use crate::settings::ListenerSettings;
use crate::telemetry::CloseReason;

/// See the module's text.
#[derive(Debug)]
pub(in crate::conn) struct WebSocketLayer {
    stage: Stage,
    to_say: Option<Box<WebSocketWords>>,
    goodbye: Goodbye,
    is_silent: bool,
}

#[derive(Debug)]
enum Stage {
    Request(Box<Opening>),
    Frames(Deframer),
    /// The request was refused.
    Refused,
}

/// Who asks for a WebSocket, and of whom.
#[derive(Debug)]
struct Opening {
    request: UpgradeRequest,
    peer: Peer,
    settings: Arc<ListenerSettings>,
}

/// What the peer has not been told.
#[derive(Debug, Default)]
struct WebSocketWords {
    /// To its request.
    answer: Vec<u8>,
    /// To its last ping.
    pong: Option<ControlPayload>,
    /// Told below, not to the peer.
    learned: Option<Learned>,
}

/// How far the closing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goodbye {
    NotDue,
    /// With this code, or without any.
    Due(Option<u16>),
    /// The same, and the peer has said its own.
    AnswerDue(Option<u16>),
    Said,
    /// Both sides have.
    Exchanged,
}

impl WebSocketLayer {
    /// Of a connection that was just accepted.
    pub(in crate::conn) fn new(settings: &Arc<ListenerSettings>, peer: Peer) -> Self {
        let opening = Opening { request: UpgradeRequest::default(), peer, settings: Arc::clone(settings) };
        Self { stage: Stage::Request(Box::new(opening)), to_say: None, goodbye: Goodbye::NotDue, is_silent: false }
    }

    /// Takes bytes of the request out of `bytes`.
    fn take_request(&mut self, bytes: &mut Vec<u8>) -> Option<LayerEnd> {
        let Stage::Request(opening) = &mut self.stage else { return None };
        let settings = Arc::clone(&opening.settings);
        let rules = rules(&settings);
        let Some((taken, asked)) = opening.request.take(bytes, opening.peer.ip(), &rules) else {
            bytes.clear();
            return None;
        };
        match asked {
            Ok(grant) => {
                let to_say = self.to_say.get_or_insert_default();
                UpgradeAnswer::Switching(&grant).write_to(&mut to_say.answer);
                to_say.learned = learned(&grant);
                self.stage = Stage::Frames(Deframer::default());
                bytes.drain(..taken);
                None
            }
            Err(refusal) => {
                bytes.clear();
                let failure = failure(refusal, opening.request.bytes());
                if failure.reason == CloseReason::UpgradeRefused {
                    UpgradeAnswer::Page(refusal, &rules).write_to(&mut self.to_say.get_or_insert_default().answer);
                }
                self.stage = Stage::Refused;
                Some(LayerEnd::Failed(failure))
            }
        }
    }

    /// Leaves in `bytes` what its frames carry.
    fn take_frames(&mut self, bytes: &mut Vec<u8>) -> Option<LayerEnd> {
        let Stage::Frames(deframer) = &mut self.stage else { return None };
        let (mut read, mut opened, mut end) = (0, 0, None);
        while read < bytes.len() && end.is_none() {
            match deframer.next(&mut bytes[read..]) {
                Ok((taken, Piece::Data(data))) => {
                    let len = data.len();
                    read += taken;
                    bytes.copy_within(read - len..read, opened);
                    opened += len;
                }
                Ok((taken, piece)) => {
                    read += taken;
                    match piece {
                        Piece::Ping(payload) => self.to_say.get_or_insert_default().pong = Some(payload),
                        Piece::Close(code) => {
                            self.goodbye.is_heard(code);
                            end = Some(LayerEnd::Clean);
                        }
                        Piece::Data(_) | Piece::Nothing => {}
                    }
                }
                Err(violation) => {
                    self.goodbye.is_due(Some(CloseCode::from(violation) as u16));
                    let failure = LayerFailure { reason: CloseReason::WebSocket, text: violation.text() };
                    end = Some(LayerEnd::Failed(failure));
                }
            }
        }
        bytes.truncate(opened);
        end
    }
}

impl WireLayer for WebSocketLayer {
    fn open(&mut self, bytes: &mut Vec<u8>) -> Option<LayerEnd> {
        self.take_request(bytes).or_else(|| self.take_frames(bytes))
    }

    fn has_own_bytes(&self) -> bool {
        let says = |to_say: &WebSocketWords| !to_say.answer.is_empty() || to_say.pong.is_some();
        !self.is_silent && (self.to_say.as_deref().is_some_and(says) || self.goodbye.due().is_some())
    }

    fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        if let Some(to_say) = self.to_say.take() {
            out.extend_from_slice(&to_say.answer);
            if let Some(pong) = to_say.pong {
                write_frame(Opcode::Pong, pong.as_slice(), out);
            }
        }
        let is_open =
            matches!(self.stage, Stage::Frames(_)) && !matches!(self.goodbye, Goodbye::Said | Goodbye::Exchanged);
        if is_open && !plain.is_empty() {
            write_frame(Opcode::Binary, plain, out);
        }
        if let (true, Some((code, next))) = (is_open, self.goodbye.due()) {
            let code = code.map(u16::to_be_bytes);
            write_frame(Opcode::Close, code.as_ref().map_or(&[], |code| code), out);
            self.goodbye = next;
        }
    }

    fn end(&mut self, reason: CloseReason) {
        if matches!(self.stage, Stage::Frames(_)) {
            self.goodbye.is_due(Some(code_of(reason) as u16));
        }
    }

    fn silence(&mut self) {
        self.is_silent = true;
    }

    fn awaits_goodbye(&self) -> bool {
        !self.is_silent && self.goodbye == Goodbye::Said
    }

    fn take_learned(&mut self) -> Option<Learned> {
        self.to_say.as_deref_mut()?.learned.take()
    }

    fn hear_peer(&mut self, found: Peer) {
        if let Stage::Request(opening) = &mut self.stage {
            opening.peer = found;
        }
    }
}

impl Goodbye {
    /// It is to be said, with the first code that was found.
    fn is_due(&mut self, code: Option<u16>) {
        if *self == Self::NotDue {
            *self = Self::Due(code);
        }
    }

    /// The peer has said it with this code, which it gets back unless the broker has a word of its own.
    fn is_heard(&mut self, code: Option<u16>) {
        *self = match *self {
            Self::NotDue => Self::AnswerDue(code),
            Self::Due(own) | Self::AnswerDue(own) => Self::AnswerDue(own),
            Self::Said | Self::Exchanged => Self::Exchanged,
        };
    }

    /// The code that is to be said, and how far the closing has come when it is.
    const fn due(self) -> Option<(Option<u16>, Self)> {
        match self {
            Self::Due(code) => Some((code, Self::Said)),
            Self::AnswerDue(code) => Some((code, Self::Exchanged)),
            Self::NotDue | Self::Said | Self::Exchanged => None,
        }
    }
}

fn rules(settings: &ListenerSettings) -> UpgradeRules<'_> {
    UpgradeRules { path: &settings.ws_path, origins: settings.ws_origins.0.as_deref(), proxies: &settings.proxy_from }
}

fn write_frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(write_head(opcode, payload.len(), &mut [0; 10]));
    out.extend_from_slice(payload);
}

/// A proxy says whose request it is; its port is the proxy's secret.
fn learned(grant: &UpgradeGrant) -> Option<Learned> {
    let peer = match grant.forwarded_for? {
        IpAddr::V4(ip) => Peer::V4(ip, 0),
        IpAddr::V6(ip) => Peer::V6(ip, 0, 0),
    };
    Some(Learned { peer: Some(peer), identity: None })
}

/// How a refusal is counted and told: what speaks no HTTP by what it seems to speak.
fn failure(refusal: UpgradeRefusal, came: &[u8]) -> LayerFailure {
    let (reason, text) = match (refusal, came) {
        (UpgradeRefusal::Malformed, [0x10, ..]) => {
            (CloseReason::Malformed, "it speaks MQTT, and this is a port of MQTT over WebSocket")
        }
        (UpgradeRefusal::Malformed, [_, ..]) => match spoken(came) {
            (reason @ (CloseReason::Tls | CloseReason::ProxyHeader), text) => (reason, text),
            _ => (CloseReason::Malformed, refusal.text()),
        },
        _ => (CloseReason::UpgradeRefused, refusal.text()),
    };
    LayerFailure { reason, text }
}

/// What the peer is told of why the broker closes.
const fn code_of(reason: CloseReason) -> CloseCode {
    match reason {
        CloseReason::ClientDisconnect | CloseReason::ClientDisconnectWithWill | CloseReason::SocketClosed => {
            CloseCode::Normal
        }
        CloseReason::ServerShutdown => CloseCode::GoingAway,
        _ => CloseCode::Policy,
    }
}
