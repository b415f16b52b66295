//! Whose a session is, and what a back end has said of it.

use core::net::IpAddr;

use super::error::FormatError;
use super::fields::{FieldReader, put_bytes, text};

/// Whose a session is: who its client was, as far as anybody vouched for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOwner<'a> {
    /// The user name that somebody verified; `None` for a client without one.
    pub user: Option<&'a str>,
    /// The name of the listener that the client came by last.
    pub listener: &'a str,
    /// Where it came from, if that is an address.
    pub peer: Option<IpAddr>,
    /// No access rule applies to it.
    pub is_superuser: bool,
    /// A back end is asked about its topics.
    pub asks_back_end: bool,
    /// Rules of its own, from its token or its back end; what they mean is not looked at here.
    pub rules: Option<&'a [u8]>,
}

/// What a back end has said of a will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackEndDecision {
    /// It may be published.
    Allow = 1,
    /// It may not.
    Deny = 2,
    /// The rules of the file decide.
    Ignore = 3,
}

impl BackEndDecision {
    pub(super) fn take(reader: &mut FieldReader<'_>) -> Result<Self, FormatError> {
        match reader.byte("a decision")? {
            1 => Ok(Self::Allow),
            2 => Ok(Self::Deny),
            3 => Ok(Self::Ignore),
            _ => Err(FormatError::Invalid("a decision")),
        }
    }
}

const USER: u8 = 1;
const IPV4: u8 = 1 << 1;
const IPV6: u8 = 1 << 2;
const SUPERUSER: u8 = 1 << 3;
const BACK_END: u8 = 1 << 4;
const RULES: u8 = 1 << 5;
const KEEPS_FILTERS: u8 = 1 << 6;

impl<'a> SessionOwner<'a> {
    /// Appends it; `keeps_filters` is said beside it.
    pub(in crate::store) fn put(&self, keeps_filters: bool, out: &mut Vec<u8>) {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        out.push(
            flag(self.user.is_some(), USER)
                | flag(matches!(self.peer, Some(IpAddr::V4(_))), IPV4)
                | flag(matches!(self.peer, Some(IpAddr::V6(_))), IPV6)
                | flag(self.is_superuser, SUPERUSER)
                | flag(self.asks_back_end, BACK_END)
                | flag(self.rules.is_some(), RULES)
                | flag(keeps_filters, KEEPS_FILTERS),
        );
        if let Some(user) = self.user {
            put_bytes(out, user.as_bytes());
        }
        match self.peer {
            Some(IpAddr::V4(address)) => out.extend_from_slice(&address.octets()),
            Some(IpAddr::V6(address)) => out.extend_from_slice(&address.octets()),
            None => {}
        }
        if let Some(rules) = self.rules {
            put_bytes(out, rules);
        }
        out.extend_from_slice(self.listener.as_bytes());
    }

    /// The same read back, up to the end of what there is.
    pub(super) fn take(reader: &mut FieldReader<'a>) -> Result<(Self, bool), FormatError> {
        let what = "a session's owner";
        let flags = reader.byte(what)?;
        if flags & 0x80 != 0 || flags & (IPV4 | IPV6) == IPV4 | IPV6 {
            return Err(FormatError::Invalid("an owner's flags"));
        }
        let has = |flag| flags & flag != 0;
        let user = if has(USER) { Some(text(reader.bytes(what)?, "a user name")?) } else { None };
        let peer = if has(IPV4) {
            Some(IpAddr::from(reader.array::<4>(what)?))
        } else if has(IPV6) {
            Some(IpAddr::from(reader.array::<16>(what)?))
        } else {
            None
        };
        let rules = if has(RULES) { Some(reader.bytes(what)?) } else { None };
        let listener = text(reader.rest(), "a listener's name")?;
        let (is_superuser, asks_back_end) = (has(SUPERUSER), has(BACK_END));
        Ok((Self { user, listener, peer, is_superuser, asks_back_end, rules }, has(KEEPS_FILTERS)))
    }

    /// What [`Self::put`] has appended, and nothing else.
    pub(in crate::store) fn read(bytes: &'a [u8]) -> Result<Self, FormatError> {
        Self::take(&mut FieldReader::new(bytes)).map(|(owner, _)| owner)
    }
}
