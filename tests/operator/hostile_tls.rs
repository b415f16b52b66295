//! Peers that abuse TLS, and what others notice of it.

#![expect(clippy::unwrap_used, reason = "a test whose files cannot be made ends there")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use crate::broker::Broker;
use crate::tls::{Authority, OpenSsl};

/// CONNECT of MQTT 3.1.1 with no keep alive, but for the letter that is its client id.
const CONNECT: [u8; 14] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1];
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PINGREQ: [u8; 2] = [0xc0, 0];
const PINGRESP: [u8; 2] = [0xd0, 0];
/// What nothing here takes, unless it fails.
const LIMIT: Duration = Duration::from_secs(30);
const STALLED: usize = 1_000;

/// A client of rustls whose records and socket the test has in its hands.
struct Peer {
    tls: ClientConnection,
    socket: TcpStream,
}

impl Peer {
    /// One that has not said anything yet.
    fn open(broker: &Broker, ca: &Authority, version: &'static SupportedProtocolVersion) -> Self {
        let pem = std::fs::read(ca.path("ca.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
        let socket = TcpStream::connect(&broker.addresses[0]).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self { tls, socket }
    }

    /// One that is a client of the broker's.
    fn connected(broker: &Broker, ca: &Authority, version: &'static SupportedProtocolVersion) -> Self {
        Self::come_as(b'h', Self::open(broker, ca, version))
    }

    fn come_as(id: u8, mut peer: Self) -> Self {
        peer.exchange(&[&CONNECT[..], &[id]].concat(), &CONNACK);
        peer
    }

    fn exchange(&mut self, bytes: &[u8], answer: &[u8]) {
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.socket);
        stream.write_all(bytes).unwrap();
        let mut got = vec![0; answer.len()];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(got, answer);
    }

    /// Only the first flight leaves, and nothing is read.
    fn stall(mut self) -> TcpStream {
        self.tls.write_tls(&mut self.socket).unwrap();
        self.socket
    }

    /// Whether the broker ends the connection, whatever it says before.
    fn is_ended(&mut self) -> bool {
        loop {
            match self.socket.read(&mut [0; 4_096]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        }
    }
}

fn broker(name: &str, ca: &Authority, more: &str) -> Broker {
    ca.issue("server", 1, 90);
    Broker::start(
        name,
        &format!("{}[node]\nsys_interval = 1\n", ca.listener("secure", &format!("allow_anonymous = true\n{more}"))),
    )
}

/// A client that was there before, and is served.
fn bystander(broker: &Broker, ca: &Authority) -> Peer {
    Peer::come_as(b'b', Peer::open(broker, ca, &rustls::version::TLS13))
}

#[test]
fn a_flood_of_key_updates_ends_its_connection_and_nobody_elses() {
    let ca = Authority::new("key-updates");
    let broker = broker("tls-key-updates", &ca, "");
    let mut other = bystander(&broker, &ca);
    let mut peer = Peer::connected(&broker, &ca, &rustls::version::TLS13);
    // As many as an honest client may send, each beside a packet: the answer is under new keys each time.
    for _ in 0..200 {
        peer.tls.refresh_traffic_keys().unwrap();
        peer.exchange(&PINGREQ, &PINGRESP);
    }
    let before_kib = broker.resident_kib();
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < LIMIT {
        peer.tls.refresh_traffic_keys().unwrap();
        sent += 1;
        if peer.tls.write_tls(&mut peer.socket).is_err() {
            break; // it is cut off
        }
        if sent % 100 == 0 {
            other.exchange(&PINGREQ, &PINGRESP);
        }
        if sent >= 20_000 {
            break;
        }
    }
    assert!(peer.is_ended(), "after {sent} key updates");
    let line = broker.lines_to("client_disconnected").pop().unwrap();
    assert!(line.contains("client=h") && line.contains(" reason=") && line.contains("TLS"), "{line}");
    other.exchange(&PINGREQ, &PINGRESP);
    let grown = broker.resident_kib().saturating_sub(before_kib);
    assert!(grown < 16 * 1_024, "{grown} KiB more");
}

#[test]
fn a_record_that_is_too_long_ends_its_connection_before_it_is_whole() {
    let ca = Authority::new("records");
    let broker = broker("tls-records", &ca, "");
    let mut other = bystander(&broker, &ca);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        // In place of a handshake: its header alone is enough.
        let mut early = Peer::open(&broker, &ca, version);
        early.socket.write_all(&[22, 3, 1, 0x48, 0x01]).unwrap();
        assert!(early.is_ended(), "{version:?}");
        let mut late = Peer::connected(&broker, &ca, version);
        late.socket.write_all(&[23, 3, 3, 0x48, 0x01]).unwrap();
        assert!(late.is_ended(), "{version:?}");
        // The longest that may be, of bytes that nobody has sealed.
        let mut forged = Peer::connected(&broker, &ca, version);
        forged.socket.write_all(&[23, 3, 3, 0x40, 0x00]).unwrap();
        let _ = forged.socket.write_all(&vec![0xa5; 0x4000]);
        assert!(forged.is_ended(), "{version:?}");
        other.exchange(&PINGREQ, &PINGRESP);
    }
}

#[test]
fn renegotiation_is_refused_and_others_are_served() {
    let ca = Authority::new("renegotiation");
    let broker = broker("tls-renegotiation", &ca, "");
    let mut other = bystander(&broker, &ca);
    // Not quiet: `R` on its standard input has it ask for a new handshake.
    let mut child = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-connect", &broker.addresses[0], "-CAfile", &ca.path("ca.pem")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("Verify return code") {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "the handshake is done");
    }
    child.stdin.as_mut().unwrap().write_all(b"R\n").unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < LIMIT, "its connection is ended");
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("RENEGOTIATING"), "{status}: {said}");
    let refused = broker.lines_to("connect_refused").pop().unwrap();
    assert!(refused.contains("it asks for a new TLS handshake"), "{refused}");
    other.exchange(&PINGREQ, &PINGRESP);
    assert!(OpenSsl::connect(&broker.addresses[0], &["-tls1_2"]).come_in(), "another one comes in");
}

/// How long so many PINGs took, one after the other.
fn pings(peer: &mut Peer, count: usize) -> Vec<Duration> {
    let ping = |_| {
        let begun = Instant::now();
        peer.exchange(&PINGREQ, &PINGRESP);
        begun.elapsed()
    };
    (0..count).map(ping).collect()
}

/// What 99 of 100 did not exceed.
fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

/// This process may have as many sockets as it can get.
fn take_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

#[test]
fn a_thousand_stalled_handshakes_keep_no_client_waiting() {
    take_descriptors();
    let ca = Authority::new("stalled");
    let broker = broker("tls-stalled", &ca, "tls_handshake_timeout = 60\nconnect_timeout = 60\n");
    let mut other = bystander(&broker, &ca);
    let quiet = p99(pings(&mut other, 2_000));
    let mut stalled = Vec::with_capacity(STALLED);
    let mut meanwhile = Vec::new();
    for number in 0..STALLED {
        if number % 2 == 0 {
            stalled.push(Peer::open(&broker, &ca, &rustls::version::TLS13).stall());
        } else {
            // The header of a record whose rest never comes.
            let mut socket = TcpStream::connect(&broker.addresses[0]).unwrap();
            socket.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
            stalled.push(socket);
        }
        if number % 100 == 99 {
            meanwhile.extend(pings(&mut other, 200));
        }
    }
    let (meanwhile, beside) = (p99(meanwhile), p99(pings(&mut other, 2_000)));
    eprintln!(
        "measured: p99 of a PING {quiet:?} in quiet, {meanwhile:?} while they come, {beside:?} beside {STALLED} stalled handshakes"
    );
    // Handshakes that were begun cost a thread of their own; what is left is the noise of a busy machine.
    let bound = quiet * 3 + Duration::from_millis(200);
    assert!(beside <= bound && meanwhile <= bound, "{quiet:?} in quiet, {meanwhile:?} and {beside:?} beside them");
    assert!(OpenSsl::connect(&broker.addresses[0], &[]).come_in(), "another one comes in");
    drop(stalled);
}

#[test]
fn beyond_as_many_half_open_handshakes_as_may_be_the_oldest_make_way() {
    take_descriptors();
    let ca = Authority::new("half-open");
    let broker =
        broker("tls-half-open", &ca, "tls_half_open_max = 20\ntls_handshake_timeout = 60\nconnect_timeout = 60\n");
    let mut other = bystander(&broker, &ca);
    let mut stalled: Vec<TcpStream> =
        (0..200).map(|_| Peer::open(&broker, &ca, &rustls::version::TLS13).stall()).collect();
    let refused = broker.lines_to("reason=tls_half_open").pop().unwrap();
    assert!(refused.contains("connect_refused") && refused.contains("made way for a newer one"), "{refused}");
    // Twenty of each shard at most are left, and whoever answers comes in all the while.
    for _ in 0..10 {
        Peer::connected(&broker, &ca, &rustls::version::TLS13).exchange(&PINGREQ, &PINGRESP);
    }
    other.exchange(&PINGREQ, &PINGRESP);
    let is_open = |socket: &mut TcpStream| {
        socket.set_nonblocking(true).unwrap();
        loop {
            match socket.read(&mut [0; 8_192]) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    };
    let begun = Instant::now();
    stalled.retain_mut(is_open);
    while stalled.len() > 20 {
        assert!(begun.elapsed() < LIMIT, "the others have been closed");
        std::thread::sleep(Duration::from_millis(20));
        stalled.retain_mut(is_open);
    }
}
