//! A TLS handshake of a server, or of a client: bytes in; bytes out, or the keys, who the peer is, and what it has sent behind.
//!
//! It signs and multiplies, which takes a tenth of a millisecond and more: it is no work for a shard. So it is a value that
//! goes to whoever runs it, and comes back ([`crate::conn::Operation::Handshake`]).
//!
//! Always holds: it reads whole records and is bounded in bytes; it decides nothing about certificates that rustls or the
//! configuration's verifier has not decided.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{ClientConfig, ProtocolVersion, ServerConfig};

use super::client::{ClientHandshake, ClientRecords};
use super::dial_failure::failure_of_dialled;
use super::encoding::{encode_to, records_max};
use super::failure::failure_of;
use super::identity::identity_of;
use super::parameters::TlsParameters;
use super::record::{Protocol, RecordKeys};
use super::secrets::{TrafficSecrets, take_told};
use super::traffic::Traffic;
use crate::auth::PeerIdentity;
use crate::conn::layer::{LayerEnd, LayerFailure};
use crate::telemetry::CloseReason;

/// A handshake that waits to be run, or was run.
pub struct Handshake {
    side: HandshakeSide,
    pub(super) bytes: HandshakeBytes,
    pub(super) outcome: HandshakeOutcome,
    is_unwanted: Arc<AtomicBool>,
}

/// Which end of the connection it is of.
enum HandshakeSide {
    Accepts(AcceptedHandshake),
    Dials(DialledHandshake),
}

/// What goes in and comes out.
#[derive(Default)]
pub(super) struct HandshakeBytes {
    /// Received, and not yet used.
    pub(super) input: Vec<u8>,
    /// To be sent.
    pub(super) output: Vec<u8>,
    /// What came behind the handshake and was opened with it.
    pub(super) plain: Vec<u8>,
}

/// A server's.
struct AcceptedHandshake {
    config: Arc<ServerConfig>,
    /// Made when the first record is whole.
    connection: Option<Box<UnbufferedServerConnection>>,
    /// What rustls has told of the keys after it.
    secrets: TrafficSecrets,
}

/// A client's.
struct DialledHandshake {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// Made when it is run first: that makes keys.
    handshake: Option<ClientHandshake>,
}

/// How far a handshake has come.
pub(super) enum HandshakeOutcome {
    /// It needs more of the peer.
    Waits,
    /// Both ends have the keys, and this is the server.
    Done(Box<Done>),
    /// Both ends have the keys, and this is the client.
    Dialled(Box<DialDone>),
    /// It has come to nothing.
    Ended(LayerEnd),
}

/// Keys, names, and what may still be sent.
pub(super) struct Done {
    pub(super) traffic: Traffic,
    pub(super) identity: Option<Arc<PeerIdentity>>,
    /// What it has to send last are tickets, which can wait for MQTT.
    pub(super) output_may_wait: bool,
    pub(super) agreed: TlsParameters,
}

/// A client's records, and what was agreed on.
pub(super) struct DialDone {
    pub(super) records: ClientRecords,
    pub(super) agreed: TlsParameters,
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Handshake").field("input_bytes", &self.bytes.input.len()).finish_non_exhaustive()
    }
}

impl Handshake {
    /// Of a server. It can be run when something has come.
    pub(super) fn new(config: Arc<ServerConfig>) -> Self {
        let (connection, secrets) = (None, TrafficSecrets::default());
        Self::of(HandshakeSide::Accepts(AcceptedHandshake { config, connection, secrets }))
    }

    /// Of a client, with a configuration that was prepared. It can be run at once.
    pub(super) fn dialling(config: Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        Self::of(HandshakeSide::Dials(DialledHandshake { config, name, handshake: None }))
    }

    fn of(side: HandshakeSide) -> Self {
        let (bytes, is_unwanted) = (HandshakeBytes::default(), Arc::default());
        Self { side, bytes, outcome: HandshakeOutcome::Waits, is_unwanted }
    }

    /// Set when the connection has gone, while the handshake is elsewhere.
    pub(super) fn unwanted(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_unwanted)
    }

    /// The connection has it back.
    pub(super) fn wanted_again(mut self) -> Self {
        self.is_unwanted = Arc::default();
        self
    }

    /// Whether its connection still waits for it.
    pub fn is_wanted(&self) -> bool {
        !self.is_unwanted.load(Ordering::Relaxed)
    }

    /// Does what can be done with what has come. Nothing, if nobody waits for it any more.
    pub fn run(&mut self) {
        if self.is_wanted() {
            self.outcome = match &mut self.side {
                HandshakeSide::Accepts(side) => side.step(&mut self.bytes),
                HandshakeSide::Dials(side) => side.step(&mut self.bytes),
            };
        }
    }
}

impl DialledHandshake {
    fn step(&mut self, bytes: &mut HandshakeBytes) -> HandshakeOutcome {
        let ended = |error| HandshakeOutcome::Ended(LayerEnd::Failed(failure_of_dialled(&error)));
        let begun =
            self.handshake.take().map_or_else(|| ClientHandshake::new(Arc::clone(&self.config), self.name.clone()), Ok);
        let mut handshake = match begun {
            Ok(handshake) => handshake,
            Err(error) => return ended(error),
        };
        match handshake.step(&mut bytes.input, &mut bytes.output) {
            Ok(false) => {
                self.handshake = Some(handshake);
                HandshakeOutcome::Waits
            }
            Ok(true) => match Self::finish(handshake, &mut bytes.plain) {
                Ok(done) => HandshakeOutcome::Dialled(Box::new(done)),
                Err(error) => ended(error),
            },
            Err(error) => ended(error),
        }
    }

    /// Takes the keys. Records that came behind the handshake are in the input still.
    fn finish(handshake: ClientHandshake, plain: &mut Vec<u8>) -> Result<DialDone, rustls::Error> {
        let agreed = handshake.agreed().ok_or(rustls::Error::HandshakeNotComplete)?;
        let is_v13 = agreed.version == ProtocolVersion::TLSv1_3;
        let agreed = TlsParameters { is_v13, suite: agreed.suite.into() };
        let (records, opened, _) = handshake.finish(false)?;
        *plain = opened;
        Ok(DialDone { records, agreed })
    }
}

impl AcceptedHandshake {
    fn step(&mut self, bytes: &mut HandshakeBytes) -> HandshakeOutcome {
        if self.connection.is_none() {
            match UnbufferedServerConnection::new(Arc::clone(&self.config)) {
                Ok(connection) => self.connection = Some(Box::new(connection)),
                Err(error) => return failed(&error),
            }
        }
        drop(take_told()); // of a handshake that failed
        let connection = self.connection.as_mut().expect("just made");
        let mut used = 0;
        let is_done = loop {
            let UnbufferedStatus { discard, state, .. } = connection.process_tls_records(&mut bytes.input[used..]);
            let stop = match state {
                Ok(ConnectionState::EncodeTlsData(encode)) => {
                    encode_to(encode, &mut bytes.output).err().map(|error| Err(failed(&error)))
                }
                Ok(ConnectionState::TransmitTlsData(transmit)) => {
                    transmit.done();
                    None
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        bytes.plain.extend_from_slice(record.payload);
                    }
                    None
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Ok(false)),
                Ok(ConnectionState::WriteTraffic(_)) => Some(Ok(true)),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    Some(Err(HandshakeOutcome::Ended(LayerEnd::Clean)))
                }
                // Early data is never accepted, and other states are not known.
                Ok(_) => Some(Err(failed(&rustls::Error::General("early data".into())))),
                Err(error) => {
                    self.tell_why(used + discard, bytes);
                    return failed(&error);
                }
            };
            used += discard;
            match stop {
                None => {}
                Some(Ok(is_done)) => break is_done,
                Some(Err(outcome)) => return outcome,
            }
        };
        bytes.input.drain(..used);
        self.secrets.add(take_told());
        if is_done { self.finish(bytes) } else { HandshakeOutcome::Waits }
    }

    /// The alert that rustls has for the peer. It is asked once, and with the input where it stopped: it does not go on behind an
    /// error, and panics with another input.
    fn tell_why(&mut self, used: usize, bytes: &mut HandshakeBytes) {
        let Some(connection) = self.connection.as_mut() else { return };
        let UnbufferedStatus { state, .. } = connection.process_tls_records(&mut bytes.input[used..]);
        if let Ok(ConnectionState::EncodeTlsData(encode)) = state {
            // Without room for it the peer is not told; the connection ends in any case.
            let _ = encode_to(encode, &mut bytes.output);
        }
    }

    fn is_past(&self, end_s: i64) -> bool {
        self.config.time_provider.current_time().is_some_and(|now| now.as_secs() > end_s.max(0).unsigned_abs())
    }

    /// Takes the keys.
    fn finish(&mut self, bytes: &mut HandshakeBytes) -> HandshakeOutcome {
        let connection = self.connection.take().expect("it is done once");
        let protocol = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => Protocol::V13,
            _ => Protocol::V12,
        };
        let certificate = connection.peer_certificates().and_then(|certificates| certificates.first());
        let (identity, end_s) = certificate.map(identity_of).unzip();
        // Whoever resumes is not verified anew: the ticket has what was shown then.
        if end_s.is_some_and(|end_s| self.is_past(end_s)) {
            bytes.output.clear(); // another ticket is good for nothing
            return failed(&rustls::Error::InvalidCertificate(rustls::CertificateError::Expired));
        }
        let records_max = records_max(&connection);
        let suite = connection.negotiated_cipher_suite().map_or(0, |suite| u16::from(suite.suite()));
        let agreed = TlsParameters { is_v13: protocol == Protocol::V13, suite };
        let (extracted, _) = match connection.dangerous_into_kernel_connection() {
            Ok(parts) => parts,
            Err(error) => return failed(&error),
        };
        let keys = |(sequence, secrets): &(u64, _)| RecordKeys::new((*sequence, secrets), protocol);
        let (Some(opening), Some(sealing)) = (keys(&extracted.rx), keys(&extracted.tx)) else {
            return failed(&rustls::Error::General("a cipher that is not known here".into()));
        };
        let secrets = (protocol == Protocol::V13).then(|| Box::new(std::mem::take(&mut self.secrets)));
        if let Some(secrets) = &secrets {
            let are_right = opening.derived(&secrets.opening).is_same(&opening)
                && sealing.derived(&secrets.sealing).is_same(&sealing);
            if !are_right {
                return failed(&rustls::Error::General("other secrets than keys".into()));
            }
        }
        let rest = std::mem::take(&mut bytes.input);
        let traffic = Traffic::new([opening, sealing], protocol, records_max, secrets, rest);
        let output_may_wait = protocol == Protocol::V13;
        HandshakeOutcome::Done(Box::new(Done { traffic, identity, output_may_wait, agreed }))
    }
}

fn failed(error: &rustls::Error) -> HandshakeOutcome {
    HandshakeOutcome::Ended(LayerEnd::Failed(failure_of(error)))
}

/// Why a handshake is not even begun.
pub(super) const fn no_handshake(reason: CloseReason, text: &'static str) -> LayerEnd {
    LayerEnd::Failed(LayerFailure { reason, text })
}
