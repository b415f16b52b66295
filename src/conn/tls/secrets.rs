//! The traffic secrets of a TLS 1.3 connection, from which its next keys are derived (RFC 8446, 7.1 to 7.3).
//!
//! rustls would derive them too, but what it keeps for that (`KernelConnection`, and in it the peer's certificates) is several
//! times as large as all else of an idle connection. It hands the secrets out through its key log alone, while it shakes hands.
//!
//! Always holds: secrets cannot be copied, are not shown, and are wiped when they go; the first keys that follow from them are those
//! that rustls has made, or the handshake fails.

use std::cell::RefCell;

use aws_lc_rs::hkdf::{HKDF_SHA256, HKDF_SHA384, KeyType, Prk};
use rustls::KeyLog;
use zeroize::Zeroize;

/// The longest: of SHA-384.
const SECRET_MAX_BYTES: usize = 48;

/// The secret of one direction.
#[derive(Default)]
pub(super) struct Secret {
    bytes: [u8; 32],
    more: [u8; SECRET_MAX_BYTES - 32],
    length: u8,
}

/// The secrets of both directions.
#[derive(Default)]
pub(super) struct TrafficSecrets {
    pub(super) opening: Secret,
    pub(super) sealing: Secret,
}

/// Without the secret.
impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Secret").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.bytes.zeroize();
        self.more.zeroize();
    }
}

/// How many bytes are derived.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Secret {
    /// `None` if it is as long as no hash of TLS 1.3 is.
    fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 32 && bytes.len() != SECRET_MAX_BYTES {
            return None;
        }
        let mut secret = Self { length: bytes.len() as u8, ..Self::default() };
        let (first, rest) = bytes.split_at(32);
        secret.bytes.copy_from_slice(first);
        secret.more[..rest.len()].copy_from_slice(rest);
        Some(secret)
    }

    /// HKDF-Expand-Label with an empty context.
    pub(super) fn derive(&self, label: &[u8], out: &mut [u8]) {
        let mut all = [0; SECRET_MAX_BYTES];
        all[..32].copy_from_slice(&self.bytes);
        all[32..].copy_from_slice(&self.more);
        let length = usize::from(self.length);
        let algorithm = if length == SECRET_MAX_BYTES { HKDF_SHA384 } else { HKDF_SHA256 };
        let [high, low] = (out.len() as u16).to_be_bytes();
        let head = [high, low, 6 + label.len() as u8];
        let info = [&head[..], b"tls13 ", label, &[0]];
        let prk = Prk::new_less_safe(algorithm, &all[..length]);
        all.zeroize();
        let derived = prk.expand(&info, Length(out.len())).and_then(|okm| okm.fill(out));
        derived.expect("a few dozen bytes are within what HKDF gives");
    }

    /// Goes on to the next one.
    pub(super) fn advance(&mut self) {
        let mut next = [0; SECRET_MAX_BYTES];
        let length = usize::from(self.length);
        self.derive(b"traffic upd", &mut next[..length]);
        self.bytes.copy_from_slice(&next[..32]);
        self.more.copy_from_slice(&next[32..]);
        next.zeroize();
    }
}

thread_local! {
    /// What the handshake that this thread runs has told.
    static TOLD: RefCell<TrafficSecrets> = RefCell::default();
}

/// Takes what was told since this was last called.
pub(super) fn take_told() -> TrafficSecrets {
    TOLD.take()
}

/// Where rustls tells the secrets of the handshake that this thread runs. They go nowhere else.
#[derive(Debug)]
pub(super) struct SecretTap;

impl KeyLog for SecretTap {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        let Some(secret) = Secret::new(secret) else { return };
        TOLD.with_borrow_mut(|told| match label {
            "CLIENT_TRAFFIC_SECRET_0" => told.opening = secret,
            "SERVER_TRAFFIC_SECRET_0" => told.sealing = secret,
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        label.ends_with("_TRAFFIC_SECRET_0")
    }
}

impl TrafficSecrets {
    /// Adds what a later step of the handshake has told.
    pub(super) fn add(&mut self, told: Self) {
        for (own, told) in [(&mut self.opening, told.opening), (&mut self.sealing, told.sealing)] {
            if told.length > 0 {
                *own = told;
            }
        }
    }
}
