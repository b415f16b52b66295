//! The check of one token. This is what takes time.

use std::sync::Arc;

use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::super::{Admission, ConnectQuestion};
use super::claims::{TokenPolicy, TokenProblem};
use super::keys::TokenKeys;
use crate::limits::TOKEN_MAX_BYTES;
use crate::time::Timestamp;

/// Tokens as a way to find out who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenMethod {
    /// From files.
    pub keys: Vec<Arc<TokenKeys>>,
    /// Where more of them are published.
    pub url: Option<Box<str>>,
    /// What tokens must claim.
    pub policy: TokenPolicy,
}

/// A token to be checked.
#[derive(Clone)]
pub struct TokenCheck {
    method: Arc<TokenMethod>,
    published: Option<Arc<TokenKeys>>,
    token: Box<str>,
    client_id: Box<str>,
    username: Option<Box<str>>,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFinding {
    /// Signature, time and claims are right; this is what it says of its client.
    Holds(Box<Admission>),
    /// It does not.
    Fails(TokenProblem),
    /// It names a key that is not known here, and may be published meanwhile.
    UnknownKey,
}

/// Without the token.
impl std::fmt::Debug for TokenCheck {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("TokenCheck").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl TokenMethod {
    /// The token that a client shows, if that is what it shows: `None` is for other methods.
    pub fn token_of(secret: &[u8]) -> Option<&str> {
        let text = std::str::from_utf8(secret).ok()?;
        // An object in base64, and three parts: nothing that a person would choose as a password.
        let is_token = text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2;
        is_token.then_some(text)
    }

    /// The check of a token; an error where that needs no look at it.
    pub fn check(
        self: &Arc<Self>,
        published: Option<Arc<TokenKeys>>,
        token: &str,
        question: &ConnectQuestion,
    ) -> Result<TokenCheck, TokenProblem> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(TokenProblem::Invalid);
        }
        let (client_id, username) = (question.client_id.clone(), question.username.clone());
        Ok(TokenCheck { method: Arc::clone(self), published, token: token.into(), client_id, username })
    }
}

impl TokenCheck {
    /// Where a key may be found that was not known, if anywhere.
    pub fn url(&self) -> Option<&str> {
        self.method.url.as_deref()
    }

    /// Whether other keys are published by now than it was begun with.
    pub(in crate::auth) fn is_outdated(&self, published: Option<&Arc<TokenKeys>>) -> bool {
        match (self.published.as_ref(), published) {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
            (None, new) => new.is_some(),
            (Some(_), None) => false,
        }
    }

    /// Verifies the signature and looks at the claims.
    pub fn run(&self, now: Timestamp) -> TokenFinding {
        let Ok(header) = decode_header(&*self.token) else { return TokenFinding::Fails(TokenProblem::Invalid) };
        // What must be understood and is not (RFC 7515, 4.1.11), or would have to be opened first.
        if header.crit.is_some() || header.enc.is_some() || header.zip.is_some() {
            return TokenFinding::Fails(TokenProblem::Invalid);
        }
        let mut validation = Validation::new(header.alg);
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
        for key in self.method.keys.iter().chain(&self.published).flat_map(|keys| keys.fitting(&header)) {
            if let Ok(verified) = decode::<Map<String, Value>>(&*self.token, key, &validation) {
                let username = self.username.as_deref();
                let admitted = self.method.policy.admit(&verified.claims, &self.client_id, username, now);
                return match admitted {
                    Ok(admission) => TokenFinding::Holds(Box::new(admission)),
                    Err(problem) => TokenFinding::Fails(problem),
                };
            }
        }
        let is_published = self.published.as_ref().is_some_and(|keys| keys.fitting(&header).next().is_some());
        let unknown = self.method.url.is_some() && !is_published;
        if unknown { TokenFinding::UnknownKey } else { TokenFinding::Fails(TokenProblem::Invalid) }
    }
}
