//! Headers that each request to a back end carries: an API key, mostly.
//!
//! ```text
//! # one a line
//! X-API-Key: 0123456789
//! ```

use crate::limits::HTTP_HEADERS_MAX;

/// Names and values. There is at least one.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpHeaders(Box<[(Box<str>, Box<str>)]>);

/// Without the values, which are secrets.
impl std::fmt::Debug for HttpHeaders {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Why a text holds no headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpHeadersError {
    /// A line that is none.
    #[error("line {0}: this is not `Name: value`")]
    Line(usize),
    /// One that the request has already.
    #[error("line {0}: this header is the broker's own")]
    Own(usize),
    /// No line.
    #[error("it holds no header")]
    Empty,
    /// More than [`HTTP_HEADERS_MAX`].
    #[error("it holds more than {HTTP_HEADERS_MAX} headers")]
    TooMany,
}

/// What the body and the connection decide.
const OWN: [&str; 5] = ["content-type", "content-length", "transfer-encoding", "connection", "host"];

impl HttpHeaders {
    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, HttpHeadersError> {
        let mut headers = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(HttpHeadersError::Line(number))?;
            let (name, value) = (name.trim(), value.trim());
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            let is_visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
            if name.is_empty() || value.is_empty() || !name.bytes().all(is_token) || !value.bytes().all(is_visible) {
                return Err(HttpHeadersError::Line(number));
            }
            if OWN.iter().any(|own| own.eq_ignore_ascii_case(name)) {
                return Err(HttpHeadersError::Own(number));
            }
            headers.push((name.into(), value.into()));
        }
        match headers.len() {
            0 => Err(HttpHeadersError::Empty),
            count if count > HTTP_HEADERS_MAX => Err(HttpHeadersError::TooMany),
            _ => Ok(Self(headers.into())),
        }
    }

    /// Each with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_what_is_none_is_refused() {
        let headers = HttpHeaders::parse("# key\nX-API-Key: a b:c\n\nAuthorization:Bearer x\n").unwrap();
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("X-API-Key", "a b:c"), ("Authorization", "Bearer x")]);
        assert!(!format!("{headers:?}").contains("Bearer"));
        let many = |count: usize| "A: b\n".repeat(count);
        for (text, error) in [
            (String::new(), HttpHeadersError::Empty),
            ("A b\n".into(), HttpHeadersError::Line(1)),
            ("A: b\nB:\n".into(), HttpHeadersError::Line(2)),
            ("A b: c\n".into(), HttpHeadersError::Line(1)),
            ("A: b\u{e4}\n".into(), HttpHeadersError::Line(1)),
            ("Content-Type: text/html\n".into(), HttpHeadersError::Own(1)),
            (many(HTTP_HEADERS_MAX + 1), HttpHeadersError::TooMany),
        ] {
            assert_eq!(HttpHeaders::parse(&text), Err(error), "{text}");
        }
        assert!(HttpHeaders::parse(&many(HTTP_HEADERS_MAX)).is_ok());
    }
}
