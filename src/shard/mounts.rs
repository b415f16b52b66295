//! Mount points of sessions: what stands before each topic of a client that the client does not see.
//!
//! Always holds: inside the broker every topic and filter is whole, what is stored included; it is put together where a packet comes in and cut
//! where one is encoded. A client with a mount point is sent nothing that lies outside of it. A session without one costs a look at an
//! empty list.
//! Leaves to others: which mount point a client has (`auth`), that a topic which has become too long is refused (whoever parses it).

use crate::ids::SessionId;

/// What begins the filter of a shared subscription.
const SHARE_PREFIX: &str = "$share/";

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// By slot of the session; empty where nobody has one.
    sessions: Vec<Option<Box<str>>>,
}

impl Mounts {
    /// From now on the session's client has this one.
    pub(super) fn set(&mut self, id: SessionId, mount: Option<Box<str>>) {
        let slot = id.0 as usize;
        if mount.is_some() && self.sessions.len() <= slot {
            self.sessions.resize_with(slot + 1, || None);
        }
        if let Some(own) = self.sessions.get_mut(slot) {
            *own = mount;
        }
    }

    /// What stands before the topics of a session's client; `None` where it sees whole ones.
    #[inline]
    pub(super) fn of(&self, id: SessionId) -> Option<&str> {
        self.sessions.get(id.0 as usize)?.as_deref()
    }

    /// The whole of a client's topic, where that is another.
    #[inline]
    pub(super) fn topic(&self, id: SessionId, topic: &str) -> Option<String> {
        self.of(id).map(|mount| [mount, topic].concat())
    }

    /// The whole of a client's filter, where that is another: of a shared subscription the mount point stands behind the group's name.
    pub(super) fn filter(&self, id: SessionId, text: &str) -> Option<String> {
        let mount = self.of(id)?;
        let shared = text.strip_prefix(SHARE_PREFIX).and_then(|rest| rest.split_once('/'));
        Some(match shared {
            Some((_, "")) | None if text.is_empty() || text.starts_with(SHARE_PREFIX) => text.to_owned(), // which is none
            Some((group, filter)) => [SHARE_PREFIX, group, "/", mount, filter].concat(),
            None => [mount, text].concat(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_stands_before_topics_and_inside_shared_filters() {
        let mut mounts = Mounts::default();
        assert_eq!((mounts.of(SessionId(3)), mounts.topic(SessionId(3), "a")), (None, None));
        mounts.set(SessionId(3), Some("t/".into()));
        mounts.set(SessionId(9), None);
        assert_eq!(mounts.topic(SessionId(3), "a/b").as_deref(), Some("t/a/b"));
        assert_eq!(mounts.topic(SessionId(3), "$SYS/x").as_deref(), Some("t/$SYS/x"));
        for (text, whole) in [
            ("#", "t/#"),
            ("/", "t//"),
            ("$share/g/a/+", "$share/g/t/a/+"),
            ("$share/g//a", "$share/g/t//a"),
            ("$shared/g/a", "t/$shared/g/a"),
            ("$share/g", "$share/g"),
            ("$share/g/", "$share/g/"),
            ("$share/", "$share/"),
            ("", ""),
        ] {
            assert_eq!(mounts.filter(SessionId(3), text).as_deref(), Some(whole), "{text}");
        }
        mounts.set(SessionId(3), None);
        assert_eq!(mounts.filter(SessionId(3), "a"), None);
    }
}
