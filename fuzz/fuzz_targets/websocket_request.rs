//! A request for a WebSocket is granted or refused alike however it is split, and is answered in either case.

#![no_main]

use dunlin::conn::websocket::{UpgradeAnswer, UpgradeRefusal, UpgradeRequest, UpgradeGrant, UpgradeRules};
use dunlin::settings::Networks;
use libfuzzer_sys::fuzz_target;

fn take(stream: &[u8], size: usize, rules: &UpgradeRules<'_>) -> Option<(usize, Result<UpgradeGrant, UpgradeRefusal>)> {
    let mut request = UpgradeRequest::default();
    let mut before = 0;
    for piece in stream.chunks(size) {
        if let Some((taken, requested)) = request.take(piece, "192.0.2.1".parse().ok(), rules) {
            assert!(taken <= piece.len());
            return Some((before + taken, requested));
        }
        before += piece.len();
    }
    None
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, stream)) = input.split_first() else { return };
    let origins = ["https://console.example".to_owned()];
    let proxies = Networks::Some(["192.0.2.0/24".parse().expect("a network")].into());
    let rules = UpgradeRules { path: "/mqtt", origins: (choice & 1 == 0).then_some(&origins), proxies: &proxies };
    let whole = take(stream, stream.len().max(1), &rules);
    let split = take(stream, 1 + usize::from(choice >> 1), &rules);
    // Where it is refused by its first bytes, how many of the others have come by then is a matter of the split.
    assert_eq!(whole.map(|(_, requested)| requested), split.map(|(_, requested)| requested));
    let mut answer = Vec::new();
    match whole {
        Some((taken, Ok(requested))) => {
            assert_eq!(split.map(|(taken, _)| taken), Some(taken));
            UpgradeAnswer::Switching(&requested).write_to(&mut answer);
            assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n"));
        }
        Some((_, Err(refusal))) => {
            UpgradeAnswer::Page(refusal, &rules).write_to(&mut answer);
            assert!(answer.starts_with(b"HTTP/1.1 ") && !answer.starts_with(b"HTTP/1.1 101"));
        }
        None => {}
    }
});
