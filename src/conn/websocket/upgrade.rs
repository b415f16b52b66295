//! The request that opens a WebSocket (RFC 6455, 4.2.1): a GET whose head is read once it is whole.
//!
//! Always holds: a request costs O(n), however it is split, and no more than [`UPGRADE_MAX_BYTES`] of it are kept; what is no request at
//! all is refused by its first bytes.

use core::net::IpAddr;

use httparse::{EMPTY_HEADER, Header, Status};

use super::key::Key;
use crate::limits::{UPGRADE_HEADERS_MAX, UPGRADE_MAX_BYTES};
use crate::settings::Networks;

/// What a listener asks of a request.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeRules<'a> {
    /// The path, without a query.
    pub path: &'a str,
    /// Pages from these origins may connect; `None` is all of them.
    pub origins: Option<&'a [String]>,
    /// Whose `X-Forwarded-For` is believed.
    pub proxies: &'a Networks,
}

/// The protocol that both sides agree on (MQTT 5.0, 6; 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprotocol {
    /// What clients of today ask for [MQTT-6.0.0-3].
    Mqtt,
    /// What older ones ask for, `mqttv3.1`.
    MqttV31,
}

impl Subprotocol {
    /// As it is agreed on.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::MqttV31 => "mqttv3.1",
        }
    }
}

/// A request that is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpgradeGrant {
    pub(super) key: Key,
    /// The first of the client's that the broker speaks.
    pub subprotocol: Subprotocol,
    /// Where the client is, as the proxy in front of the broker says.
    pub forwarded_for: Option<IpAddr>,
}

/// Why a request is refused, and how it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeRefusal {
    /// No HTTP, or not as it must be.
    Malformed,
    /// More bytes or header fields than are read.
    TooLarge,
    /// A method that is not GET.
    Method,
    /// A version that is not 1.1.
    Version,
    /// A path that nothing is at.
    NotFound,
    /// A request for a page, or for something else than a WebSocket.
    NoUpgrade,
    /// A version of WebSocket that is not 13.
    WebSocketVersion,
    /// A header field is missing, is there twice, or is not as it must be.
    Header,
    /// A page of an origin that is not on the list.
    Origin,
    /// Neither `mqtt` nor `mqttv3.1` is among the subprotocols.
    Subprotocol,
}

/// What has come of a request.
#[derive(Debug, Default)]
pub struct UpgradeRequest {
    kept: Vec<u8>,
}

/// The beginning of every request that may be granted, and of those that are told why not.
const METHODS: [&[u8]; 8] = [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"TRACE "];

impl UpgradeRequest {
    /// Whether nothing has come.
    pub const fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// What has come, if it was no request.
    pub fn bytes(&self) -> &[u8] {
        &self.kept
    }

    /// Takes what has come. `None` while the request is not whole; then how many of `bytes` belonged to it, and what it asks
    /// for. `peer` is who is at the other end.
    pub fn take(
        &mut self,
        bytes: &[u8],
        peer: Option<IpAddr>,
        rules: &UpgradeRules<'_>,
    ) -> Option<(usize, Result<UpgradeGrant, UpgradeRefusal>)> {
        let before = self.kept.len();
        let room = UPGRADE_MAX_BYTES - before;
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let could_be = |method: &&[u8]| self.kept.starts_with(method) || method.starts_with(&self.kept);
        if !METHODS.iter().any(could_be) {
            return Some((bytes.len(), Err(UpgradeRefusal::Malformed)));
        }
        // The end may have begun with what came before.
        let from = before.saturating_sub(END.len() - 1);
        let Some(end) = find(&self.kept[from..], END).map(|at| from + at + END.len()) else {
            return (bytes.len() >= room).then_some((bytes.len(), Err(UpgradeRefusal::TooLarge)));
        };
        let requested = read(&self.kept[..end], peer, rules);
        self.kept = Vec::new();
        Some((end - before, requested))
    }
}

const END: &[u8] = b"\r\n\r\n";

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Reads a head that is whole.
fn read(head: &[u8], peer: Option<IpAddr>, rules: &UpgradeRules<'_>) -> Result<UpgradeGrant, UpgradeRefusal> {
    let mut fields = [EMPTY_HEADER; UPGRADE_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(Status::Complete(end)) if end == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(UpgradeRefusal::TooLarge),
        Ok(_) | Err(_) => return Err(UpgradeRefusal::Malformed),
    }
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let fields = RequestFields(request.headers);
    match request.version {
        _ if method != "GET" => return Err(UpgradeRefusal::Method),
        Some(1) => {}
        _ => return Err(UpgradeRefusal::Version),
    }
    if target.split('?').next() != Some(rules.path) {
        return Err(UpgradeRefusal::NotFound);
    }
    if !fields.lists("upgrade", "websocket") || !fields.lists("connection", "upgrade") {
        return Err(UpgradeRefusal::NoUpgrade);
    }
    // What came behind the head would be read as frames.
    let has_body = fields.all("content-length").any(|length| length != b"0") || fields.has("transfer-encoding");
    if has_body || fields.one("host")?.is_none() {
        return Err(UpgradeRefusal::Header);
    }
    if fields.one("sec-websocket-version")? != Some(b"13") {
        return Err(UpgradeRefusal::WebSocketVersion);
    }
    let key = fields.one("sec-websocket-key")?.and_then(Key::read).ok_or(UpgradeRefusal::Header)?;
    if let (Some(origins), Some(origin)) = (rules.origins, fields.one("origin")?)
        && !origins.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin))
    {
        return Err(UpgradeRefusal::Origin);
    }
    let subprotocol = fields.items("sec-websocket-protocol").find_map(|name| match name {
        b"mqtt" => Some(Subprotocol::Mqtt),
        b"mqttv3.1" => Some(Subprotocol::MqttV31),
        _ => None,
    });
    let forwarded_for = peer.and_then(|peer| forwarded_for(&fields, peer, rules.proxies));
    Ok(UpgradeGrant { key, subprotocol: subprotocol.ok_or(UpgradeRefusal::Subprotocol)?, forwarded_for })
}

/// Fields by name, whatever its case, some of which are lists.
struct RequestFields<'a, 'b>(&'a [Header<'b>]);

impl<'b> RequestFields<'_, 'b> {
    fn all(&self, name: &str) -> impl DoubleEndedIterator<Item = &'b [u8]> {
        self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.trim_ascii())
    }

    fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// The value of a field that must not be there twice.
    fn one(&self, name: &str) -> Result<Option<&'b [u8]>, UpgradeRefusal> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() { Err(UpgradeRefusal::Header) } else { Ok(first) }
    }

    /// The items of fields that are lists.
    fn items(&self, name: &str) -> impl DoubleEndedIterator<Item = &'b [u8]> {
        self.all(name).flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    }

    fn lists(&self, name: &str, item: &str) -> bool {
        self.items(name).any(|listed| listed.eq_ignore_ascii_case(item.as_bytes()))
    }
}

/// Who is in front of the proxies: each has appended whom it got the request from, and only what a proxy of ours says counts.
fn forwarded_for(fields: &RequestFields<'_, '_>, peer: IpAddr, proxies: &Networks) -> Option<IpAddr> {
    let mut nearest = None;
    let mut speaker = peer;
    for item in fields.items("x-forwarded-for").rev() {
        if !proxies.contain(speaker) {
            break;
        }
        let Some(address) = std::str::from_utf8(item).ok().and_then(address) else { break };
        nearest = Some(address);
        speaker = address;
    }
    nearest
}

/// An address with or without a port, as proxies write it.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(inside, _)| inside);
    let parsed = bare.parse().or_else(|_| bare.split(':').next().unwrap_or_default().parse());
    parsed.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
