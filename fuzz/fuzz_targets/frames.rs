//! A stream gives the same packets and ends in the same way however it is split, and within its size limit.

#![no_main]

use dunlin::codec::{DecodeError, frame};
use libfuzzer_sys::fuzz_target;

/// Packets by first byte and body, and how the stream ended.
type Cut = (Vec<(u8, Vec<u8>)>, Result<usize, DecodeError>);

fn cut_whole(mut stream: &[u8], max_size_bytes: u32) -> Cut {
    let mut packets = Vec::new();
    loop {
        match frame::next(stream, max_size_bytes) {
            Ok(Some((frame, len))) => {
                assert!(len <= max_size_bytes as usize);
                assert_eq!(frame::total_len(stream, max_size_bytes), Ok(Some(len)));
                packets.push((frame.first, frame.body.to_vec()));
                stream = &stream[len..];
            }
            Ok(None) => return (packets, Ok(stream.len())),
            Err(error) => return (packets, Err(error)),
        }
    }
}

/// The same, fed in pieces whose sizes come from `sizes`.
fn cut_in_pieces(mut stream: &[u8], max_size_bytes: u32, mut sizes: u32) -> Cut {
    let (mut buffer, mut packets) = (Vec::new(), Vec::new());
    while !stream.is_empty() {
        sizes = sizes.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (piece, rest) = stream.split_at((1 + (sizes >> 24) as usize % 19).min(stream.len()));
        buffer.extend_from_slice(piece);
        stream = rest;
        let mut read = 0;
        loop {
            match frame::next(&buffer[read..], max_size_bytes) {
                Ok(Some((frame, len))) => {
                    packets.push((frame.first, frame.body.to_vec()));
                    read += len;
                }
                Ok(None) => break,
                Err(error) => return (packets, Err(error)),
            }
        }
        buffer.drain(..read);
    }
    (packets, Ok(buffer.len()))
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, stream)) = input.split_first() else { return };
    let max_size_bytes = [16, 300, 20_000, u32::MAX][usize::from(choice % 4)];
    let whole = cut_whole(stream, max_size_bytes);
    assert_eq!(cut_in_pieces(stream, max_size_bytes, u32::from(choice) << 20), whole);
    assert_eq!(cut_in_pieces(stream, max_size_bytes, !u32::from(choice)), whole);
});
