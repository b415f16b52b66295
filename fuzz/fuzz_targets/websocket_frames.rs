//! Frames come to the same bytes, pings and end however they are split, and what comes out was sent.

#![no_main]

use dunlin::conn::websocket::{Deframer, Piece, Violation};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    data: Vec<u8>,
    pings: Vec<Vec<u8>>,
    closes: Vec<Option<u16>>,
    violation: Option<Violation>,
}

fn deframe(stream: &[u8], mut size: impl FnMut() -> usize) -> Outcome {
    let (mut deframer, mut outcome) = (Deframer::default(), Outcome::default());
    let mut stream = stream.to_vec();
    let mut rest = &mut stream[..];
    while !rest.is_empty() {
        let (mut piece, behind) = rest.split_at_mut(size().clamp(1, rest.len()));
        rest = behind;
        while !piece.is_empty() {
            let taken = match deframer.next(piece) {
                Ok((taken, read)) => {
                    match read {
                        Piece::Data(data) => outcome.data.extend_from_slice(data),
                        Piece::Ping(payload) => outcome.pings.push(payload.as_slice().to_vec()),
                        Piece::Close(code) => outcome.closes.push(code),
                        Piece::Nothing => {}
                    }
                    taken
                }
                Err(violation) => {
                    assert!(!violation.text().is_empty());
                    outcome.violation = Some(violation);
                    return outcome;
                }
            };
            assert!(taken > 0 && taken <= piece.len());
            piece = &mut piece[taken..];
        }
    }
    outcome
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, stream)) = input.split_first() else { return };
    let whole = deframe(stream, || usize::MAX);
    assert!(whole.data.len() + whole.pings.iter().map(Vec::len).sum::<usize>() <= stream.len());
    assert_eq!(deframe(stream, || 1), whole);
    let mut sizes = u32::from(choice) << 20;
    let some = deframe(stream, || {
        sizes = sizes.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        1 + (sizes >> 24) as usize % 19
    });
    assert_eq!(some, whole);
});
