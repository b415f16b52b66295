//! Whom rules are asked about.

use core::net::IpAddr;

/// Whom a decision is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who<'a> {
    /// As it came in CONNECT, or was assigned.
    pub client_id: &'a str,
    /// The user name that was verified, or at least sent where nobody verifies.
    pub user: Option<&'a str>,
    /// The name of the listener.
    pub listener: &'a str,
    /// Where it comes from, if that is an address.
    pub peer: Option<IpAddr>,
}
