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
    assert!(handshake.output.is_empty());
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
