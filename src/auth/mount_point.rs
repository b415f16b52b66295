//! Mount points: what stands before each topic of a client, which the client does not see.
//!
//! Always holds: a mount point ends with `/`, begins with no `$`, and holds no wildcard; no id that is put into it can change that.

use std::fmt;

use crate::limits::MOUNT_POINT_MAX_BYTES;

/// A mount point with places for ids: `%u` is the user name that was verified, `%c` the client id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountPoint(Box<str>);

/// Why a client gets no mount point, and so does not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountRefusal {
    /// It has no verified user name, and the mount point needs one.
    NoUser,
    /// Its id or user name is empty, or has `+`, `#`, `/` or U+0000 in it.
    UnsafeId,
    /// With its ids the mount point would be too long.
    TooLong,
}

impl MountRefusal {
    /// For the log and the reason string.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoUser => "its mount point has a place for a user name, and it has no verified one",
            Self::UnsafeId => "its mount point has a place for an id that is empty, or has + # or / in it",
            Self::TooLong => "its mount point would be too long",
        }
    }
}

impl MountPoint {
    /// None: topics are what clients say.
    pub const NONE_WORD: &str = "none";

    /// Reads one, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == Self::NONE_WORD {
            return Ok(Self::default());
        }
        let wrong = if !text.ends_with('/') || text == "/" {
            "it ends with /, as in tenant/, and is more than that"
        } else if text.contains(['+', '#', '\0']) {
            "it holds no wildcard"
        } else if text.starts_with('$') {
            "it does not begin with $"
        } else if text.len() > MOUNT_POINT_MAX_BYTES {
            "it is too long"
        } else {
            return Ok(Self(text.into()));
        };
        Err(format!("{text:?} is no mount point: {wrong}"))
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// That of one client; `None` where there is none.
    pub fn of(&self, user: Option<&str>, client_id: &str) -> Result<Option<Box<str>>, MountRefusal> {
        if self.is_none() {
            return Ok(None);
        }
        let mut mount = String::with_capacity(self.0.len());
        let mut rest = &*self.0;
        while let Some(at) = rest.find('%') {
            let (before, place) = rest.split_at(at);
            mount.push_str(before);
            let id = match place.as_bytes().get(1) {
                Some(b'u') => user.ok_or(MountRefusal::NoUser)?,
                Some(b'c') => client_id,
                _ => {
                    mount.push('%');
                    rest = &place[1..];
                    continue;
                }
            };
            // An id that begins with $ would make the broker's own topics of a client's.
            if id.is_empty() || id.contains(['+', '#', '/', '\0']) || mount.is_empty() && id.starts_with('$') {
                return Err(MountRefusal::UnsafeId);
            }
            mount.push_str(id);
            rest = &place[2..];
        }
        mount.push_str(rest);
        if mount.len() > MOUNT_POINT_MAX_BYTES { Err(MountRefusal::TooLong) } else { Ok(Some(mount.into())) }
    }
}

impl fmt::Display for MountPoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.is_none() { Self::NONE_WORD } else { &self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_put_into_their_places_and_unsafe_ones_refused() {
        let of = |text: &str, user, client| MountPoint::parse(text).unwrap().of(user, client);
        assert_eq!(of("none", None, "c"), Ok(None));
        assert_eq!(of("a/", None, "c#").unwrap().as_deref(), Some("a/"), "an id without a place does no harm");
        assert_eq!(of("t/%u/%c/", Some("ann"), "c1").unwrap().as_deref(), Some("t/ann/c1/"));
        assert_eq!(of("%c-%u-100%/%x/", Some("%c"), "c1").unwrap().as_deref(), Some("c1-%c-100%/%x/"));
        assert_eq!(of("%u/", None, "c"), Err(MountRefusal::NoUser));
        for id in ["", "a/b", "+", "a#", "a\0", "$SYS"] {
            assert_eq!(of("%u/", Some(id), "c"), Err(MountRefusal::UnsafeId), "{id:?}");
            assert_eq!(of("%c/", Some("u"), id), Err(MountRefusal::UnsafeId), "{id:?}");
        }
        assert!(of("a/%c/", None, "$SYS").is_ok(), "not at the beginning");
        let long = "x".repeat(MOUNT_POINT_MAX_BYTES);
        assert_eq!(of("%c/", None, &long), Err(MountRefusal::TooLong));
    }

    #[test]
    fn what_could_not_stand_before_a_topic_is_refused() {
        let long = format!("{}/", "x".repeat(MOUNT_POINT_MAX_BYTES));
        for bad in ["", "a", "/", "a/+/", "#/", "$share/g/", "a\0/", &long] {
            assert!(MountPoint::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(MountPoint::parse("/a/").unwrap().to_string(), "/a/");
        assert_eq!(MountPoint::parse("none").unwrap().to_string(), "none");
    }
}
