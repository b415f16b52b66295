//! One TLS record: its header, and its protection with the keys of one direction.
//!
//! Always holds: a sequence number protects one record and is never used again; keys cannot be copied, are not shown, and
//! are wiped when they go. Nothing of a record is believed before its tag was checked, but for the length in its header, which is
//! bounded first.

use core::ops::Range;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;
use zeroize::Zeroize;

use super::secrets::Secret;

/// Type, version, length.
pub(super) const HEADER_BYTES: usize = 5;
/// The most plain bytes in one record.
pub(super) const FRAGMENT_MAX_BYTES: usize = 16_384;
/// What protection may add at most, in TLS 1.3 and in 1.2.
const EXPANSION_MAX_BYTES: usize = 256;
const EXPANSION_MAX_V12_BYTES: usize = 2_048;
const TAG_BYTES: usize = 16;
/// Of TLS 1.2 with AES-GCM: it stands before the ciphertext.
const EXPLICIT_NONCE_BYTES: usize = 8;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentType {
    ChangeCipherSpec = 20,
    Alert = 21,
    Handshake = 22,
    ApplicationData = 23,
}

impl ContentType {
    pub(super) const fn of(byte: u8) -> Option<Self> {
        match byte {
            20 => Some(Self::ChangeCipherSpec),
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::ApplicationData),
            _ => None,
        }
    }
}

/// Which of the two ways of protecting records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    V12,
    V13,
}

/// Why a record is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordError {
    /// No record begins like this.
    Malformed,
    /// It announces or holds more than it may.
    TooLong,
    /// Its tag is wrong: it was changed on its way, or sent with other keys.
    BadTag,
    /// A record that has no business here.
    Unexpected,
}

/// The header of the record at the front of `bytes`, as far as it is there. Returns the length behind the header.
pub(super) fn parse_header(bytes: &[u8], protocol: Protocol) -> Result<Option<(ContentType, usize)>, RecordError> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let content = ContentType::of(first).ok_or(RecordError::Malformed)?;
    let Some(&[_, major, _, high, low]) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    if major != 3 {
        return Err(RecordError::Malformed);
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    let expansion = match protocol {
        Protocol::V12 => EXPANSION_MAX_V12_BYTES,
        Protocol::V13 => EXPANSION_MAX_BYTES,
    };
    if length > FRAGMENT_MAX_BYTES + expansion { Err(RecordError::TooLong) } else { Ok(Some((content, length))) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Cipher {
    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes128Gcm => &AES_128_GCM,
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}

/// The keys of one direction.
pub(super) struct RecordKeys {
    key: [u8; 32],
    nonce: [u8; 12],
    sequence: u64,
    cipher: Cipher,
    protocol: Protocol,
}

/// Without the keys.
impl std::fmt::Debug for RecordKeys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RecordKeys")
            .field("sequence", &self.sequence)
            .field("cipher", &self.cipher)
            .finish_non_exhaustive()
    }
}

impl Drop for RecordKeys {
    fn drop(&mut self) {
        self.key.zeroize();
        self.nonce.zeroize();
    }
}

impl RecordKeys {
    /// The keys that rustls has made. `None` for a cipher that is not known here.
    pub(super) fn new((sequence, secrets): (u64, &ConnectionTrafficSecrets), protocol: Protocol) -> Option<Self> {
        let (cipher, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Cipher::ChaCha20Poly1305, key, iv),
            _ => return None,
        };
        let mut keys = Self { key: [0; 32], nonce: [0; 12], sequence, cipher, protocol };
        let (key, iv) = (key.as_ref(), iv.as_ref());
        keys.key.get_mut(..key.len())?.copy_from_slice(key);
        keys.nonce.get_mut(..iv.len())?.copy_from_slice(iv);
        (key.len() == cipher.algorithm().key_len()).then_some(keys)
    }

    /// The keys that follow from a secret of TLS 1.3, for the same cipher.
    pub(super) fn derived(&self, secret: &Secret) -> Self {
        let mut keys = Self { key: [0; 32], nonce: [0; 12], sequence: 0, cipher: self.cipher, protocol: Protocol::V13 };
        secret.derive(b"key", &mut keys.key[..self.cipher.algorithm().key_len()]);
        secret.derive(b"iv", &mut keys.nonce);
        keys
    }

    /// Whether they are the same, wherever they are in their sequence.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.key == other.key && self.nonce == other.nonce
    }

    /// How many records these keys have protected.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The key as the cipher works with it. Once for many records: it costs more than opening a short one.
    pub(super) fn expand(&self) -> LessSafeKey {
        let algorithm = self.cipher.algorithm();
        let key = UnboundKey::new(algorithm, &self.key[..algorithm.key_len()]);
        LessSafeKey::new(key.expect("the key is as long as its cipher wants it"))
    }

    /// The nonce of the next record, and its sequence number.
    fn next_nonce(&mut self) -> ([u8; 12], [u8; 8]) {
        let sequence = self.sequence.to_be_bytes();
        self.sequence = self.sequence.checked_add(1).expect("keys are renewed, or the connection ends, long before");
        let mut nonce = self.nonce;
        for (nonce, sequence) in nonce[4..].iter_mut().zip(sequence) {
            *nonce ^= sequence;
        }
        (nonce, sequence)
    }

    /// Whether each record of TLS 1.2 brings a part of its nonce.
    fn has_explicit_nonce(&self) -> bool {
        self.protocol == Protocol::V12 && self.cipher != Cipher::ChaCha20Poly1305
    }

    /// Opens a whole record in place. Returns what is in it, and where.
    pub(super) fn open(
        &mut self,
        key: &LessSafeKey,
        record: &mut [u8],
    ) -> Result<(ContentType, Range<usize>), RecordError> {
        let Some((header, body)) = record.split_first_chunk_mut::<HEADER_BYTES>() else {
            return Err(RecordError::Malformed);
        };
        match self.protocol {
            Protocol::V13 => self.open_v13(key, *header, body),
            Protocol::V12 => self.open_v12(key, *header, body),
        }
    }

    /// RFC 8446, 5.2: the real type stands behind the content, and zeros may follow.
    fn open_v13(
        &mut self,
        key: &LessSafeKey,
        header: [u8; HEADER_BYTES],
        body: &mut [u8],
    ) -> Result<(ContentType, Range<usize>), RecordError> {
        if header[0] != ContentType::ApplicationData as u8 {
            return Err(RecordError::Unexpected);
        }
        let nonce = Nonce::assume_unique_for_key(self.next_nonce().0);
        let plain = key.open_in_place(nonce, Aad::from(header), body).map_err(|_| RecordError::BadTag)?;
        if plain.len() > FRAGMENT_MAX_BYTES + 1 {
            return Err(RecordError::TooLong);
        }
        let last = plain.iter().rposition(|&byte| byte != 0).ok_or(RecordError::Unexpected)?;
        let content = ContentType::of(plain[last]).ok_or(RecordError::Unexpected)?;
        Ok((content, HEADER_BYTES..HEADER_BYTES + last))
    }

    /// RFC 5288, 3 and RFC 7905, 2.
    fn open_v12(
        &mut self,
        key: &LessSafeKey,
        header: [u8; HEADER_BYTES],
        body: &mut [u8],
    ) -> Result<(ContentType, Range<usize>), RecordError> {
        let content = ContentType::of(header[0]).ok_or(RecordError::Malformed)?;
        let (mut nonce, sequence) = self.next_nonce();
        let explicit = if self.has_explicit_nonce() { EXPLICIT_NONCE_BYTES } else { 0 };
        let plain_bytes = body.len().checked_sub(explicit + TAG_BYTES).ok_or(RecordError::BadTag)?;
        if explicit > 0 {
            nonce[..4].copy_from_slice(&self.nonce[..4]);
            nonce[4..].copy_from_slice(&body[..explicit]);
        }
        if plain_bytes > FRAGMENT_MAX_BYTES {
            return Err(RecordError::TooLong);
        }
        let aad = aad_v12(sequence, [header[0], header[1], header[2]], plain_bytes);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = key.open_in_place(nonce, Aad::from(aad), &mut body[explicit..]);
        let start = HEADER_BYTES + explicit;
        opened.map_err(|_| RecordError::BadTag).map(|plain| (content, start..start + plain.len()))
    }

    /// Appends a record with `plain`, which is at most [`FRAGMENT_MAX_BYTES`] long.
    pub(super) fn seal(&mut self, key: &LessSafeKey, content: ContentType, plain: &[u8], out: &mut Vec<u8>) {
        assert!(plain.len() <= FRAGMENT_MAX_BYTES, "the caller cuts");
        let (nonce, sequence) = self.next_nonce();
        let explicit = if self.has_explicit_nonce() { EXPLICIT_NONCE_BYTES } else { 0 };
        let inner_type = usize::from(self.protocol == Protocol::V13);
        let length = (explicit + plain.len() + inner_type + TAG_BYTES) as u16;
        let outer = if inner_type > 0 { ContentType::ApplicationData } else { content };
        let [high, low] = length.to_be_bytes();
        let header = [outer as u8, 3, 3, high, low];
        out.reserve(HEADER_BYTES + usize::from(length));
        out.extend_from_slice(&header);
        if explicit > 0 {
            out.extend_from_slice(&nonce[4..]); // never the same twice: the sequence number is in it
        }
        let start = out.len();
        out.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = if inner_type > 0 {
            out.push(content as u8);
            key.seal_in_place_separate_tag(nonce, Aad::from(header), &mut out[start..])
        } else {
            let aad = aad_v12(sequence, [outer as u8, 3, 3], plain.len());
            key.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut out[start..])
        };
        out.extend_from_slice(tag.expect("a record is far below what the cipher takes").as_ref());
    }
}

/// What a record of TLS 1.2 authenticates beside its content.
fn aad_v12(sequence: [u8; 8], header: [u8; 3], plain_bytes: usize) -> [u8; 13] {
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&sequence);
    aad[8..11].copy_from_slice(&header);
    aad[11..].copy_from_slice(&(plain_bytes as u16).to_be_bytes());
    aad
}
