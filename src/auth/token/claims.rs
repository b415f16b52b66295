//! What a token claims, and whether that is enough. Its signature has been verified by then.

use serde_json::{Map, Value};

use super::super::Admission;
use super::super::permissions::parse_permissions;
use crate::limits::TOKEN_USER_MAX_BYTES;
use crate::time::Timestamp;

/// What tokens must claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenPolicy {
    /// `iss`, where it must be one.
    pub issuer: Option<Box<str>>,
    /// What `aud` must hold.
    pub audience: Option<Box<str>>,
    /// How far clocks may lie apart, in seconds.
    pub leeway_s: u32,
    /// The claim that says who the user is; without one no token does.
    pub user_claim: Option<Box<str>>,
    /// The claim that must be the client id.
    pub client_id_claim: Option<Box<str>>,
}

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenProblem {
    /// It is no token that is understood, or none that a key of ours signed.
    Invalid,
    /// Its time is over, has not begun, or has no end.
    NotNow,
    /// It holds, and is not for this broker or this client.
    NotForThis,
    /// It holds, and what it says of the user is no name.
    NoUserName,
}

impl TokenPolicy {
    /// What a verified token's claims come to for a client.
    pub(super) fn admit(
        &self,
        claims: &Map<String, Value>,
        client_id: &str,
        username: Option<&str>,
        now: Timestamp,
    ) -> Result<Admission, TokenProblem> {
        let leeway_ms = u64::from(self.leeway_s) * 1_000;
        let ends = instant(claims.get("exp"))?.ok_or(TokenProblem::NotNow)?;
        let ends = Timestamp(ends.0.saturating_add(leeway_ms));
        let begins = instant(claims.get("nbf"))?;
        if ends <= now || begins.is_some_and(|begins| begins.0 > now.0.saturating_add(leeway_ms)) {
            return Err(TokenProblem::NotNow);
        }
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let is_issued = self.issuer.as_deref().is_none_or(|issuer| text("iss") == Some(issuer));
        let is_meant = self.audience.as_deref().is_none_or(|audience| match claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        });
        let is_its = self.client_id_claim.as_deref().is_none_or(|claim| text(claim) == Some(client_id));
        if !is_issued || !is_meant || !is_its {
            return Err(TokenProblem::NotForThis);
        }
        let user = match self.user_claim.as_deref() {
            Some(claim) => Some(text(claim).filter(|user| is_user_name(user)).ok_or(TokenProblem::NoUserName)?),
            None => None,
        };
        // A name that differs is a mistake at best; without the claim nobody vouches for one.
        if user.is_some() && username.is_some_and(|sent| !sent.is_empty() && Some(sent) != user) {
            return Err(TokenProblem::NotForThis);
        }
        let rules = claims.get("acl").map(parse_permissions).transpose().map_err(|_| TokenProblem::NotForThis)?;
        let is_superuser = claims.get("is_superuser") == Some(&Value::Bool(true));
        Ok(Admission {
            user: user.map(Into::into),
            is_superuser,
            rules: rules.map(Into::into),
            ends: Some(ends),
            data: None,
        })
    }
}

/// Whether a claim may be a user name: CONNECT could not carry U+0000 [MQTT-1.5.4-2], and nobody is called anything longer.
fn is_user_name(text: &str) -> bool {
    (1..=TOKEN_USER_MAX_BYTES).contains(&text.len()) && !text.contains('\0')
}

/// A `NumericDate` (RFC 7519, 2), if there is one. One that is no date is a mistake.
fn instant(value: Option<&Value>) -> Result<Option<Timestamp>, TokenProblem> {
    let Some(value) = value else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..1e12).contains(seconds)).ok_or(TokenProblem::NotNow)?;
    #[expect(clippy::cast_sign_loss, reason = "its range was checked")]
    let ms = (seconds * 1_000.0) as u64;
    Ok(Some(Timestamp(ms)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_that_is_no_name_names_nobody() {
        let policy = TokenPolicy { user_claim: Some("sub".into()), ..TokenPolicy::default() };
        let admits = |sub: Value| {
            let claims = json!({"sub": sub, "exp": 2_000});
            policy
                .admit(claims.as_object().expect("it is one"), "c", None, Timestamp(1_000_000))
                .map(|found| found.user)
        };
        assert_eq!(admits(json!("ann")), Ok(Some("ann".into())));
        assert_eq!(admits(json!("x".repeat(TOKEN_USER_MAX_BYTES))), Ok(Some("x".repeat(TOKEN_USER_MAX_BYTES).into())));
        for sub in [
            json!(["ann"]),
            json!({"name": "ann"}),
            json!(7),
            Value::Null,
            json!(""),
            json!("an\0n"),
            json!("x".repeat(TOKEN_USER_MAX_BYTES + 1)),
        ] {
            assert_eq!(admits(sub.clone()), Err(TokenProblem::NoUserName), "{sub}");
        }
    }
}
