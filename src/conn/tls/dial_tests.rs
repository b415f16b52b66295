//! The layer below a link that a node dials, without sockets: the layer of a listener of ours is at the other end.

use super::dial::TlsDial;
use super::handshake::Handshake;
use super::layer::Tls;
use super::tests::{Pki, node_dialler, node_listener};
use super::{TlsDialler, TlsListener};
use crate::conn::layer::{LayerEnd, WireLayer};
use crate::limits::TLS_HANDSHAKE_INPUT_MAX_BYTES;
use crate::telemetry::CloseReason;

const HELLO: &[u8] = b"HELLO of a node";

/// A layer whose handshakes somebody runs.
trait Shakes: WireLayer {
    fn take(&mut self) -> Option<Box<Handshake>>;
    fn give_back(&mut self, handshake: Handshake);
}

impl Shakes for TlsDial {
    fn take(&mut self) -> Option<Box<Handshake>> {
        self.take_handshake()
    }

    fn give_back(&mut self, handshake: Handshake) {
        self.take_back(handshake);
    }
}

impl Shakes for Tls {
    fn take(&mut self) -> Option<Box<Handshake>> {
        self.take_handshake()
    }

    fn give_back(&mut self, handshake: Handshake) {
        self.take_back(handshake);
    }
}

/// One end of a connection.
struct ShakenEnd<L> {
    layer: L,
    opened: Vec<u8>,
    end: Option<LayerEnd>,
    handshakes: usize,
}

impl<L: Shakes> ShakenEnd<L> {
    const fn new(layer: L) -> Self {
        Self { layer, opened: Vec::new(), end: None, handshakes: 0 }
    }

    fn open(&mut self, mut bytes: Vec<u8>) {
        let found = self.layer.open(&mut bytes);
        self.end = self.end.or(found);
        self.opened.append(&mut bytes);
    }

    /// Runs what is to be run.
    fn run(&mut self) {
        while let Some(mut handshake) = self.layer.take() {
            self.handshakes += 1;
            handshake.run();
            self.layer.give_back(*handshake);
            self.open(Vec::new());
        }
    }

    fn hear(&mut self, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks(piece) {
            self.open(piece.to_vec());
            self.run();
        }
    }

    /// What it sends, with `plain` of the layer above.
    fn say(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if !plain.is_empty() || self.layer.has_own_bytes() {
            self.layer.seal(plain, &mut out);
        }
        out
    }

    fn failure(&self) -> (CloseReason, &'static str) {
        match self.end {
            Some(LayerEnd::Failed(failure)) => (failure.reason, failure.text),
            other => panic!("{other:?}"),
        }
    }
}

/// Two nodes, of which one has dialled and has said HELLO.
struct TlsPair {
    dials: ShakenEnd<TlsDial>,
    accepts: ShakenEnd<Tls>,
    piece: usize,
}

impl TlsPair {
    fn new(dialler: &TlsDialler, listener: &TlsListener, piece: usize) -> Self {
        let dials = ShakenEnd::new(TlsDial::new(dialler, "192.0.2.1".parse().unwrap()));
        let mut pair = Self { dials, accepts: ShakenEnd::new(Tls::new(listener)), piece };
        assert!(pair.dials.say(HELLO).is_empty() && !pair.dials.layer.has_own_bytes(), "it cannot be sealed yet");
        pair.dials.run();
        pair
    }

    /// Both until neither has anything to say.
    fn exchange(&mut self) {
        loop {
            let there = self.dials.say(&[]);
            self.accepts.hear(&there, self.piece);
            let back = self.accepts.say(&[]);
            self.dials.hear(&back, self.piece);
            if there.is_empty() && back.is_empty() {
                return;
            }
        }
    }
}

#[test]
fn what_is_said_at_once_comes_when_it_may_be_sealed() {
    let pki = Pki::new();
    for piece in [usize::MAX, 1, 100] {
        let mut pair = TlsPair::new(&node_dialler(Some(&pki), &pki), &node_listener(&pki, &pki), piece);
        pair.exchange();
        let TlsPair { dials, accepts, .. } = &mut pair;
        assert_eq!((&accepts.opened[..], accepts.end, dials.end), (HELLO, None, None));
        let learned = accepts.layer.take_learned().unwrap();
        assert_eq!(learned.identity.unwrap().common_name.as_deref(), Some("device-7"));
        let agreed = dials.layer.agreed().unwrap();
        assert_eq!((agreed.version(), Some(agreed)), ("1.3", accepts.layer.agreed()));
        assert!(!dials.layer.is_shaking() && !dials.layer.has_own_bytes());
        if piece == usize::MAX {
            assert_eq!((dials.handshakes, accepts.handshakes), (2, 2), "one for each flight");
        }
        for length in [1_usize, 16_384, 50_000] {
            let plain: Vec<u8> = (0..length).map(|at| (at * 7) as u8).collect();
            accepts.opened.clear();
            accepts.hear(&dials.say(&plain), piece);
            dials.opened.clear();
            dials.hear(&accepts.say(&plain), piece);
            assert!(accepts.opened == plain && dials.opened == plain, "{length} bytes");
        }
        dials.layer.end(CloseReason::ServerShutdown);
        accepts.hear(&dials.say(b"last"), piece);
        assert!(accepts.opened.ends_with(b"last") && dials.say(b"more").is_empty());
        assert_eq!(accepts.end, Some(LayerEnd::Clean));
    }
}

#[test]
fn who_has_no_certificate_of_the_authority_is_refused_and_both_ends_say_why() {
    let (pki, other, expired) = (Pki::new(), Pki::new(), Pki::expired());
    let cases = [
        // Of the one that accepts.
        (
            node_dialler(Some(&expired), &expired),
            node_listener(&expired, &expired),
            (CloseReason::LinkTls, "its certificate has expired"),
            (CloseReason::TlsAlert, "(alert certificate_expired)"),
        ),
        (
            node_dialler(Some(&pki), &pki),
            node_listener(&other, &pki),
            (CloseReason::LinkTls, "from no authority of --cluster-link-ca"),
            (CloseReason::TlsAlert, "with an alert"),
        ),
        // Of the one that dials.
        (
            node_dialler(Some(&expired), &pki),
            node_listener(&pki, &expired),
            (CloseReason::TlsAlert, "finds this node's certificate expired"),
            (CloseReason::TlsExpired, "has expired"),
        ),
        (
            node_dialler(Some(&other), &pki),
            node_listener(&pki, &pki),
            (CloseReason::TlsAlert, "with an alert"),
            (CloseReason::TlsUnknownCa, "from no authority"),
        ),
        (
            node_dialler(None, &pki),
            node_listener(&pki, &pki),
            (CloseReason::TlsAlert, "was shown none"),
            (CloseReason::TlsNoCertificate, "shows no client certificate"),
        ),
    ];
    for (dialler, listener, dials, accepts) in cases {
        for piece in [usize::MAX, 1] {
            let mut pair = TlsPair::new(&dialler, &listener, piece);
            pair.exchange();
            assert!(pair.accepts.opened.is_empty(), "nothing is heard of who is not believed");
            for ((reason, text), expected) in [(pair.dials.failure(), dials), (pair.accepts.failure(), accepts)] {
                assert_eq!(reason, expected.0, "{text}");
                assert!(text.contains(expected.1), "{text}: {}", expected.1);
            }
        }
    }
}

#[test]
fn who_does_not_answer_with_tls_is_told_apart() {
    let pki = Pki::new();
    let fresh = || {
        let mut dials = ShakenEnd::new(TlsDial::new(&node_dialler(Some(&pki), &pki), "::1".parse().unwrap()));
        dials.run();
        assert!(!dials.say(&[]).is_empty());
        dials
    };
    for (bytes, text) in [
        (&b"SSH-2.0-OpenSSH"[..], "it does not answer with TLS"),
        (&[0x20, 2, 0, 0][..], "it does not answer with TLS"),
        (&[22, 3, 3, 0xff, 0xff][..], "its TLS record is too long"),
        (&[22, 9][..], "it may go on"),
        (&[21, 3, 3, 0, 2, 2, 40][..], "it ended TLS with an alert"),
        (&[22, 3, 3, 0, 4, 14, 0, 0, 0][..], "it breaks the rules of TLS"),
    ] {
        let mut dials = fresh();
        dials.hear(bytes, usize::MAX);
        match dials.end {
            Some(LayerEnd::Failed(failure)) => assert!(failure.text.contains(text), "{bytes:?}: {}", failure.text),
            None => assert_eq!(bytes, [22, 9], "it may go on"),
            end => panic!("{bytes:?}: {end:?}"),
        }
        assert!(dials.opened.is_empty());
    }
    // A record that is never whole.
    let mut dials = fresh();
    dials.hear(&[22, 3, 3, 0x40, 0, 1], 1);
    assert!(dials.end.is_none() && dials.handshakes == 1, "it is not run for parts of a record");
    let mut count = 0;
    let mut dials = fresh();
    // A message of 64 KiB that never ends.
    let mut record = vec![22, 3, 3, 0x40, 0, 2, 0, 0xff, 0xff];
    record.resize(5 + 0x4000, 0);
    while dials.end.is_none() {
        dials.hear(&record, usize::MAX);
        count += record.len();
        assert!(count <= 2 * TLS_HANDSHAKE_INPUT_MAX_BYTES, "it is cut off");
    }
}

#[test]
fn what_is_damaged_on_its_way_is_survived_and_nothing_is_said_to_it() {
    let pki = Pki::new();
    let (dialler, listener) = (node_dialler(Some(&pki), &pki), node_listener(&pki, &pki));
    let flight = {
        let mut pair = TlsPair::new(&dialler, &listener, usize::MAX);
        pair.accepts.hear(&pair.dials.say(&[]), usize::MAX);
        pair.accepts.say(&[]).len()
    };
    for at in (0..flight).step_by(29) {
        let mut pair = TlsPair::new(&dialler, &listener, usize::MAX);
        pair.accepts.hear(&pair.dials.say(&[]), usize::MAX);
        let mut flight = pair.accepts.say(&[]);
        if let Some(byte) = flight.get_mut(at) {
            *byte ^= 0x10;
        }
        pair.dials.hear(&flight, 1_000);
        pair.exchange();
        // What the record of the change of ciphers has in it is for nobody.
        assert!(pair.accepts.opened.is_empty() || pair.dials.end.is_none(), "damaged at {at}");
        assert!(pair.dials.opened.is_empty());
    }
}
