//! The accounts of the machine, read once when the broker starts: who owns a Unix socket, and what its peers are called.

use std::fs::read_to_string;
use std::sync::Arc;

use crate::config::unix::UnixSocket;
use crate::config::{Config, ListenAddress};
use crate::ring::UnixAccess;
use crate::settings::{ListenerKind, ListenerSettings, UserNames};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// Who may connect to a socket.
pub(super) fn access(socket: &UnixSocket) -> Result<UnixAccess, String> {
    let id = |name: &Option<Box<str>>, file: &str| match name {
        Some(name) => id_of(name, &read_to_string(file).unwrap_or_default())
            .map(Some)
            .ok_or_else(|| format!("{} cannot belong to {name:?}: {file} has no such name", socket.path.display())),
        None => Ok(None),
    };
    Ok(UnixAccess {
        mode: Some(socket.mode.0),
        user_id: id(&socket.owner.user, PASSWD)?,
        group_id: id(&socket.owner.group, GROUP)?,
    })
}

/// Owners of sockets that are not there, as a start would find it: one line each.
pub fn check_owners(config: &Config) -> Vec<String> {
    let sockets = config.listeners.iter().filter_map(|listener| match &listener.address {
        ListenAddress::Unix(socket) => Some(socket),
        ListenAddress::Ip(_) => None,
    });
    sockets.filter_map(|socket| access(socket).err()).collect()
}

/// The number of an account or a group, from a file in which it is the third field of its line.
fn id_of(name: &str, text: &str) -> Option<u32> {
    let line = text.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name));
    match line {
        Some(mut fields) => fields.nth(2)?.parse().ok(),
        None => name.parse().ok(),
    }
}

/// The settings of a listener, with the names of accounts where its clients are called like them.
pub(super) fn with_user_names(settings: &Arc<ListenerSettings>) -> Arc<ListenerSettings> {
    if settings.kind != ListenerKind::Unix || !settings.unix_user_names {
        return Arc::clone(settings);
    }
    let names = UserNames::of_passwd(&read_to_string(PASSWD).unwrap_or_default());
    Arc::new(ListenerSettings { user_names: Some(Arc::new(names)), ..(**settings).clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::unix::{UnixMode, UnixOwner};

    #[test]
    fn names_and_numbers_lead_to_accounts() {
        let text = "root:x:0:0::/root:/bin/sh\nmqtt:x:999:998::/:/bin/false\n7:x:70:70::/:/bin/false\n";
        let ids: Vec<_> =
            ["root", "mqtt", "7", "1234", "nobody-here", ""].iter().map(|name| id_of(name, text)).collect();
        assert_eq!(ids, [Some(0), Some(999), Some(70), Some(1234), None, None]);
    }

    #[test]
    fn an_owner_that_is_not_there_is_told() {
        let owner = UnixOwner { user: Some("nobody-of-this-name".into()), group: None };
        let socket = UnixSocket { path: "/x.sock".into(), mode: UnixMode(0o600), owner };
        let error = access(&socket).unwrap_err();
        assert!(error.contains("/x.sock") && error.contains("/etc/passwd has no such name"), "{error}");
    }
}
