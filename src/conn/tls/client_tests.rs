//! The client's end without sockets: a server of rustls is the oracle for every suite of both versions.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig, ServerConnection};

use super::client::{AgreedTls, ClientHandshake, ClientRecords, RecordsEnd};
use super::tests::{Pki, client_config, server_config, suites};

/// A client of ours and a server of rustls.
struct Pair {
    server: ServerConnection,
    records: ClientRecords,
    agreed: AgreedTls,
    /// What the client has opened.
    opened: Vec<u8>,
    end: Option<RecordsEnd>,
}

fn ours(mut config: ClientConfig) -> Arc<ClientConfig> {
    ClientHandshake::prepare(&mut config);
    Arc::new(config)
}

fn from_server(server: &mut ServerConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut bytes).unwrap();
    }
    bytes
}

fn to_server(server: &mut ServerConnection, mut bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while !bytes.is_empty() {
        server.read_tls(&mut bytes).unwrap();
        let state = server.process_new_packets().unwrap();
        let mut part = vec![0; state.plaintext_bytes_to_read()];
        server.reader().read_exact(&mut part).unwrap();
        plain.extend(part);
    }
    plain
}

impl Pair {
    /// Shakes hands; what the server sends is cut into pieces.
    fn new(server: ServerConfig, client: &Arc<ClientConfig>, piece: usize) -> Result<Self, rustls::Error> {
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut handshake = ClientHandshake::new(Arc::clone(client), name)?;
        let mut out = Vec::new();
        let mut is_done = handshake.run(&mut out)?;
        while !is_done {
            to_server(&mut server, &std::mem::take(&mut out));
            for piece in from_server(&mut server).chunks(piece) {
                assert!(!is_done, "a server's last flight has nothing behind it");
                handshake.take(piece);
                is_done = handshake.run(&mut out)?;
            }
        }
        let agreed = handshake.agreed().unwrap();
        let (records, opened, end) = handshake.finish(true)?;
        to_server(&mut server, &out);
        Ok(Self { server, records, agreed, opened, end })
    }

    fn receive(&mut self, piece: usize) {
        for piece in from_server(&mut self.server).chunks(piece) {
            let mut bytes = piece.to_vec();
            self.end = self.end.or(self.records.open(&mut bytes));
            self.opened.append(&mut bytes);
        }
    }

    fn send(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.records.seal(plain, &mut out);
        to_server(&mut self.server, &out)
    }
}

#[test]
fn every_suite_opens_and_seals_what_rustls_does_however_it_is_cut() {
    let pki = Pki::new();
    for suite in &suites() {
        for piece in [usize::MAX, 1, 1_000] {
            let client = ours(client_config(&pki, suite, true));
            let mut pair = Pair::new(server_config(&pki, suite, true), &client, piece).unwrap();
            assert!(!pair.agreed.is_resumed && pair.server.peer_certificates().is_some());
            for length in [1_usize, 64, 16_384, 16_385, 50_000] {
                let plain: Vec<u8> = (0..length).map(|at| (at * 7) as u8).collect();
                assert_eq!(pair.send(&plain), plain, "{:?}", pair.agreed);
                pair.server.writer().write_all(&plain).unwrap();
                pair.receive(piece);
                assert!(std::mem::take(&mut pair.opened) == plain && pair.end.is_none(), "{:?}", pair.agreed);
            }
            if pair.agreed.version == rustls::ProtocolVersion::TLSv1_3 {
                pair.server.refresh_traffic_keys().unwrap();
                pair.server.writer().write_all(b"new keys").unwrap();
                pair.receive(piece);
                assert!(pair.opened == b"new keys" && pair.records.has_own_bytes());
                assert_eq!(pair.send(b"mine too"), b"mine too");
            }
            pair.records.end();
            assert_eq!(pair.send(b"last"), b"last");
            assert!(pair.server.process_new_packets().unwrap().peer_has_closed());
            pair.server.send_close_notify();
            pair.receive(piece);
            assert_eq!(pair.end, Some(RecordsEnd::Clean));
        }
    }
}

#[test]
fn who_comes_back_with_a_ticket_resumes() {
    let pki = Pki::new();
    for suite in &suites() {
        let mut config = client_config(&pki, suite, true);
        config.resumption = Resumption::in_memory_sessions(8);
        let client = ours(config);
        let ticketer = server_config(&pki, suite, true).ticketer;
        for is_resumed in [false, true, true] {
            let mut server = server_config(&pki, suite, true);
            server.send_tls13_tickets = 3;
            server.ticketer = Arc::clone(&ticketer);
            let mut pair = Pair::new(server, &client, usize::MAX).unwrap();
            assert_eq!(pair.agreed.is_resumed, is_resumed, "{:?}", pair.agreed);
            pair.server.writer().write_all(b"CONNACK").unwrap();
            pair.receive(usize::MAX);
            assert!(pair.opened == b"CONNACK" && pair.end.is_none(), "{:?}", pair.end);
        }
    }
}

#[test]
fn a_server_of_another_authority_is_not_trusted_and_is_told() {
    let (pki, other) = (Pki::new(), Pki::new());
    for suite in &suites() {
        let mut server = ServerConnection::new(Arc::new(server_config(&pki, suite, false))).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut handshake = ClientHandshake::new(ours(client_config(&other, suite, false)), name).unwrap();
        let mut out = Vec::new();
        assert_eq!(handshake.run(&mut out), Ok(false));
        to_server(&mut server, &std::mem::take(&mut out));
        handshake.take(&from_server(&mut server));
        let error = handshake.run(&mut out).unwrap_err();
        assert!(matches!(error, rustls::Error::InvalidCertificate(_)), "{error}");
        server.read_tls(&mut out.as_slice()).unwrap();
        let told = server.process_new_packets().unwrap_err();
        assert!(matches!(told, rustls::Error::AlertReceived(_)), "{told}");
    }
}

/// In TLS 1.3 a client is done before its certificate was looked at.
#[test]
fn who_shows_no_certificate_is_told_behind_the_handshake() {
    let pki = Pki::new();
    let suite = suites().into_iter().find(|suite| suite.name.starts_with("TLS13")).unwrap();
    let mut server = ServerConnection::new(Arc::new(server_config(&pki, &suite, true))).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut handshake = ClientHandshake::new(ours(client_config(&pki, &suite, false)), name).unwrap();
    let mut out = Vec::new();
    assert_eq!(handshake.run(&mut out), Ok(false));
    to_server(&mut server, &std::mem::take(&mut out));
    handshake.take(&from_server(&mut server));
    assert_eq!(handshake.run(&mut out), Ok(true));
    let (mut records, ..) = handshake.finish(false).unwrap();
    server.read_tls(&mut out.as_slice()).unwrap();
    server.process_new_packets().unwrap_err();
    let mut told = from_server(&mut server);
    assert_eq!(records.open(&mut told), Some(RecordsEnd::Alert(rustls::AlertDescription::CertificateRequired)));
}

/// Beside what the allocator rounds up: two keys, and the secrets of the next ones.
#[test]
fn an_idle_client_is_small() {
    let all = size_of::<ClientRecords>() + size_of::<super::secrets::TrafficSecrets>();
    assert!(all <= 304, "{all} bytes");
}
