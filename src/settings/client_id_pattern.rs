//! Client ids that are bound to the users of clients: `%u/*` lets `ann` be `ann/phone`, and nobody else.
//!
//! Always holds: where a client id fits a pattern, it fits for one user name alone. A user name that holds what stands right beside
//! its place in the pattern could be read in two ways, and fits nothing.

use super::value::{FromValue, Value};
use crate::limits::LISTENER_TEXT_MAX_BYTES;

/// Which client ids a user's clients may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientIdPattern(Option<Box<str>>);

/// The place of the user name.
const USER: &str = "%u";
/// The word for no pattern.
const ANY: &str = "any";

impl ClientIdPattern {
    /// Whether every client id is anybody's.
    pub const fn is_any(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a client of this user, whom somebody has verified, may have this client id.
    pub fn admits(&self, client_id: &str, user: Option<&str>) -> bool {
        let Some(pattern) = self.0.as_deref() else { return true };
        let (Some((before, after)), Some(user)) = (pattern.split_once(USER), user.filter(|user| !user.is_empty()))
        else {
            return false;
        };
        // What separates the name from the star.
        let left = before.split_once('*').map(|(_, beside)| beside);
        let right = after.split_once('*').map(|(beside, _)| beside);
        let is_one = left.or(right).is_none_or(|beside| !user.contains(beside));
        is_one && fits(client_id, [before, user, after])
    }
}

/// Whether a client id is the three parts in a row, one of which may hold a star for at least one character.
fn fits(client_id: &str, [before, user, after]: [&str; 3]) -> bool {
    if let Some((first, second)) = before.split_once('*') {
        let rest = client_id.strip_suffix(after).and_then(|rest| rest.strip_suffix(user));
        let middle = rest.and_then(|rest| rest.strip_suffix(second)).and_then(|rest| rest.strip_prefix(first));
        return middle.is_some_and(|middle| !middle.is_empty());
    }
    let rest = client_id.strip_prefix(before).and_then(|rest| rest.strip_prefix(user));
    match after.split_once('*') {
        Some((first, second)) => {
            let middle = rest.and_then(|rest| rest.strip_prefix(first)).and_then(|rest| rest.strip_suffix(second));
            middle.is_some_and(|middle| !middle.is_empty())
        }
        None => rest == Some(after),
    }
}

impl FromValue for ClientIdPattern {
    fn from_value(value: Value) -> Self {
        let text = String::from_value(value);
        Self((text != ANY).then(|| text.into()))
    }
}

/// Reads a pattern, or the word any.
pub(super) fn check_client_id_pattern(text: &str) -> Result<String, String> {
    let error = |what: &str| {
        Err(format!(
            "{text:?} {what}: write any, or a pattern with %u for the user name and one * for the rest, as in %u/*"
        ))
    };
    if text == ANY {
        return Ok(text.to_owned());
    }
    if text.is_empty() || text.len() > LISTENER_TEXT_MAX_BYTES || text.contains('\0') {
        return error("is no pattern");
    }
    match (text.matches(USER).count(), text.matches('*').count()) {
        (1, 0 | 1) if text.contains("*%u") || text.contains("%u*") => error("has the star right beside %u"),
        (1, 0 | 1) => Ok(text.to_owned()),
        (0, _) => error("has no %u"),
        _ => error("has more than one %u or more than one star"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> ClientIdPattern {
        ClientIdPattern::from_value(Value::Text(check_client_id_pattern(text).unwrap()))
    }

    #[test]
    fn a_client_id_is_its_users_alone() {
        for (text, client_id, user, admits) in [
            ("any", "x", None, true),
            ("%u", "ann", Some("ann"), true),
            ("%u", "ann", Some("bob"), false),
            ("%u", "ann", None, false),
            ("%u", "", Some(""), false),
            ("%u/*", "ann/phone", Some("ann"), true),
            ("%u/*", "ann/a/b", Some("ann"), true),
            ("%u/*", "ann/", Some("ann"), false),
            ("%u/*", "ann", Some("ann"), false),
            ("%u/*", "bob/phone", Some("ann"), false),
            ("%u/*", "ann/phone", None, false),
            // ann/phone is ann's, so nobody called so may be a user here.
            ("%u/*", "ann/phone/1", Some("ann/phone"), false),
            ("dev-*-%u", "dev-7-ann", Some("ann"), true),
            ("dev-*-%u", "dev-7-x-ann", Some("x-ann"), false),
            ("dev-*-%u", "dev--ann", Some("ann"), false),
            ("%u-*-v1", "ann-7-v1", Some("ann"), true),
            ("%u-*-v1", "ann-7-v2", Some("ann"), false),
            ("%u/*", "+/x", Some("+"), true),
            ("%u/*", "ann/x", Some("*"), false),
        ] {
            assert_eq!(pattern(text).admits(client_id, user), admits, "{text} {client_id} {user:?}");
        }
        assert!(ClientIdPattern::default().is_any());
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "x", "*", "%u*", "*%u", "%u/%u", "%u/*/*", "%u\0"] {
            assert!(check_client_id_pattern(text).is_err(), "{text:?}");
        }
    }
}
