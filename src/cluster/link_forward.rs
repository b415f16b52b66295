//! FORWARD: a client that has come to another node than its range's, as the owner has to know it.
//!
//! Always holds: everything that the client's own layers have told the first node is in it, and nothing that the client could have said itself: the bytes
//! of its CONNECT follow behind the frame, as they came.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::link_bytes::{FrameReader, LinkFrameError, flag_bits, mqtt_text, put};
use crate::ids::{PeerAddress, UnixPeer};

/// A client on its way to the node that serves its range. The only frame of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkForward<'a> {
    /// The name of the listener that it came by.
    pub listener: &'a str,
    /// Where it comes from, without an IPv6 flow; `None` if nobody knows.
    pub peer: Option<PeerAddress>,
    /// Of MQTT: 3, 4 or 5, as in CONNECT.
    pub version: u8,
    /// The client id that it has in place of the one in CONNECT: its certificate's, or one that was made up for it.
    pub client_id: Option<&'a str>,
    /// Whom it has proved to be, by its certificate or by the system: no password is asked for.
    pub proved_user: Option<&'a str>,
    /// What its certificate, or a proxy in front of it, says.
    pub identity: Option<LinkIdentity<'a>>,
}

/// What is known of a client by its certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkIdentity<'a> {
    /// The common name of its subject.
    pub common_name: Option<&'a str>,
    /// The whole subject.
    pub subject: Option<&'a str>,
    /// The version of TLS, as a proxy names it.
    pub tls_version: Option<&'a str>,
    /// Its alternative names, in their order.
    pub alternative_names: LinkTexts<'a>,
}

/// A list of texts, each behind its length.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkTexts<'a>(&'a [u8]);

impl<'a> LinkTexts<'a> {
    /// Of texts that were written one after the other; their bytes are put into `out`, which is empty.
    pub fn write<'o>(texts: impl IntoIterator<Item = &'a str>, out: &'o mut Vec<u8>) -> LinkTexts<'o> {
        out.clear();
        texts.into_iter().for_each(|text| put(out, text.as_bytes()));
        LinkTexts(out)
    }

    /// The texts in their order.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let mut rest = FrameReader(self.0);
        std::iter::from_fn(move || rest.any_text("a name").ok())
    }

    fn read(bytes: &'a [u8]) -> Result<Self, LinkFrameError> {
        let mut rest = FrameReader(bytes);
        while !rest.0.is_empty() {
            rest.any_text("a name")?;
        }
        Ok(Self(bytes))
    }
}

impl std::fmt::Debug for LinkTexts<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.iter()).finish()
    }
}

const NOBODY_KNOWS: u8 = 0;
const IPV4: u8 = 4;
const IPV6: u8 = 6;
const UNIX: u8 = 1;
const UNIX_WITH_PROCESS: u8 = 2;

impl<'a> LinkForward<'a> {
    pub(super) fn read(body: &mut FrameReader<'a>) -> Result<Self, LinkFrameError> {
        let listener = body.text("a listener")?;
        let peer = read_peer(body)?;
        let version = body.u8("a version")?;
        if !(3..=5).contains(&version) {
            return Err(LinkFrameError::Invalid("a version"));
        }
        let [has_id, has_user, has_identity] = body.flags()?;
        let client_id = has_id.then(|| body.text("a client id")).transpose()?;
        let proved_user = has_user.then(|| body.text("a user")).transpose()?;
        let identity = has_identity.then(|| LinkIdentity::read(body)).transpose()?;
        Ok(Self { listener, peer, version, client_id, proved_user, identity })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put(out, self.listener.as_bytes());
        write_peer(self.peer, out);
        out.push(self.version);
        out.push(flag_bits([self.client_id.is_some(), self.proved_user.is_some(), self.identity.is_some()]));
        for text in [self.client_id, self.proved_user].into_iter().flatten() {
            debug_assert!(mqtt_text(text.as_bytes(), "").is_ok(), "an id and a user are texts of MQTT");
            put(out, text.as_bytes());
        }
        if let Some(identity) = &self.identity {
            identity.write(out);
        }
    }
}

impl<'a> LinkIdentity<'a> {
    fn read(body: &mut FrameReader<'a>) -> Result<Self, LinkFrameError> {
        let [has_name, has_subject, has_version] = body.flags()?;
        let common_name = has_name.then(|| body.any_text("a common name")).transpose()?;
        let subject = has_subject.then(|| body.any_text("a subject")).transpose()?;
        let tls_version = has_version.then(|| body.any_text("a version of TLS")).transpose()?;
        let alternative_names = LinkTexts::read(body.bytes("names")?)?;
        Ok(Self { common_name, subject, tls_version, alternative_names })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let texts = [self.common_name, self.subject, self.tls_version];
        out.push(flag_bits(texts.map(|text| text.is_some())));
        texts.into_iter().flatten().for_each(|text| put(out, text.as_bytes()));
        put(out, self.alternative_names.0);
    }
}

fn read_peer(body: &mut FrameReader<'_>) -> Result<Option<PeerAddress>, LinkFrameError> {
    let what = "a peer";
    Ok(Some(match body.u8(what)? {
        NOBODY_KNOWS => return Ok(None),
        IPV4 => {
            let ip = Ipv4Addr::from(body.array::<4>(what)?);
            PeerAddress::Ip(SocketAddr::new(IpAddr::V4(ip), body.u16(what)?))
        }
        IPV6 => {
            let ip = Ipv6Addr::from(body.array::<16>(what)?);
            let (port, scope) = (body.u16(what)?, body.u32(what)?);
            PeerAddress::Ip(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
        }
        kind @ (UNIX | UNIX_WITH_PROCESS) => {
            let (user_id, group_id) = (body.u32(what)?, body.u32(what)?);
            let process_id = (kind == UNIX_WITH_PROCESS).then(|| body.u32(what)).transpose()?;
            PeerAddress::Unix(UnixPeer { process_id, user_id, group_id })
        }
        _ => return Err(LinkFrameError::Invalid(what)),
    }))
}

fn write_peer(peer: Option<PeerAddress>, out: &mut Vec<u8>) {
    match peer {
        None => out.push(NOBODY_KNOWS),
        Some(PeerAddress::Ip(SocketAddr::V4(address))) => {
            out.push(IPV4);
            out.extend_from_slice(&address.ip().octets());
            out.extend_from_slice(&address.port().to_le_bytes());
        }
        Some(PeerAddress::Ip(SocketAddr::V6(address))) => {
            out.push(IPV6);
            out.extend_from_slice(&address.ip().octets());
            out.extend_from_slice(&address.port().to_le_bytes());
            out.extend_from_slice(&address.scope_id().to_le_bytes());
        }
        Some(PeerAddress::Unix(UnixPeer { process_id, user_id, group_id })) => {
            out.push(if process_id.is_some() { UNIX_WITH_PROCESS } else { UNIX });
            for number in [Some(user_id), Some(group_id), process_id].into_iter().flatten() {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
    }
}
