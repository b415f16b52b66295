//! The other end of TLS, for programs of ours that connect to a broker, and for nodes that connect to others: rustls shakes hands, the records are as a broker's.
//!
//! Owns: a handshake from the client's side, and what is kept of the connection after it: two keys and the secrets of the next ones,
//! a few hundred bytes. A buffered connection of rustls keeps thousands.
//! Always holds: nothing of it waits or has a clock. A ticket that comes after the handshake goes to the configuration's store once, where
//! it was asked for, and then nothing more is kept for tickets.
//! Leaves to others: whom to trust ([`ClientConfig`]), when to run a handshake, and the socket.

use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{AlertDescription, ClientConfig, Error, HandshakeKind, ProtocolVersion};

use super::encoding::{encode_to, records_max};
use super::record::{Protocol, RecordKeys};
use super::secrets::{SecretTap, TrafficSecrets, take_told};
use super::traffic::{TicketTaker, Traffic};
use crate::conn::layer::LayerEnd;

/// The message `NewSessionTicket`.
const NEW_SESSION_TICKET: u8 = 4;

/// A client's handshake that goes on.
pub struct ClientHandshake {
    connection: Box<UnbufferedClientConnection>,
    input: Vec<u8>,
    plain: Vec<u8>,
    secrets: TrafficSecrets,
}

/// What two ends have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgreedTls {
    /// 1.2 or 1.3.
    pub version: ProtocolVersion,
    /// By its name in the registry of TLS.
    pub suite: rustls::CipherSuite,
    /// The key exchange; none where an earlier one was resumed.
    pub group: Option<rustls::NamedGroup>,
    /// Whether an earlier session went on.
    pub is_resumed: bool,
}

/// Records of a client's connection.
#[derive(Debug)]
pub struct ClientRecords {
    pub(super) traffic: Traffic,
    tickets: ClientTickets,
}

/// How the records of a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordsEnd {
    /// It said that it sends no more.
    Clean,
    /// It ended them with this alert.
    Alert(AlertDescription),
    /// They cannot be opened, for this reason. What is sealed next tells it.
    Failed(&'static str),
}

/// What rustls keeps until a ticket has come, where one is wanted.
#[derive(Default)]
struct ClientTickets(Option<Box<KernelConnection<ClientConnectionData>>>);

impl std::fmt::Debug for ClientHandshake {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ClientHandshake").field("input_bytes", &self.input.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ClientTickets {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("ClientTickets").field(&self.0.is_some()).finish()
    }
}

impl ClientHandshake {
    /// Lets the handshakes of a configuration give their keys away, to this module alone.
    pub fn prepare(config: &mut ClientConfig) {
        config.enable_secret_extraction = true;
        config.key_log = Arc::new(SecretTap);
    }

    /// With a configuration that was prepared.
    ///
    /// # Errors
    /// rustls finds no way to begin.
    pub fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        let connection = Box::new(UnbufferedClientConnection::new(config, name)?);
        Ok(Self { connection, input: Vec::new(), plain: Vec::new(), secrets: TrafficSecrets::default() })
    }

    /// Keeps what has come for the next [`Self::run`].
    pub fn take(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Does what can be done with what has come, which takes a tenth of a millisecond and more. Appends what is to be sent, an
    /// alert where it fails. Returns whether both ends have the keys.
    ///
    /// # Errors
    /// Whatever rustls finds wrong. It is not to be run again.
    pub fn run(&mut self, out: &mut Vec<u8>) -> Result<bool, Error> {
        let mut input = std::mem::take(&mut self.input);
        let is_done = self.step(&mut input, out);
        self.input = input;
        is_done
    }

    /// The same with what has come elsewhere; what is used of it is taken out.
    pub(super) fn step(&mut self, input: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<bool, Error> {
        drop(take_told()); // of a handshake that failed
        let mut used = 0;
        let is_done = loop {
            let UnbufferedStatus { discard, state, .. } = self.connection.process_tls_records(&mut input[used..]);
            let stop = match state {
                Ok(ConnectionState::EncodeTlsData(encode)) => encode_to(encode, out).err().map(Err),
                Ok(ConnectionState::TransmitTlsData(transmit)) => {
                    transmit.done();
                    None
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        self.plain.extend_from_slice(record.payload);
                    }
                    None
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Ok(false)),
                Ok(ConnectionState::WriteTraffic(_)) => Some(Ok(true)),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Some(Err(Error::HandshakeNotComplete)),
                Ok(_) => Some(Err(Error::General("a state that is not known".into()))),
                Err(error) => {
                    self.tell_why(&mut input[used + discard..], out);
                    return Err(error);
                }
            };
            used += discard;
            match stop {
                None => {}
                Some(Ok(is_done)) => break is_done,
                Some(Err(error)) => return Err(error),
            }
        };
        input.drain(..used);
        // What a server opens with, a client seals with.
        let TrafficSecrets { opening, sealing } = take_told();
        self.secrets.add(TrafficSecrets { opening: sealing, sealing: opening });
        Ok(is_done)
    }

    /// As in [`super::Handshake`]: asked once, with the input where it stopped.
    fn tell_why(&mut self, input: &mut [u8], out: &mut Vec<u8>) {
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(input);
        if let Ok(ConnectionState::EncodeTlsData(encode)) = state {
            // Without room for it the peer is not told; the connection ends in any case.
            let _ = encode_to(encode, out);
        }
    }

    /// What was agreed on, when [`Self::run`] has said that it is done.
    pub fn agreed(&self) -> Option<AgreedTls> {
        Some(AgreedTls {
            version: self.connection.protocol_version()?,
            suite: self.connection.negotiated_cipher_suite()?.suite(),
            group: self.connection.negotiated_key_exchange_group().map(rustls::crypto::SupportedKxGroup::name),
            is_resumed: self.connection.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }

    /// The records that follow, and what has come with the handshake, opened. `wants_ticket`: the configuration's store is to have one.
    ///
    /// # Errors
    /// It was not done, or the cipher is not known here.
    pub fn finish(self, wants_ticket: bool) -> Result<(ClientRecords, Vec<u8>, Option<RecordsEnd>), Error> {
        let Self { connection, mut input, mut plain, secrets } = self;
        let protocol = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => Protocol::V13,
            _ => Protocol::V12,
        };
        let records_max = records_max(&connection);
        let (extracted, kernel) = connection.dangerous_into_kernel_connection()?;
        let keys = |(sequence, secrets): &(u64, _)| RecordKeys::new((*sequence, secrets), protocol);
        let (Some(opening), Some(sealing)) = (keys(&extracted.rx), keys(&extracted.tx)) else {
            return Err(Error::General("a cipher that is not known here".into()));
        };
        let secrets = (protocol == Protocol::V13).then(|| Box::new(secrets));
        if let Some(secrets) = &secrets
            && !(opening.derived(&secrets.opening).is_same(&opening)
                && sealing.derived(&secrets.sealing).is_same(&sealing))
        {
            return Err(Error::General("other secrets than keys".into()));
        }
        let traffic = Traffic::new([opening, sealing], protocol, records_max, secrets, Vec::new());
        // In TLS 1.2 the ticket has come within the handshake.
        let tickets = ClientTickets((wants_ticket && protocol == Protocol::V13).then(|| Box::new(kernel)));
        let mut records = ClientRecords { traffic, tickets };
        let end = records.open(&mut input);
        plain.append(&mut input);
        Ok((records, plain, end))
    }
}

impl ClientRecords {
    /// Opens the records in `bytes`; what they carry is left in it. What is not whole is kept. Returns the end, once.
    pub fn open(&mut self, bytes: &mut Vec<u8>) -> Option<RecordsEnd> {
        self.open_layer(bytes).map(|end| match end {
            LayerEnd::Clean => RecordsEnd::Clean,
            LayerEnd::Failed(failure) => match self.traffic.received_alert() {
                Some(alert) => RecordsEnd::Alert(alert.into()),
                None => RecordsEnd::Failed(failure.text),
            },
        })
    }

    /// The same, and the end as a layer finds it.
    pub(super) fn open_layer(&mut self, bytes: &mut Vec<u8>) -> Option<LayerEnd> {
        self.traffic.open_with(bytes, &mut self.tickets)
    }

    /// Whether there is something to send that does not wait for more.
    pub const fn has_own_bytes(&self) -> bool {
        self.traffic.has_own_bytes()
    }

    /// Appends the records of `plain`, which may be empty, and of what is to be sent beside it.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        self.traffic.seal(plain, out);
    }

    /// What is sealed next is the last: `close_notify` stands behind it.
    pub const fn end(&mut self) {
        self.traffic.end();
    }
}

impl TicketTaker for ClientTickets {
    /// One is enough; others, and messages that are cut between records, are left to their sender.
    fn take(&mut self, mut messages: &[u8]) -> bool {
        while let Some((&[kind, a, b, c], rest)) = messages.split_first_chunk::<4>() {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if kind != NEW_SESSION_TICKET || rest.len() < length {
                return false;
            }
            let (ticket, next) = rest.split_at(length);
            if let Some(mut kernel) = self.0.take()
                && kernel.handle_new_session_ticket(ticket).is_err()
            {
                return false;
            }
            messages = next;
        }
        messages.is_empty()
    }
}
