//! What a client may send a server: decoding never panics, and what decodes keeps its promises.

#![no_main]

use dunlin::codec::{Connect, Side};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, stream)) = input.split_first() else { return };
    support::decode_all(stream, support::version(choice), Side::Server);
    for frame in support::frames(stream) {
        if let Err(refusal) = Connect::decode(frame) {
            let mut out = Vec::new();
            refusal.write_connack(&mut out);
            assert!(out.is_empty() || (out[0] == 0x20 && out.len() == 2 + usize::from(out[1]) && out[3] > 0));
        }
    }
});
