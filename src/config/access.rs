//! The files that say who may come in. They are read with the settings, and one that is broken makes no configuration.
//!
//! Always holds: an [`AccessFiles`] that exists was read whole; each listener that asks has a chain of methods in it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use super::layers::{Resolved, about, index};
use super::{Listener, Problem, System};
use crate::auth::acl::{self, RuleSet};
use crate::auth::password::Users;
use crate::auth::{Chains, Method};
use crate::settings::AuthMethod;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessFiles {
    /// By path: listeners may share a file.
    users: BTreeMap<Box<Path>, Arc<Users>>,
    /// The access rules, and where they were read.
    rules: Option<(Box<Path>, Arc<RuleSet>)>,
    /// The methods of each listener, in order.
    listeners: Vec<(Box<str>, ListenerChain)>,
}

/// Methods in their order, each with its file.
type ListenerChain = Vec<(AuthMethod, Box<Path>)>;

/// Where somebody who is not known is compared to; nobody outside may know.
static DECOY_KEY: LazyLock<(u64, u64)> = LazyLock::new(|| {
    let random = || RandomState::new().build_hasher().finish();
    (random(), random())
});

impl AccessFiles {
    /// Reads the files of all listeners.
    pub(super) fn read<'a>(
        system: &System<'_>,
        listeners: impl Iterator<Item = (&'a Listener, &'a [Resolved])>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut access = Self::default();
        for (listener, resolved) in listeners {
            let settings = &listener.settings;
            let mut problem = |flag: &str, text: String| {
                let source = &resolved[index(flag)].source;
                let path = super::layers::ROWS[index(flag)].path();
                let problem = Problem::new(source, about(&path, source, &text));
                // Listeners that share a file share what is wrong with it.
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            };
            let mut chain = Vec::new();
            for method in settings.methods() {
                match (method, settings.password_file.path()) {
                    (AuthMethod::PasswordFile, Some(path)) => match access.read_users(system, path) {
                        Ok(()) => chain.push((method, path.into())),
                        Err(text) => problem("password-file", format!("{}: {text}", path.display())),
                    },
                    (AuthMethod::PasswordFile, None) => {
                        problem("authentication", "password-file needs a file: give --password-file".to_owned());
                    }
                }
            }
            access.listeners.push((settings.name.clone(), chain));
        }
        access
    }

    fn read_users(&mut self, system: &System<'_>, path: &Path) -> Result<(), String> {
        if self.users.contains_key(path) {
            return Ok(());
        }
        let text = (system.read_file)(path).map_err(|error| format!("cannot be read: {error}"))?;
        let users = Users::parse(&text, *DECOY_KEY).map_err(|error| error.to_string())?;
        self.users.insert(path.into(), Arc::new(users));
        Ok(())
    }

    /// Reads the access rules.
    pub(super) fn read_rules(&mut self, system: &System<'_>, path: &Path) -> Result<(), String> {
        let text = (system.read_file)(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        let rules = acl::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        self.rules = Some((path.into(), Arc::new(rules)));
        Ok(())
    }

    /// No access rule applies to these users.
    pub(super) fn set_superusers<'a>(&mut self, users: impl Iterator<Item = &'a str>) {
        if let Some((_, rules)) = &mut self.rules {
            *rules = Arc::new((**rules).clone().with_superusers(users));
        }
    }

    /// The access rules; `None` where everybody may do everything.
    pub fn rules(&self) -> Option<&Arc<RuleSet>> {
        self.rules.as_ref().map(|(_, rules)| rules)
    }

    /// The chain of each listener.
    pub fn chains(&self) -> Chains {
        let of = |(method, path): &(AuthMethod, Box<Path>)| match method {
            AuthMethod::PasswordFile => Method::Passwords(Arc::clone(&self.users[path])),
        };
        Chains::new(self.listeners.iter().map(|(name, chain)| (name.clone(), chain.iter().map(of).collect())))
    }

    /// Whether anybody is asked at all.
    pub fn asks(&self) -> bool {
        self.listeners.iter().any(|(_, chain)| !chain.is_empty())
    }

    /// Each file whose content is another than in `old`: its path, and what it says, then and now.
    pub(super) fn changed_since(&self, old: &Self) -> Vec<(String, String, String)> {
        let told = |users: &Users| format!("{} user{}", users.len(), if users.len() == 1 { "" } else { "s" });
        let both = self.users.iter().filter_map(|(path, new)| Some((path, old.users.get(path)?, new)));
        let changed = both.filter(|(_, old, new)| old != new);
        let users = changed.map(|(path, old, new)| (path.display().to_string(), told(old), told(new)));
        let count = |rules: &RuleSet| format!("{} rule{}", rules.len(), if rules.len() == 1 { "" } else { "s" });
        let rules = self.rules.as_ref().zip(old.rules()).filter(|((_, new), old)| new != *old);
        users.chain(rules.map(|((path, new), old)| (path.display().to_string(), count(old), count(new)))).collect()
    }

    /// Files that others than the broker may read, a sentence each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let is_open = |path: &&Path| {
            std::fs::metadata(path)
                .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o007 != 0)
        };
        let open = self.users.keys().map(|path| &**path).filter(is_open);
        open.map(|path| {
            let path = path.display();
            format!(
                "every user of this machine may read {path}, which holds password hashes; to mend it: chmod o= {path}"
            )
        })
        .collect()
    }
}
