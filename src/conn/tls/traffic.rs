//! A TLS connection after its handshake: records, key updates, alerts.
//!
//! Always holds: what is kept of a record that is not whole is at most one record. Keys are renewed before they have protected
//! more than their cipher allows; where TLS 1.2 cannot renew them, the connection ends. A `KeyUpdate` stands alone in its
//! record, and one answer is made for any number of them that came before it. Records that bring nothing are bounded.

use super::alert::Alert;
use super::record::{ContentType, FRAGMENT_MAX_BYTES, HEADER_BYTES, Protocol, RecordError, RecordKeys, parse_header};
use super::secrets::TrafficSecrets;
use crate::conn::layer::{LayerEnd, LayerFailure};
use crate::limits::TLS_EMPTY_RECORDS_MAX;
use crate::telemetry::CloseReason;

/// The message `KeyUpdate` with its two values.
const KEY_UPDATE: u8 = 24;
const KEY_UPDATE_NOT_REQUESTED: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];
const KEY_UPDATE_REQUESTED: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 1];

/// See the module's text.
pub(super) struct Traffic {
    opening: RecordKeys,
    sealing: RecordKeys,
    protocol: Protocol,
    /// Records that one key may protect.
    records_max: u64,
    /// Of the next keys, in TLS 1.3.
    secrets: Option<Box<TrafficSecrets>>,
    /// The beginning of a record.
    kept: Vec<u8>,
    /// Records in a row that brought nothing.
    empty_records: u8,
    /// The peer's alert that ended the connection, by its number; `close_notify` is none.
    alert: u8,
    /// The peer has asked for other keys.
    must_update: bool,
    /// Nothing more is sealed: the keys are used up.
    is_used_up: bool,
    /// Said once behind everything else.
    last: Option<Alert>,
}

impl std::fmt::Debug for Traffic {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { opening, sealing, .. } = self;
        out.debug_struct("Traffic").field("opening", opening).field("sealing", sealing).finish_non_exhaustive()
    }
}

/// What goes on after a record.
type Opened = Result<(), LayerEnd>;

/// Who takes what a server may send after the handshake: tickets.
pub(super) trait TicketTaker {
    /// Whether it has a use for these messages of the handshake.
    fn take(&mut self, messages: &[u8]) -> bool;
}

/// A server: nobody sends it tickets.
struct NoTickets;

impl TicketTaker for NoTickets {
    fn take(&mut self, _: &[u8]) -> bool {
        false
    }
}

impl Traffic {
    /// With the keys of both directions. `rest` is the beginning of a record that has come with the handshake.
    pub(super) fn new(
        [opening, sealing]: [RecordKeys; 2],
        protocol: Protocol,
        records_max: u64,
        secrets: Option<Box<TrafficSecrets>>,
        rest: Vec<u8>,
    ) -> Self {
        Self {
            opening,
            sealing,
            protocol,
            records_max,
            secrets,
            kept: rest,
            empty_records: 0,
            alert: 0,
            must_update: false,
            is_used_up: false,
            last: None,
        }
    }

    /// Opens the records in `bytes`; what they carry is left in it.
    pub(super) fn open(&mut self, bytes: &mut Vec<u8>) -> Option<LayerEnd> {
        self.open_with(bytes, &mut NoTickets)
    }

    /// The same at a client's end.
    pub(super) fn open_with(&mut self, bytes: &mut Vec<u8>, tickets: &mut impl TicketTaker) -> Option<LayerEnd> {
        if self.is_used_up {
            bytes.clear();
            let text = "its connection has sent as much as its keys may protect";
            return Some(LayerEnd::Failed(LayerFailure { reason: CloseReason::Resources, text }));
        }
        let has_kept = !self.kept.is_empty();
        if has_kept {
            let mut all = std::mem::take(&mut self.kept);
            all.append(bytes);
            *bytes = all;
        }
        let mut plain_bytes = 0;
        match self.open_records(bytes, &mut plain_bytes, tickets) {
            // Moved, not copied, or one byte at a time would cost the square of a record.
            Ok(0) if has_kept => self.kept = std::mem::take(bytes),
            Ok(opened) => self.kept.extend_from_slice(&bytes[opened..]),
            Err(end) => {
                bytes.truncate(plain_bytes);
                return Some(end);
            }
        }
        bytes.truncate(plain_bytes);
        None
    }

    /// Opens whole records and moves what they carry to the front. Returns where the first one begins that is not whole.
    fn open_records(
        &mut self,
        bytes: &mut [u8],
        plain_bytes: &mut usize,
        tickets: &mut impl TicketTaker,
    ) -> Result<usize, LayerEnd> {
        let mut key = None;
        let mut at = 0;
        loop {
            let header = parse_header(&bytes[at..], self.protocol).map_err(|error| self.fail(error))?;
            let Some((_, length)) = header.filter(|(_, length)| bytes.len() - at - HEADER_BYTES >= *length) else {
                return Ok(at);
            };
            let end = at + HEADER_BYTES + length;
            let expanded = key.get_or_insert_with(|| self.opening.expand());
            let opened = self.opening.open(expanded, &mut bytes[at..end]);
            let (content, range) = opened.map_err(|error| self.fail(error))?;
            let range = at + range.start..at + range.end;
            match content {
                ContentType::ApplicationData if !range.is_empty() => {
                    self.empty_records = 0;
                    let moved = range.len();
                    bytes.copy_within(range, *plain_bytes);
                    *plain_bytes += moved;
                }
                ContentType::ApplicationData => self.count_empty()?,
                ContentType::Alert => self.take_alert(&bytes[range])?,
                ContentType::Handshake => {
                    self.take_handshake(&bytes[range], tickets)?;
                    key = None;
                }
                ContentType::ChangeCipherSpec => return Err(self.fail(RecordError::Unexpected)),
            }
            at = end;
        }
    }

    /// A record that brought nothing: a peer must not keep the shard busy with them.
    fn count_empty(&mut self) -> Opened {
        self.empty_records += 1;
        if self.empty_records <= TLS_EMPTY_RECORDS_MAX {
            return Ok(());
        }
        Err(self.end_with(
            Alert::UnexpectedMessage,
            CloseReason::ProtocolError,
            "its TLS records bring nothing, one after another",
        ))
    }

    fn take_alert(&mut self, alert: &[u8]) -> Opened {
        let &[level, description] = alert else {
            return Err(self.end_with(
                Alert::DecodeError,
                CloseReason::Malformed,
                "its TLS alert has the wrong length",
            ));
        };
        match Alert::of(description) {
            Some(Alert::CloseNotify) => Err(LayerEnd::Clean),
            Some(Alert::UserCanceled) => self.count_empty(),
            _ if self.protocol == Protocol::V12 && level == Alert::WARNING => self.count_empty(),
            _ => {
                // It knows already.
                self.alert = description;
                let text = "it ended TLS with an alert";
                Err(LayerEnd::Failed(LayerFailure { reason: CloseReason::TlsAlert, text }))
            }
        }
    }

    fn take_handshake(&mut self, message: &[u8], tickets: &mut impl TicketTaker) -> Opened {
        let Some(secrets) = self.secrets.as_deref_mut() else {
            let text = "it asks for a new TLS handshake, which is not done";
            return Err(self.end_with(Alert::NoRenegotiation, CloseReason::ProtocolError, text));
        };
        if message != KEY_UPDATE_NOT_REQUESTED && message != KEY_UPDATE_REQUESTED {
            if tickets.take(message) {
                return self.count_empty();
            }
            return Err(self.fail(RecordError::Unexpected));
        }
        secrets.opening.advance();
        self.opening = self.opening.derived(&secrets.opening);
        self.must_update |= message == KEY_UPDATE_REQUESTED;
        self.count_empty()
    }

    fn fail(&mut self, error: RecordError) -> LayerEnd {
        let (alert, reason, text) = match error {
            RecordError::Malformed => (Alert::UnexpectedMessage, CloseReason::Malformed, "its bytes are no TLS record"),
            RecordError::TooLong => (Alert::RecordOverflow, CloseReason::Malformed, "its TLS record is too long"),
            RecordError::BadTag => (
                Alert::BadRecordMac,
                CloseReason::Malformed,
                "its TLS record was changed on its way, or has other keys",
            ),
            RecordError::Unexpected => {
                (Alert::UnexpectedMessage, CloseReason::ProtocolError, "its TLS record has no business here")
            }
        };
        self.end_with(alert, reason, text)
    }

    fn end_with(&mut self, alert: Alert, reason: CloseReason, text: &'static str) -> LayerEnd {
        self.last.get_or_insert(alert);
        LayerEnd::Failed(LayerFailure { reason, text })
    }

    /// The connection is to end: `close_notify` is said, unless another alert is.
    pub(super) const fn end(&mut self) {
        if self.last.is_none() {
            self.last = Some(Alert::CloseNotify);
        }
    }

    /// The alert that the peer has ended the connection with, by its number.
    pub(super) fn received_alert(&self) -> Option<u8> {
        (self.alert > 0).then_some(self.alert)
    }

    /// Whether there is something to send that does not wait for MQTT.
    pub(super) const fn has_own_bytes(&self) -> bool {
        self.must_update || self.last.is_some()
    }

    /// Appends what is to be sent. Returns whether it was the last.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        if self.is_used_up {
            return true;
        }
        let mut key = self.sealing.expand();
        if std::mem::take(&mut self.must_update) {
            self.update(&mut key, out);
        }
        for fragment in plain.chunks(FRAGMENT_MAX_BYTES) {
            if self.sealing.sequence() + 2 >= self.records_max && !self.update(&mut key, out) {
                self.is_used_up = true;
                self.end();
                break;
            }
            self.sealing.seal(&key, ContentType::ApplicationData, fragment, out);
        }
        let Some(last) = self.last.take() else { return false };
        self.sealing.seal(&key, ContentType::Alert, &last.encode(), out);
        true
    }

    /// Tells the peer that other keys follow, and uses them. `false` where there are none.
    fn update(&mut self, key: &mut aws_lc_rs::aead::LessSafeKey, out: &mut Vec<u8>) -> bool {
        let Some(secrets) = self.secrets.as_deref_mut() else { return false };
        self.sealing.seal(key, ContentType::Handshake, &KEY_UPDATE_NOT_REQUESTED, out);
        secrets.sealing.advance();
        self.sealing = self.sealing.derived(&secrets.sealing);
        *key = self.sealing.expand();
        true
    }

    #[cfg(test)]
    pub(super) const fn set_records_max(&mut self, records_max: u64) {
        self.records_max = records_max;
    }
}
