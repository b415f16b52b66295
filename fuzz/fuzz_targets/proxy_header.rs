//! A PROXY header says the same however it is split, and a cut one says nothing.

#![no_main]

use dunlin::conn::proxy_header::{BadProxyHeader, Proxied, ProxyHeaderReader};
use libfuzzer_sys::fuzz_target;

fn take(stream: &[u8], size: usize) -> Result<Option<(usize, Proxied)>, BadProxyHeader> {
    let mut reader = ProxyHeaderReader::default();
    let mut before = 0;
    for piece in stream.chunks(size) {
        if let Some((taken, proxied)) = reader.take(piece)? {
            assert!(taken <= piece.len());
            return Ok(Some((before + taken, proxied)));
        }
        before += piece.len();
    }
    Ok(None)
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, stream)) = input.split_first() else { return };
    let whole = take(stream, stream.len().max(1));
    assert_eq!(take(stream, 1), whole);
    assert_eq!(take(stream, 1 + usize::from(choice)), whole);
    if let Ok(Some((len, _))) = whole {
        assert_eq!(take(&stream[..len - 1], usize::MAX), Ok(None));
    }
});
