//! The proof that the broker has read the request as one for a WebSocket (RFC 6455, 4.2.2).

use sha1_smol::Sha1;

/// What a server appends to the client's key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes of `Sec-WebSocket-Accept`.
pub(super) const ACCEPT_BYTES: usize = 28;

/// A client's key: 16 random bytes in Base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key([u8; 24]);

impl Key {
    /// Reads the value of `Sec-WebSocket-Key`.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let key: &[u8; 24] = value.trim_ascii().try_into().ok()?;
        let is_base64 = key[..22].iter().all(|byte| ALPHABET.contains(byte)) && key[22..] == *b"==";
        // The last letter before the padding has four bits that mean nothing and are zero.
        let is_whole = ALPHABET.iter().position(|letter| *letter == key[21]).is_some_and(|value| value % 16 == 0);
        (is_base64 && is_whole).then_some(Self(*key))
    }

    /// The value of `Sec-WebSocket-Accept`.
    pub(super) fn accept(self) -> [u8; ACCEPT_BYTES] {
        let mut hash = Sha1::new();
        hash.update(&self.0);
        hash.update(GUID);
        base64(hash.digest().bytes())
    }
}

fn base64(bytes: [u8; 20]) -> [u8; ACCEPT_BYTES] {
    let mut text = [b'='; ACCEPT_BYTES];
    for (three, four) in bytes.chunks(3).zip(text.chunks_mut(4)) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for (at, letter) in four.iter_mut().take(three.len() + 1).enumerate() {
            *letter = ALPHABET[(bits >> (18 - 6 * at)) as usize & 63];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_is_answered_as_it_says() {
        let key = Key::read(b" dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        assert_eq!(&key.accept(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_is_sixteen_bytes_in_base64() {
        for key in [
            "",
            "x3JJHMbDL1EzLkh9GBhXD==",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZQ===",
            "dGhlIHNhbXBsZSBub25jZQ",
        ] {
            assert_eq!(Key::read(key.as_bytes()), None, "{key}");
        }
        assert_eq!(Key::read(b"dGhlIHNhbXBsZSBub25jZR=="), None, "bits that mean nothing");
        assert_eq!(Key::read(b"dGhlIHNhb\xffBsZSBub25jZQ=="), None);
        assert!(Key::read(b"AAAAAAAAAAAAAAAAAAAAAA==").is_some());
    }
}
