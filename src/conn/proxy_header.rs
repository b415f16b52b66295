//! The header that a proxy sends before everything else (the PROXY protocol, versions 1 and 2).
//!
//! Owns: who is at the other end of the proxy, and what the proxy says of that client's TLS.
//! Always holds: a header that is cut, longer than it may be or not as the specification has it is never taken for a whole one; what
//! is kept of one grows with what has come.
//! Leaves to others: from whom a header is taken (`conn`), what a certificate's name is worth (`auth`).

use core::net::SocketAddr;

use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader, SslInfo};

use crate::limits::PROXY_HEADER_MAX_BYTES;

/// What a proxy says of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxied {
    /// Where the client is; `None` where the proxy speaks for itself, or does not know.
    pub source: Option<SocketAddr>,
    /// What the client and the proxy have agreed on, where that is TLS.
    pub tls: Option<ProxiedTls>,
}

/// TLS between a client and a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxiedTls {
    /// As the proxy has it: `TLSv1.3`.
    pub version: Box<str>,
    /// The common name of the client's certificate, if the proxy has verified one.
    pub common_name: Option<Box<str>>,
}

/// A header that is being received.
#[derive(Debug, Default)]
pub struct ProxyHeaderReader {
    kept: Vec<u8>,
}

/// What comes instead of a header, or is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadProxyHeader(pub &'static str);

/// What version 1 begins with.
const V1: &[u8] = b"PROXY ";
/// ... and version 2.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, with its end of line.
const V1_MAX_BYTES: usize = 107;
/// Bytes of version 2 before its addresses.
const V2_FIXED_BYTES: usize = 16;

impl ProxyHeaderReader {
    /// Takes what has come. `None` while the header is not whole; then how many of `bytes` belonged to it.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Option<(usize, Proxied)>, BadProxyHeader> {
        let before = self.kept.len();
        let room = PROXY_HEADER_MAX_BYTES - before;
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        match whole_len(&self.kept)? {
            Some(len) if len <= self.kept.len() => {
                let proxied = read(&self.kept[..len])?;
                self.kept = Vec::new();
                Ok(Some((len - before, proxied)))
            }
            _ => Ok(None),
        }
    }

    /// Whether nothing has come.
    pub const fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

/// Bytes of the header that begins here; `None` while that cannot be told.
fn whole_len(bytes: &[u8]) -> Result<Option<usize>, BadProxyHeader> {
    let begins = |word: &[u8]| bytes.starts_with(word) || word.starts_with(bytes);
    if begins(V1) {
        let end = bytes.windows(2).take(V1_MAX_BYTES - 1).position(|two| two == b"\r\n");
        return match end {
            Some(at) => Ok(Some(at + 2)),
            None if bytes.len() >= V1_MAX_BYTES => Err(BadProxyHeader("its PROXY header has no end")),
            None => Ok(None),
        };
    }
    if !begins(V2) {
        return Err(BadProxyHeader("it does not begin with a PROXY header, and this listener asks for one"));
    }
    let Some(len) = bytes.get(V2_FIXED_BYTES - 2..).and_then(<[u8]>::first_chunk::<2>) else { return Ok(None) };
    let len = V2_FIXED_BYTES + usize::from(u16::from_be_bytes(*len));
    if len > PROXY_HEADER_MAX_BYTES {
        return Err(BadProxyHeader("its PROXY header is longer than is read of one"));
    }
    Ok(Some(len))
}

/// Reads a header that is whole.
fn read(header: &[u8]) -> Result<Proxied, BadProxyHeader> {
    let bad = |_: Error| BadProxyHeader("its PROXY header is not as it must be");
    let (parsed, len) = ProxyHeader::parse(header, ParseConfig::default()).map_err(bad)?;
    if len != header.len() || !is_strict(header) {
        return Err(bad(Error::Invalid));
    }
    let source = match parsed.proxied_address() {
        Some(address) if address.protocol == Protocol::Datagram => return Err(bad(Error::Invalid)),
        address => address.map(|address| SocketAddr::new(address.source.ip().to_canonical(), address.source.port())),
    };
    let mut tls = None;
    if source.is_none() {
        // Of what follows where there are no addresses nobody has to know how it looks.
        return Ok(Proxied::default());
    }
    for tlv in parsed.tlvs() {
        match tlv.map_err(bad)? {
            proxy_header::Tlv::Ssl(ssl) => tls = read_tls(&ssl).map_err(bad)?,
            proxy_header::Tlv::Crc32c(sum) if sum != checksum(header) => {
                return Err(BadProxyHeader("the checksum of its PROXY header is wrong"));
            }
            _ => {}
        }
    }
    Ok(Proxied { source, tls })
}

/// What the parser does not look at: a line of version 1 has single blanks between its words, and numbers without a sign.
fn is_strict(header: &[u8]) -> bool {
    let Some(line) = header.strip_prefix(V1) else { return header.starts_with(V2) };
    line.starts_with(b"UNKNOWN") || !line.contains(&b'+')
}

/// What a proxy says of the client's TLS; its certificate counts if it was shown and found good.
fn read_tls(ssl: &SslInfo<'_>) -> Result<Option<ProxiedTls>, Error> {
    ssl.tlvs().try_for_each(|tlv| tlv.map(drop))?;
    if !ssl.client_ssl() {
        return Ok(None);
    }
    let is_verified = (ssl.client_cert_conn() || ssl.client_cert_sess()) && ssl.verify() == 0;
    let common_name = ssl.cn().filter(|_| is_verified).map(Into::into);
    Ok(Some(ProxiedTls { version: ssl.version().unwrap_or_default().into(), common_name }))
}

/// The checksum of a header of version 2, in which its own four bytes are zero.
fn checksum(header: &[u8]) -> u32 {
    let mut header = header.to_vec(); // a kilobyte or two, and few have a checksum
    let own = own_checksum_at(&header); // as its length says, which may be a lie
    header.iter_mut().take(own.end).skip(own.start).for_each(|byte| *byte = 0);
    crc32c::crc32c(&header)
}

/// Where the checksum stands.
fn own_checksum_at(header: &[u8]) -> core::ops::Range<usize> {
    let addresses = if header.get(13) == Some(&0x11) { 12 } else { 36 };
    let mut at = V2_FIXED_BYTES + addresses;
    while let Some([kind, high, low]) = header.get(at..).and_then(<[u8]>::first_chunk::<3>).copied() {
        let value = at + 3;
        let end = value + usize::from(u16::from_be_bytes([high, low]));
        if kind == 0x03 {
            return value..end;
        }
        at = end;
    }
    0..0
}

#[cfg(test)]
#[path = "proxy_header_tests.rs"]
mod tests;
