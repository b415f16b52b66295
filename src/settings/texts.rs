//! Texts that a setting may be: paths, URLs, names of claims. `none` is none.

use super::value::{FromValue, Value};
use crate::limits::AUTH_TEXT_MAX_BYTES;

/// A text that there may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionalText(Option<Box<str>>);

impl OptionalText {
    /// The text, if there is one.
    pub fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl FromValue for OptionalText {
    fn from_value(value: Value) -> Self {
        let text = String::from_value(value);
        Self((text != "none").then(|| text.into()))
    }
}

/// Reads a text of some length.
pub(crate) fn check_text(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > AUTH_TEXT_MAX_BYTES || text.contains(char::is_control) {
        return Err(format!(
            "it is empty, longer than {AUTH_TEXT_MAX_BYTES} bytes, or holds control characters; none is none"
        ));
    }
    Ok(text.to_owned())
}

/// Reads a URL of HTTP, as far as can be told without fetching it.
pub(crate) fn check_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let is_plain = text.len() <= AUTH_TEXT_MAX_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
    let has_host = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#', ':']));
    if text == "none" || is_plain && has_host && !text.contains('#') && rest.is_some_and(has_right_port) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no URL: write http:// or https://, a host, and perhaps a port and a path; none is none"))
}

/// The part of a URL, behind its scheme, that says where to go.
pub(crate) fn authority_of(rest: &str) -> &str {
    rest.split(['/', '?']).next().unwrap_or_default()
}

/// Whether a port is named that there is, or none.
fn has_right_port(rest: &str) -> bool {
    let place = authority_of(rest).rsplit('@').next().unwrap_or_default();
    // In brackets stand colons that are no port's.
    let behind_host = place.rsplit_once(']').map_or(place, |(_, behind)| behind);
    behind_host.split_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// A path, or the word for none.
pub(crate) fn check_file(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("the path is empty or holds a NUL; none is no file".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_urls_are_looked_at_before_they_are_used() {
        for good in [
            "none",
            "http://127.0.0.1:8080/auth?x=1",
            "https://id.example/keys",
            "http://[::1]/",
            "http://u:p@[::1]:65535?x=1:2",
        ] {
            assert_eq!(check_url(good).as_deref(), Ok(good));
        }
        let long = format!("http://{}", "a".repeat(AUTH_TEXT_MAX_BYTES));
        for bad in [
            "http://a:65536/x",
            "http://a:0",
            "http://u:p@[::1]:x/",
            "http://a:",
            "",
            "id.example",
            "ftp://a",
            "http://",
            "http:///x",
            "http://a b",
            "http://a#b",
            "https://\u{e4}",
            &long,
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
        assert!(check_text("mqtt").is_ok() && check_text(&"a".repeat(AUTH_TEXT_MAX_BYTES)).is_ok());
        for bad in ["", "a\n", &"a".repeat(AUTH_TEXT_MAX_BYTES + 1)] {
            assert!(check_text(bad).is_err(), "{bad:?}");
        }
        assert_eq!(OptionalText::from_value(Value::Text("none".into())).get(), None);
    }
}
