//! Whatever decodes is written as something that decodes to the same, and is then written the same again.

#![no_main]

use dunlin::codec::{Packet, Side, decode, frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, stream)) = input.split_first() else { return };
    for side in [Side::Server, Side::Client] {
        for frame in support::frames(stream) {
            let version = support::version(choice);
            let Ok(packet) = decode(frame, version, side) else { continue };
            let version = if let Packet::Connect(connect) = packet { connect.version } else { version };
            let mut written = Vec::new();
            packet.encode(version, &mut written);
            let (again, len) = frame::next(&written, u32::MAX).expect("a valid header").expect("a whole packet");
            assert_eq!(len, written.len());
            let read = decode(again, version, side).expect("what was written decodes");
            assert_eq!(read, packet);
            let mut rewritten = Vec::new();
            read.encode(version, &mut rewritten);
            assert_eq!(rewritten, written);
        }
    }
});
