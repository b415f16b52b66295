//! A datagram is a message of MQTT-SN or none; what is one is written back as it came.

#![no_main]

use dunlin::conn::sn::{SnMessage, split};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let Ok(message) = SnMessage::decode(datagram) else { return };
    let (kind, _) = split(datagram).expect("what was read has a header");
    assert_eq!(kind, message.kind());
    let mut written = Vec::new();
    message.encode(&mut written);
    let again = SnMessage::decode(&written).expect("what is written is read");
    // Return codes that are reserved become the one for refusals, and flags that mean nothing may go.
    assert_eq!(again.kind(), kind);
    assert!(written.len() <= datagram.len().max(4));
    assert!(!format!("{message:?}").is_empty());
});
