//! What the system refused, in a line that an operator can act upon.

use std::fmt::Display;
use std::io;

/// The system refused something that the plane cannot do without.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing}{}: {source}", .at.as_ref().map(|at| format!(" {at}")).unwrap_or_default())]
pub struct RingError {
    doing: &'static str,
    /// The address or path that it was about.
    at: Option<Box<str>>,
    source: io::Error,
}

impl RingError {
    /// The system's error number.
    pub fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(0)
    }

    /// An error that is about `address`.
    pub(super) fn at(doing: &'static str, address: impl Display, source: impl Into<io::Error>) -> Self {
        Self { doing, at: Some(address.to_string().into()), source: source.into() }
    }
}

/// For `map_err`: what could not be done.
pub(super) fn error<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> RingError {
    move |source| RingError { doing, at: None, source: source.into() }
}

/// For what the system says in an `errno`, positive.
pub(super) fn error_number(doing: &'static str, errno: i32) -> RingError {
    RingError { doing, at: None, source: io::Error::from_raw_os_error(errno) }
}
