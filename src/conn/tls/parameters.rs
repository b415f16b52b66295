//! What the ends of a TLS connection have agreed on, for the log.

/// What the ends of a connection have agreed on: a version and a cipher suite, by its number at IANA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsParameters {
    pub(super) is_v13: bool,
    pub(super) suite: u16,
}

impl TlsParameters {
    /// As people write it: 1.2 or 1.3.
    pub const fn version(self) -> &'static str {
        if self.is_v13 { "1.3" } else { "1.2" }
    }

    /// The suite's name at IANA.
    pub fn suite(self) -> String {
        format!("{:?}", rustls::CipherSuite::from(self.suite)).replacen("TLS13_", "TLS_", 1)
    }
}
