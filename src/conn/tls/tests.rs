//! TLS without sockets: a client of rustls is the oracle for every suite of both versions.

mod hostile;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls::crypto::{CryptoProvider, aws_lc_rs::default_provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion, version,
};

use super::layer::{Tls, TlsListener};
use super::{NodeAuthority, TlsDialler};
use crate::conn::layer::{LayerEnd, WireLayer};
use crate::telemetry::CloseReason;

/// An authority, a server of it, and a client of it.
pub(crate) struct Pki {
    roots: Arc<RootCertStore>,
    server: (CertificateDer<'static>, KeyPair),
    client: (CertificateDer<'static>, KeyPair),
    /// Of the authority.
    ca_pem: String,
}

impl Pki {
    pub(crate) fn new() -> Self {
        Self::with_end(None)
    }

    /// Its certificates have expired long ago.
    pub(crate) fn expired() -> Self {
        Self::with_end(Some(2020))
    }

    fn with_end(year: Option<i32>) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let signed = |names: &[&str], common_name: &str| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut params = CertificateParams::new(names).unwrap();
            params.distinguished_name.push(DnType::CommonName, common_name);
            params.subject_alt_names.push(SanType::URI("urn:device:7".try_into().unwrap()));
            if let Some(year) = year {
                params.not_after = rcgen::date_time_ymd(year, 12, 31);
            }
            let key = KeyPair::generate().unwrap();
            (params.signed_by(&key, &issuer).unwrap().der().clone(), key)
        };
        let (server, client) = (signed(&["localhost"], "server"), signed(&["device-7.example"], "device-7"));
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone()).unwrap();
        Self { roots: Arc::new(roots), server, client, ca_pem: issuer.pem() }
    }

    /// The server's certificate and its key in DER, and the authority's in PEM, for programs that read files.
    pub(crate) fn files(&self) -> [Vec<u8>; 3] {
        let (certificate, key) = &self.server;
        [certificate.to_vec(), key.serialize_der(), self.ca_pem.clone().into_bytes()]
    }
}

/// A node's end where links are accepted: it shows a certificate of the first, and believes the second.
pub(crate) fn node_listener(shows: &Pki, believes: &Pki) -> TlsListener {
    let provider = Arc::new(default_provider());
    let roots = Arc::clone(&believes.roots);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build().unwrap();
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13]).unwrap();
    let (certificate, key) = &shows.server;
    let builder = builder.with_client_cert_verifier(verifier);
    TlsListener::new(builder.with_single_cert(vec![certificate.clone()], key_of(key)).unwrap())
}

/// The same where they are dialled. Who shows nobody's has none.
pub(crate) fn node_dialler(shows: Option<&Pki>, believes: &Pki) -> TlsDialler {
    let provider = Arc::new(default_provider());
    let authority = NodeAuthority::new(Arc::clone(&believes.roots), &provider);
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13]).unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(authority));
    TlsDialler::new(match shows.map(|shows| &shows.client) {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate.clone()], key_of(key)).unwrap(),
        None => builder.with_no_client_auth(),
    })
}

fn key_of(pair: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(pair.serialize_der()).unwrap()
}

/// What two ends agree on.
pub(in crate::conn) struct Suite {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    pub(in crate::conn) name: String,
}

/// Every suite of both versions that a P-256 certificate can be used with, each alone.
pub(in crate::conn) fn suites() -> Vec<Suite> {
    let all = default_provider();
    let ecdsa = |name: &str| !name.contains("_RSA_");
    let names: Vec<String> = all.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
    let names = names.into_iter().filter(|name| ecdsa(name));
    names
        .map(|name| {
            let mut provider = default_provider();
            provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()) == name);
            let versions = if name.starts_with("TLS13") { vec![&version::TLS13] } else { vec![&version::TLS12] };
            Suite { provider: Arc::new(provider), versions, name }
        })
        .collect()
}

pub(in crate::conn) fn server_config(pki: &Pki, suite: &Suite, asks: bool) -> ServerConfig {
    let provider = Arc::clone(&suite.provider);
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&suite.versions).unwrap();
    let builder = if asks {
        let roots = Arc::clone(&pki.roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let (certificate, key) = &pki.server;
    let mut config = builder.with_single_cert(vec![certificate.clone()], key_of(key)).unwrap();
    config.send_tls13_tickets = 1;
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config
}

pub(in crate::conn) fn client_config(pki: &Pki, suite: &Suite, shows: bool) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::clone(&suite.provider))
        .with_protocol_versions(&suite.versions)
        .unwrap()
        .with_root_certificates(Arc::clone(&pki.roots));
    let (certificate, key) = &pki.client;
    if shows {
        builder.with_client_auth_cert(vec![certificate.clone()], key_of(key)).unwrap()
    } else {
        builder.with_no_client_auth()
    }
}

/// A client of rustls and a layer of ours, with the bytes between them.
struct Ends {
    client: ClientConnection,
    tls: Tls,
    end: Option<LayerEnd>,
    /// What the layer has opened.
    opened: Vec<u8>,
    /// How many bytes the layer is given at a time.
    piece: usize,
    handshakes: usize,
}

impl Ends {
    fn new(server: ServerConfig, client: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(Arc::clone(client), name).unwrap();
        let tls = Tls::new(&TlsListener::new(server));
        Self { client, tls, end: None, opened: Vec::new(), piece: usize::MAX, handshakes: 0 }
    }

    fn of(pki: &Pki, suite: &Suite) -> Self {
        Self::new(server_config(pki, suite, false), &Arc::new(client_config(pki, suite, false)))
    }

    fn give(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(self.piece.min(bytes.len().max(1))) {
            let mut received = piece.to_vec();
            self.note(|tls| tls.open(&mut received).map_or(Ok(received), Err));
            while let Some(mut handshake) = self.tls.take_handshake() {
                assert!(self.tls.is_away());
                handshake.run();
                self.handshakes += 1;
                self.tls.take_back(*handshake);
                let mut received = Vec::new();
                self.note(|tls| {
                    let end = tls.open(&mut received);
                    end.map_or(Ok(received), Err)
                });
            }
        }
    }

    fn note(&mut self, open: impl FnOnce(&mut Tls) -> Result<Vec<u8>, LayerEnd>) {
        match open(&mut self.tls) {
            Ok(bytes) => self.opened.extend(bytes),
            Err(end) => self.end = Some(end),
        }
    }

    /// What the client has to send.
    fn of_client(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// The layer seals `plain`; what the client makes of it.
    fn seal(&mut self, plain: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let mut out = Vec::new();
        self.tls.seal(plain, &mut out);
        self.read_as_client(&out)
    }

    fn read_as_client(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let mut plain = Vec::new();
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).unwrap();
            let state = self.client.process_new_packets()?;
            let mut part = vec![0; state.plaintext_bytes_to_read()];
            self.client.reader().read_exact(&mut part).unwrap();
            plain.extend(part);
        }
        Ok(plain)
    }

    /// Both sides until neither has anything to say.
    fn exchange(&mut self) -> Result<Vec<u8>, rustls::Error> {
        let mut plain = Vec::new();
        loop {
            let bytes = self.of_client();
            self.give(&bytes);
            if !self.tls.has_own_bytes() {
                return Ok(plain);
            }
            plain.extend(self.seal(&[])?);
        }
    }

    fn send(&mut self, plain: &[u8]) {
        self.client.writer().write_all(plain).unwrap();
        let bytes = self.of_client();
        self.give(&bytes);
    }

    /// The layer has opened this since it was last asked.
    fn expect(&mut self, plain: &[u8], what: &str) {
        assert!(self.opened == plain, "{what}: {} bytes of {}", self.opened.len(), plain.len());
        self.opened.clear();
    }
}

#[test]
fn every_suite_opens_and_seals_what_rustls_does_however_it_is_cut() {
    let pki = Pki::new();
    let suites = suites();
    assert_eq!(suites.len(), 6, "three of each version");
    for suite in &suites {
        for piece in [usize::MAX, 1, 7, 4_096] {
            let mut ends = Ends::of(&pki, suite);
            ends.piece = piece;
            ends.exchange().unwrap();
            assert!(!ends.client.is_handshaking(), "{}", suite.name);
            for length in [1, 64, 16_384, 16_385, 50_000] {
                let plain: Vec<u8> = (0..length).map(|at: u32| (at * 7) as u8).collect();
                ends.send(&plain);
                ends.expect(&plain, &suite.name);
                assert_eq!(ends.seal(&plain).unwrap(), plain, "{}", suite.name);
            }
            assert_eq!(ends.end, None);
        }
    }
}

#[test]
fn connect_that_comes_with_the_last_flight_is_opened_with_it() {
    let pki = Pki::new();
    for suite in &suites() {
        let mut ends = Ends::of(&pki, suite);
        ends.client.writer().write_all(b"CONNECT").unwrap();
        ends.exchange().unwrap();
        ends.expect(b"CONNECT", &suite.name);
        assert_eq!(ends.handshakes, 2, "{}: one for each flight", suite.name);
        let had = ends.tls.has_own_bytes();
        assert!(!had, "what a ticket is sent with is CONNACK");
        assert_eq!(ends.seal(b"CONNACK").unwrap(), b"CONNACK");
    }
}

#[test]
fn keys_are_updated_both_ways() {
    let pki = Pki::new();
    for suite in suites().iter().filter(|suite| suite.name.starts_with("TLS13")) {
        let mut ends = Ends::of(&pki, suite);
        ends.exchange().unwrap();
        for round in 0..100 {
            ends.client.refresh_traffic_keys().unwrap();
            ends.send(&[round; 5]);
            ends.expect(&[round; 5], &suite.name);
            assert!(ends.tls.has_own_bytes(), "the answer does not wait");
            assert_eq!(ends.seal(&[round; 9]).unwrap(), [round; 9]);
        }
    }
}

#[test]
fn a_key_is_renewed_before_it_has_protected_too_much() {
    let pki = Pki::new();
    for suite in &suites() {
        let mut ends = Ends::of(&pki, suite);
        ends.exchange().unwrap();
        ends.tls.traffic().set_records_max(8);
        let mut received = 0;
        for _ in 0..50 {
            match ends.seal(b"message") {
                Ok(plain) if plain == b"message" => received += 1,
                Ok(_) => break,
                Err(error) => panic!("{}: {error}", suite.name),
            }
        }
        if suite.name.starts_with("TLS13") {
            assert_eq!(received, 50, "{}", suite.name);
        } else {
            assert!((2..8).contains(&received), "{}: {received}", suite.name);
            assert!(ends.client.process_new_packets().unwrap().peer_has_closed(), "it was told");
            ends.send(b"more");
            assert!(matches!(ends.end, Some(LayerEnd::Failed(failure)) if failure.reason == CloseReason::Resources));
        }
    }
}

#[test]
fn goodbyes_go_both_ways() {
    let pki = Pki::new();
    for suite in &suites() {
        let mut ends = Ends::of(&pki, suite);
        ends.exchange().unwrap();
        ends.client.writer().write_all(b"DISCONNECT").unwrap();
        ends.client.send_close_notify();
        let bytes = ends.of_client();
        let mut received = bytes;
        assert_eq!(ends.tls.open(&mut received), Some(LayerEnd::Clean));
        assert_eq!(received, b"DISCONNECT", "what came before the end is heard");
        ends.tls.end(CloseReason::SocketClosed);
        assert!(ends.tls.has_own_bytes());
        assert_eq!(ends.seal(b"last").unwrap(), b"last");
        assert!(ends.client.process_new_packets().unwrap().peer_has_closed());
        assert!(!ends.tls.has_own_bytes(), "once");
        let mut out = Vec::new();
        ends.tls.end(CloseReason::SocketClosed);
        ends.tls.seal(b"more", &mut out);
        assert!(out.is_empty(), "nothing follows a goodbye");
    }
}

#[test]
fn a_client_certificate_becomes_an_identity() {
    let pki = Pki::new();
    for suite in &suites() {
        let client = Arc::new(client_config(&pki, suite, true));
        let mut ends = Ends::new(server_config(&pki, suite, true), &client);
        ends.exchange().unwrap();
        let identity = ends.tls.take_learned().unwrap().identity.unwrap();
        assert_eq!(identity.common_name.as_deref(), Some("device-7"));
        assert!(identity.subject.as_deref().unwrap().contains("CN=device-7"), "{identity:?}");
        let names: Vec<&str> = identity.alternative_names.iter().map(AsRef::as_ref).collect();
        assert_eq!(names, ["device-7.example", "urn:device:7"]);
    }
}

/// The time of somebody who connects much later.
#[derive(Debug)]
struct Clock(u64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

#[test]
fn a_ticket_is_good_for_no_longer_than_the_certificate_that_was_shown_for_it() {
    // Certificates of rcgen end with the year 4095.
    let end_s = 67_090_118_400;
    let pki = Pki::new();
    for suite in &suites() {
        let client = Arc::new(client_config(&pki, suite, true));
        let ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        let come = |now_s: u64| {
            let mut server = server_config(&pki, suite, true);
            (server.ticketer, server.time_provider) = (Arc::clone(&ticketer), Arc::new(Clock(now_s)));
            let mut ends = Ends::new(server, &client);
            ends.client.writer().write_all(b"CONNECT").unwrap();
            ends.exchange().unwrap();
            let _ = ends.seal(&[]); // a ticket waits for MQTT
            ends
        };
        let before = 1_800_000_000;
        let first = come(before);
        assert_eq!(first.client.handshake_kind(), Some(HandshakeKind::Full), "{}", suite.name);
        for now_s in [before + 60, end_s] {
            let mut again = come(now_s);
            assert_eq!(again.client.handshake_kind(), Some(HandshakeKind::Resumed), "{}", suite.name);
            assert_eq!((again.end, &again.opened[..]), (None, &b"CONNECT"[..]), "{}", suite.name);
            let identity = again.tls.take_learned().unwrap().identity.unwrap();
            assert_eq!(identity.common_name.as_deref(), Some("device-7"), "who comes back is who it was");
        }
        let late = come(end_s + 1);
        assert_eq!(late.client.handshake_kind(), Some(HandshakeKind::Resumed), "{}", suite.name);
        let Some(LayerEnd::Failed(failure)) = late.end else { panic!("{}: it comes in", suite.name) };
        assert_eq!((failure.reason, &late.opened[..]), (CloseReason::TlsExpired, &b""[..]), "{}", suite.name);
    }
}

#[test]
fn whoever_shows_no_certificate_is_told_and_counted() {
    let pki = Pki::new();
    for suite in &suites() {
        let mut ends = Ends::new(server_config(&pki, suite, true), &Arc::new(client_config(&pki, suite, false)));
        let error = ends.exchange().unwrap_err();
        assert!(matches!(error, rustls::Error::AlertReceived(_)), "{}: {error}", suite.name);
        let Some(LayerEnd::Failed(failure)) = ends.end else { panic!("{}: it comes in", suite.name) };
        assert_eq!(failure.reason, CloseReason::TlsNoCertificate);
    }
}

#[test]
fn a_peer_that_does_not_accept_our_certificate_is_counted_as_that() {
    let (pki, other) = (Pki::new(), Pki::new());
    let suite = &suites()[0];
    let mut ends = Ends::new(server_config(&pki, suite, false), &Arc::new(client_config(&other, suite, false)));
    let hello = ends.of_client();
    ends.give(&hello);
    let mut out = Vec::new();
    ends.tls.seal(&[], &mut out);
    ends.read_as_client(&out).unwrap_err();
    let alert = ends.of_client();
    ends.give(&alert);
    assert!(
        matches!(ends.end, Some(LayerEnd::Failed(failure)) if failure.reason == CloseReason::TlsAlert),
        "{:?}",
        ends.end
    );
}

/// Beside what the allocator rounds up: two keys, the secrets of the next ones, and nothing of rustls.
#[test]
fn an_idle_connection_is_small() {
    let all = size_of::<Tls>() + size_of::<super::secrets::TrafficSecrets>();
    assert!(all <= 352, "{all} bytes");
}
