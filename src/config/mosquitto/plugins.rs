//! Plugins of Mosquitto: which there are, and what does here what they do there.

use super::sections::ConfPlugin;

/// What a plugin is for, as its file's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PluginKind {
    /// Users in a file (Mosquitto 2.1).
    PasswordFile,
    /// Rules in a file (Mosquitto 2.1).
    AclFile,
    /// Users, groups and roles that are changed by messages.
    DynamicSecurity,
    /// What survives, in a file of `SQLite`.
    PersistSqlite,
    /// Birth and death of Sparkplug.
    Sparkplug,
    /// jpmens and iegomez: users in databases and behind HTTP.
    BackEnds,
    /// Somebody's own.
    Unknown,
}

/// Told by the file's name alone: plugins lie wherever somebody has put them.
pub(super) fn kind_of(path: &str) -> PluginKind {
    let file = path.rsplit(['/', '\\']).next().unwrap_or_default();
    match file.rsplit_once('.').map_or(file, |(name, _)| name) {
        "mosquitto_password_file" => PluginKind::PasswordFile,
        "mosquitto_acl_file" => PluginKind::AclFile,
        "mosquitto_dynamic_security" => PluginKind::DynamicSecurity,
        "mosquitto_persist_sqlite" => PluginKind::PersistSqlite,
        "mosquitto_sparkplug_aware" => PluginKind::Sparkplug,
        "go-auth" | "auth-plug" | "mosquitto-go-auth" => PluginKind::BackEnds,
        _ => PluginKind::Unknown,
    }
}

impl PluginKind {
    /// Whether it may have decided who comes in.
    pub(super) fn decides(self) -> bool {
        matches!(self, Self::DynamicSecurity | Self::BackEnds | Self::Unknown)
    }

    /// What to do in its place; `None` if its options are taken over.
    pub(super) fn answer(self, plugin: &ConfPlugin) -> Option<String> {
        Some(match self {
            Self::PasswordFile | Self::AclFile => return None,
            Self::DynamicSecurity => {
                let file = plugin.option("config_file").map_or("dynamic-security.json", |line| &line.value);
                format!(
                    "there are no users that messages change. Its users come over with their passwords: jq -r \
                     '.clients[] | if .encoded_password then \"\\(.username):\\(.encoded_password)\" elif .password then \
                     \"\\(.username):$7$\\(.iterations)$\\(.salt)$\\(.password)\" else empty end' {file} > users; \
                     password_file names that file. Its roles become rules in acl_file, with groups (docs/CONFIGURATION.md, \
                     \"Access rules\")"
                )
            }
            Self::PersistSqlite => "sessions and retained messages are kept by [store] storage = \"disk\"; what is in the SQLite \
                                    file cannot be brought over: only a mosquitto.db can"
                .to_owned(),
            Self::Sparkplug => "messages of Sparkplug are passed on as any others: $sparkplug/certificates is not made".to_owned(),
            Self::BackEnds => "users behind HTTP are asked for by [auth] auth_http_url and acl_http_url, tokens by jwt_key or \
                               jwks_url (docs/AUTHENTICATION.md); other databases need a service of yours in front of them"
                .to_owned(),
            Self::Unknown => "there are no plugins: [auth] password_file, jwt_key, jwks_url and auth_http_url say who comes in, \
                              acl_file and acl_http_url what they may do"
                .to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_known_by_their_files() {
        for (path, kind) in [
            ("/usr/lib/mosquitto_dynamic_security.so", PluginKind::DynamicSecurity),
            (r"C:\Program Files\Mosquitto\mosquitto_acl_file.dll", PluginKind::AclFile),
            ("/mosquitto/go-auth.so", PluginKind::BackEnds),
            ("./my.so", PluginKind::Unknown),
            ("", PluginKind::Unknown),
        ] {
            assert_eq!(kind_of(path), kind, "{path}");
        }
    }
}
