//! What a server may send a client: decoding never panics, and what decodes keeps its promises.

#![no_main]

use dunlin::codec::Side;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, stream)) = input.split_first() else { return };
    support::decode_all(stream, support::version(choice), Side::Client);
});
