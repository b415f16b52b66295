//! The peer's end of the layer that exists for tests (`src/conn/inverting.rs`): every byte is inverted, and the layer says
//! words of its own, which begin with an escape.

/// Begins a word of the layer, on the wire. A byte that would come to it is written twice.
pub(crate) const ESCAPE: u8 = 0xa5;

/// Bytes as they are on the wire.
pub(crate) fn to_wire(bytes: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(bytes.len() + 8);
    for byte in bytes {
        wire.push(!byte);
        if !byte == ESCAPE {
            wire.push(ESCAPE);
        }
    }
    wire
}

/// Takes bytes off the wire, wherever they are cut.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    is_escaped: bool,
    /// The layer has said hello.
    has_begun: bool,
    /// The layer has said goodbye: nothing may come behind.
    has_ended: bool,
}

impl Reader {
    /// What `wire` comes to without the words of the layer.
    pub(crate) fn read(&mut self, wire: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(wire.len());
        for &byte in wire {
            assert!(!self.has_ended, "the layer sends {byte:#x} behind its goodbye");
            match (std::mem::take(&mut self.is_escaped), byte) {
                (false, ESCAPE) => self.is_escaped = true,
                (true, b'h') => assert!(!std::mem::replace(&mut self.has_begun, true), "the layer says hello twice"),
                (true, b'a') => assert!(self.has_begun, "an acknowledgement comes before its hello"),
                (true, b'e') => self.has_ended = true,
                (true, word) if word != ESCAPE => panic!("the layer has no word {word:#x}"),
                _ => {
                    assert!(self.has_begun, "{byte:#x} comes before its hello");
                    bytes.push(!byte);
                }
            }
        }
        bytes
    }
}
