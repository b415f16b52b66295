//! Keys that tokens are verified with.

use aws_lc_rs::digest::{SHA256, digest};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Header};
use serde_json::Value;

use crate::limits::{TOKEN_KEYS_MAX, TOKEN_SECRET_MIN_BYTES};

/// Some keys. There is at least one.
#[derive(Clone)]
pub struct TokenKeys {
    keys: Box<[TokenKey]>,
    /// Of the text that they were read from.
    digest: Box<[u8]>,
}

/// One key, and what it is for.
#[derive(Clone)]
struct TokenKey {
    /// Its name among others.
    id: Option<Box<str>>,
    /// The one algorithm that it is for, where it says so.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

/// Where keys were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeySetOrigin {
    /// The operator's own file, which may hold secrets.
    File,
    /// The network: a secret that is published there is none.
    Network,
}

/// Why a text holds no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Something with which tokens are made.
    #[error("it holds a private key; give the public one (openssl pkey -pubout)")]
    PrivateKey,
    /// A PEM block that is no key of a kind that is known.
    #[error("it holds a PEM block that is no public key of RSA, EC (P-256, P-384) or Ed25519")]
    Pem,
    /// JSON that is no key set.
    #[error("it is no JSON Web Key Set")]
    KeySet,
    /// A key set of which no key can be used.
    #[error("none of its keys is a signature key of a known kind")]
    NoKey,
    /// More than [`TOKEN_KEYS_MAX`].
    #[error("it holds more than {TOKEN_KEYS_MAX} keys")]
    TooMany,
    /// A secret that can be guessed.
    #[error("as a secret it has less than {TOKEN_SECRET_MIN_BYTES} bytes (openssl rand -hex 32)")]
    ShortSecret,
}

impl PartialEq for TokenKeys {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for TokenKeys {}

/// Without the keys.
impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("TokenKeys").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl TokenKeys {
    /// Reads a file: public keys as PEM, a JSON Web Key Set, or anything else as the bytes of a secret.
    pub fn parse_file(text: &str) -> Result<Self, KeyFileError> {
        let keys = if text.trim_start().starts_with('{') {
            return Self::parse_set(text, KeySetOrigin::File);
        } else if text.contains("-----BEGIN") {
            public_keys(text)?
        } else {
            let secret = text.trim_end_matches(['\r', '\n']).as_bytes();
            if secret.len() < TOKEN_SECRET_MIN_BYTES {
                return Err(KeyFileError::ShortSecret);
            }
            vec![TokenKey { id: None, algorithm: None, key: DecodingKey::from_secret(secret) }]
        };
        Self::new(keys, text)
    }

    /// Reads a key set that came over the network.
    pub fn parse_published(text: &str) -> Result<Self, KeyFileError> {
        Self::parse_set(text, KeySetOrigin::Network)
    }

    fn new(keys: Vec<TokenKey>, text: &str) -> Result<Self, KeyFileError> {
        match keys.len() {
            0 => Err(KeyFileError::NoKey),
            count if count > TOKEN_KEYS_MAX => Err(KeyFileError::TooMany),
            _ => Ok(Self { keys: keys.into(), digest: digest(&SHA256, text.as_bytes()).as_ref().into() }),
        }
    }

    /// A key set. Keys of kinds that are not known are passed over: a provider may publish newer ones beside ours.
    fn parse_set(text: &str, origin: KeySetOrigin) -> Result<Self, KeyFileError> {
        let set: Value = serde_json::from_str(text).map_err(|_| KeyFileError::KeySet)?;
        let listed = match set.get("keys") {
            Some(Value::Array(keys)) => keys.iter().collect(),
            Some(_) => return Err(KeyFileError::KeySet),
            None => vec![&set],
        };
        if listed.len() > TOKEN_KEYS_MAX {
            return Err(KeyFileError::TooMany);
        }
        Self::new(listed.into_iter().filter_map(|value| of_set(value, origin)).collect(), text)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether one of them is a secret, which signs as well as it verifies.
    pub fn have_secret(&self) -> bool {
        self.keys.iter().any(|key| key.key.family() == AlgorithmFamily::Hmac)
    }

    /// Never: without a key there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keys that may have signed a token with this header: of the algorithm's kind, and of the name that it gives.
    pub(super) fn fitting<'a>(&'a self, header: &'a Header) -> impl Iterator<Item = &'a DecodingKey> {
        let has_kind = |key: &&TokenKey| key.key.family() == header.alg.family();
        let is_for = |key: &&TokenKey| key.algorithm.is_none_or(|algorithm| algorithm == header.alg);
        let is_named = |key: &&TokenKey| match (key.id.as_deref(), header.kid.as_deref()) {
            (Some(id), Some(kid)) => id == kid,
            // A file's key has no name and is tried, and so is each key where a token names none.
            _ => true,
        };
        self.keys.iter().filter(has_kind).filter(is_for).filter(is_named).map(|key| &key.key)
    }
}

/// Each PEM block of a text.
fn public_keys(text: &str) -> Result<Vec<TokenKey>, KeyFileError> {
    const END: &str = "-----END";
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find("-----BEGIN") {
        let block = &rest[begin..];
        let end = block.find(END).ok_or(KeyFileError::Pem)?;
        let end = block[end + END.len()..].find("-----").map_or(block.len(), |at| end + END.len() + at + 5);
        let (pem, behind) = block.split_at(end);
        let first = pem.lines().next().unwrap_or_default();
        if first.contains("PRIVATE") {
            return Err(KeyFileError::PrivateKey);
        }
        let pem = pem.as_bytes();
        let key = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .map_err(|_| KeyFileError::Pem)?;
        keys.push(TokenKey { id: None, algorithm: None, key });
        rest = behind;
    }
    Ok(keys)
}

/// A key of a set, if it verifies signatures in a way that is known.
fn of_set(value: &Value, origin: KeySetOrigin) -> Option<TokenKey> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    let is_for_signatures = jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
    let is_secret = matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_));
    if !is_for_signatures || is_secret && origin == KeySetOrigin::Network {
        return None;
    }
    let algorithm = match jwk.common.key_algorithm {
        // One that no token is signed with makes a key that verifies none.
        Some(named) => Some(named.to_string().parse::<Algorithm>().ok()?),
        None => None,
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let is_short = is_secret && key.try_get_hmac_secret().map_or(0, <[u8]>::len) < TOKEN_SECRET_MIN_BYTES;
    (!is_short).then(|| TokenKey { id: jwk.common.key_id.map(Into::into), algorithm, key })
}
