//! Peers that keep to no rule.

use super::*;
use crate::limits::{TLS_EMPTY_RECORDS_MAX, TLS_HANDSHAKE_INPUT_MAX_BYTES};

fn fresh() -> (Pki, Vec<Suite>) {
    (Pki::new(), suites())
}

fn failure(ends: &Ends) -> CloseReason {
    match ends.end {
        Some(LayerEnd::Failed(failure)) => failure.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_tls_costs_no_handshake() {
    let (pki, suites) = fresh();
    let table: [(&[u8], CloseReason); 7] = [
        (&[0x10, 12, 0, 4], CloseReason::TlsPlainText),
        (&[0x10], CloseReason::TlsPlainText),
        (b"GET / HTTP/1.1\r\n", CloseReason::TlsPlainText),
        (&[0x80, 0x2e, 1, 0, 2], CloseReason::TlsPlainText),
        (&[23, 3, 3, 0, 1, 0], CloseReason::TlsPlainText),
        (&[22, 9, 9, 0, 1], CloseReason::TlsFailed),
        (&[22, 3, 1, 0xff, 0xff], CloseReason::TlsFailed),
    ];
    for (bytes, reason) in table {
        let mut ends = Ends::of(&pki, &suites[0]);
        ends.give(bytes);
        assert_eq!((failure(&ends), ends.handshakes), (reason, 0), "{bytes:?}");
        assert!(!ends.tls.has_own_bytes());
    }
}

#[test]
fn a_handshake_that_never_ends_is_cut_off() {
    let (pki, suites) = fresh();
    let mut ends = Ends::of(&pki, &suites[0]);
    // One message of a megabyte, in records that are all right.
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.extend([1, 0x0f, 0xff, 0xff]);
    record.resize(5 + 0x4000, 0);
    let mut given = 0;
    while ends.end.is_none() {
        ends.give(&record);
        given += record.len();
        assert!(given <= TLS_HANDSHAKE_INPUT_MAX_BYTES + 2 * record.len(), "{given} bytes are kept");
    }
    assert_eq!(failure(&ends), CloseReason::TlsFailed);
}

#[test]
fn close_notify_right_behind_client_hello_keeps_nobody_busy() {
    let (pki, suites) = fresh();
    for suite in &suites {
        let mut ends = Ends::of(&pki, suite);
        let mut bytes = ends.of_client();
        bytes.extend([21, 3, 3, 0, 2, 1, 0]);
        ends.give(&bytes);
        // TLS 1.2 takes it for a warning among others, and waits; the time for CONNECT bounds that.
        assert_eq!((ends.end.is_some(), ends.handshakes), (suite.name.starts_with("TLS13"), 1), "{}", suite.name);
    }
}

#[test]
fn any_byte_of_a_record_that_was_changed_is_noticed() {
    let (pki, suites) = fresh();
    for suite in &suites {
        let mut ends = Ends::of(&pki, suite);
        ends.exchange().unwrap();
        ends.client.writer().write_all(b"to be changed").unwrap();
        let record = ends.of_client();
        for at in 0..record.len() {
            if (3..5).contains(&at) {
                continue; // a length that waits for more, or cuts off
            }
            let mut other = Ends::of(&pki, suite);
            other.exchange().unwrap();
            other.client.writer().write_all(b"to be changed").unwrap();
            let mut record = other.of_client();
            record[at] ^= 0x40;
            other.give(&record);
            assert!(
                matches!(other.end, Some(LayerEnd::Failed(_))) && other.opened.is_empty(),
                "{} byte {at}",
                suite.name
            );
            assert!(other.tls.has_own_bytes(), "an alert");
            assert!(matches!(other.seal(&[]), Err(rustls::Error::AlertReceived(_))), "{} byte {at}", suite.name);
        }
    }
}

#[test]
fn a_record_is_opened_once() {
    let (pki, suites) = fresh();
    for suite in &suites {
        let mut ends = Ends::of(&pki, suite);
        ends.exchange().unwrap();
        ends.client.writer().write_all(b"once").unwrap();
        let record = ends.of_client();
        ends.give(&record);
        ends.expect(b"once", &suite.name);
        ends.give(&record);
        assert_eq!(failure(&ends), CloseReason::Malformed, "{}", suite.name);
        assert!(ends.opened.is_empty());
    }
}

#[test]
fn what_announces_too_much_is_refused_by_its_header() {
    let (pki, suites) = fresh();
    for suite in &suites {
        let mut ends = Ends::of(&pki, suite);
        ends.exchange().unwrap();
        ends.give(&[23, 3, 3, 0x4a, 0]);
        assert_eq!(failure(&ends), CloseReason::Malformed, "{}", suite.name);
    }
}

#[test]
fn key_updates_without_end_are_not_followed() {
    let (pki, suites) = fresh();
    for suite in suites.iter().filter(|suite| suite.name.starts_with("TLS13")) {
        let mut ends = Ends::of(&pki, suite);
        ends.exchange().unwrap();
        ends.seal(b"CONNACK, and a ticket").unwrap();
        for update in 0..=TLS_EMPTY_RECORDS_MAX {
            assert_eq!(ends.end, None, "{} after {update}", suite.name);
            ends.client.refresh_traffic_keys().unwrap();
            let bytes = ends.of_client();
            ends.give(&bytes);
        }
        assert_eq!(failure(&ends), CloseReason::ProtocolError);
        // One answer for all that came before it.
        let mut out = Vec::new();
        ends.tls.seal(&[], &mut out);
        assert!(out.len() < 100, "{} bytes", out.len());
    }
}

#[test]
fn plain_records_behind_the_handshake_are_refused() {
    let (pki, suites) = fresh();
    for suite in &suites {
        for record in [&[20, 3, 3, 0, 1, 1][..], &[21, 3, 3, 0, 2, 1, 0], &[22, 3, 3, 0, 4, 0, 0, 0, 0]] {
            let mut ends = Ends::of(&pki, suite);
            ends.exchange().unwrap();
            ends.give(record);
            assert!(matches!(ends.end, Some(LayerEnd::Failed(_))), "{} {record:?}", suite.name);
        }
    }
}

#[test]
fn a_handshake_that_nobody_waits_for_is_not_run() {
    let (pki, suites) = fresh();
    let mut ends = Ends::of(&pki, &suites[0]);
    let mut hello = ends.of_client();
    ends.tls.open(&mut hello);
    let mut handshake = ends.tls.take_handshake().unwrap();
    assert!(handshake.is_wanted());
    drop(ends.tls);
    assert!(!handshake.is_wanted());
    handshake.run();
    assert!(handshake.bytes.output.is_empty());
}

#[test]
fn an_old_version_is_told_apart() {
    let (pki, suites) = fresh();
    let old: Vec<&Suite> = suites.iter().filter(|suite| suite.name.starts_with("TLS_")).collect();
    let new = suites.iter().find(|suite| suite.name.starts_with("TLS13")).unwrap();
    let mut ends = Ends::new(server_config(&pki, new, false), &Arc::new(client_config(&pki, old[0], false)));
    ends.exchange().unwrap_err();
    assert_eq!(failure(&ends), CloseReason::TlsOldVersion);
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// What a client has to send, with bytes changed, left out or put in between.
fn damage(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(bytes.len());
        match numbers.below(4) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(8),
            1 if !bytes.is_empty() => drop(bytes.remove(at)),
            2 => bytes.insert(at, numbers.below(256) as u8),
            _ => bytes.truncate(at),
        }
    }
}

#[test]
fn damaged_handshakes_and_records_are_survived_wherever_they_are_cut() {
    let (pki, suites) = fresh();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut ended = 0;
    for round in 0..600 {
        let suite = &suites[round % suites.len()];
        let asks = numbers.below(2) == 0;
        let client = Arc::new(client_config(&pki, suite, asks));
        let mut ends = Ends::new(server_config(&pki, suite, asks), &client);
        ends.piece = [usize::MAX, 1, 1 + numbers.below(400)][numbers.below(3)];
        // 0 and 1 damage a flight of the handshake, the others what comes behind it.
        let damaged = numbers.below(6);
        for flight in 0..8 {
            if flight >= 2 && !ends.client.is_handshaking() {
                let plain = vec![b'x'; numbers.below(2_000)];
                ends.client.writer().write_all(&plain).unwrap();
            }
            let mut bytes = ends.of_client();
            if flight == damaged {
                damage(&mut bytes, &mut numbers);
            }
            ends.give(&bytes);
            if ends.end.is_some() || ends.seal(&[]).is_err() {
                break;
            }
        }
        assert!(ends.opened.iter().all(|&byte| byte == b'x'), "nothing else was sent");
        ended += usize::from(ends.end.is_some());
        ends.tls.end(CloseReason::Malformed);
        let mut out = Vec::new();
        ends.tls.seal(b"", &mut out);
        assert!(out.len() <= 4_096, "{} bytes of last words", out.len());
    }
    assert!(ended > 300, "{ended} of them were noticed at once");
}
