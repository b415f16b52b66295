//! The files that say who may come in. They are read with the settings, and one that is broken makes no configuration.
//!
//! Always holds: an [`AccessFiles`] that exists was read whole; each listener that asks has a chain of methods in it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use rustls::pki_types::CertificateDer;

use super::layers::{Resolved, about, index};
use super::{Listener, Problem, System};
use crate::auth::acl::{self, RuleSet};
use crate::auth::admin_users::AdminUsers;
use crate::auth::http::{HttpAuthorizer, HttpHeaders, HttpMethod, WhenDown};
use crate::auth::password::Users;
use crate::auth::scram::ScramUsers;
use crate::auth::token::{TokenKeys, TokenMethod, TokenPolicy};
use crate::auth::{BanList, Chains, Method, Profiles, parse_profiles};
use crate::http::{self, SYSTEM_AUTHORITIES};
use crate::settings::{AuthMethod, AuthenticationSettings, ListenerSettings, Unit, WhenHttpDown};

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessFiles {
    /// By path: listeners may share a file.
    users: BTreeMap<Box<Path>, Arc<Users>>,
    /// Keys of tokens, likewise.
    token_keys: BTreeMap<Box<Path>, Arc<TokenKeys>>,
    /// The access rules, and where they were read.
    rules: Option<(Box<Path>, Arc<RuleSet>)>,
    /// Whom nobody lets in, and where it was read.
    ban_list: Option<(Box<Path>, Arc<BanList>)>,
    /// What holds for some clients only, and where it was read.
    profiles: Option<(Box<Path>, Arc<Profiles>)>,
    /// By path, as above: those whose passwords do not leave their clients.
    scram_users: BTreeMap<Box<Path>, Arc<ScramUsers>>,
    /// Whose they are.
    scram: Vec<(Box<str>, Box<Path>)>,
    /// Who is asked about topics of each listener's clients.
    authorizers: Vec<(Box<str>, Arc<HttpAuthorizer>)>,
    /// What requests to back ends carry, and where it was read.
    headers: Option<(Box<Path>, HttpHeaders)>,
    /// Who may use the admin API, and where it was read.
    admin: Option<(Box<Path>, Arc<AdminUsers>)>,
    /// Whose certificates back ends and providers must have.
    authorities: Vec<CertificateDer<'static>>,
    /// The methods of each listener, in order.
    listeners: Vec<(Box<str>, ListenerChain)>,
}

/// Methods in their order.
type ListenerChain = Vec<ListenerMethod>;

/// A method with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ListenerMethod {
    Passwords(Box<Path>),
    Tokens(Arc<TokenMethod>),
    Http(Arc<HttpMethod>),
}

/// Where somebody who is not known is compared to; nobody outside may know.
static DECOY_KEY: LazyLock<(u64, u64)> = LazyLock::new(|| {
    let random = || RandomState::new().build_hasher().finish();
    (random(), random())
});

impl AccessFiles {
    /// Reads the files of all listeners.
    pub(super) fn read<'a>(
        system: &System<'_>,
        of_all: &[Resolved],
        listeners: impl Iterator<Item = (&'a Listener, &'a [Resolved])>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut access = Self::default();
        for (listener, resolved) in listeners {
            let settings = &listener.settings;
            let mut problem = |flag: &str, text: String| {
                let source = &resolved[index(flag)].source;
                let row = &super::layers::ROWS[index(flag)];
                let is_own = *source != of_all[index(flag)].source;
                let path = if is_own { format!("[[listener]] {}", row.key()) } else { row.path() };
                let problem = Problem::new(source, about(&path, source, &text));
                // Listeners that share a file share what is wrong with it.
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            };
            let mut chain = Vec::new();
            for method in settings.methods() {
                match access.read_method(system, settings, method) {
                    Ok(method) => chain.push(method),
                    Err((flag, text)) => problem(flag, text),
                }
            }
            if let Some(path) = settings.auth.scram_file.path() {
                match access.read_scram(system, path) {
                    Ok(()) => access.scram.push((settings.name.clone(), path.into())),
                    Err(text) => problem("scram-file", format!("{}: {text}", path.display())),
                }
            }
            if let Some(url) = settings.auth.acl_http_url.get() {
                let authorizer = HttpAuthorizer { url: url.into(), when_down: when_down(&settings.auth) };
                access.authorizers.push((settings.name.clone(), Arc::new(authorizer)));
            }
            access.listeners.push((settings.name.clone(), chain));
        }
        access
    }

    /// One method of a listener, or the flag that is to blame and what is wrong.
    fn read_method(
        &mut self,
        system: &System<'_>,
        settings: &ListenerSettings,
        method: AuthMethod,
    ) -> Result<ListenerMethod, (&'static str, String)> {
        if !settings.is_configured(method) {
            let text = match method {
                AuthMethod::PasswordFile => "password-file needs a file: give --password-file",
                AuthMethod::Jwt => "jwt needs keys: give --jwt-key or --jwks-url",
                AuthMethod::Http => "http needs a back end: give --auth-http-url",
            };
            return Err(("authentication", text.to_owned()));
        }
        let wrong = |flag, path: &Path| {
            let path = path.display().to_string();
            move |text: String| (flag, format!("{path}: {text}"))
        };
        match (method, settings.password_file.path()) {
            (AuthMethod::PasswordFile, path) => {
                let path = path.unwrap_or(Path::new("none"));
                self.read_users(system, path).map_err(wrong("password-file", path))?;
                Ok(ListenerMethod::Passwords(path.into()))
            }
            (AuthMethod::Http, _) => {
                let url = settings.auth.auth_http_url.get().unwrap_or_default().into();
                Ok(ListenerMethod::Http(Arc::new(HttpMethod { url, when_down: when_down(&settings.auth) })))
            }
            (AuthMethod::Jwt, _) => {
                let mut keys = Vec::new();
                for path in settings.auth.jwt_files() {
                    keys.push(self.read_token_keys(system, path).map_err(wrong("jwt-key", path))?);
                }
                Ok(ListenerMethod::Tokens(Arc::new(token_method(&settings.auth, keys))))
            }
        }
    }

    fn read_token_keys(&mut self, system: &System<'_>, path: &Path) -> Result<Arc<TokenKeys>, String> {
        if let Some(keys) = self.token_keys.get(path) {
            return Ok(Arc::clone(keys));
        }
        let text = (system.read_file)(path).map_err(|error| format!("cannot be read: {error}"))?;
        let keys = Arc::new(TokenKeys::parse_file(&text).map_err(|error| error.to_string())?);
        self.token_keys.insert(path.into(), Arc::clone(&keys));
        Ok(keys)
    }

    fn read_scram(&mut self, system: &System<'_>, path: &Path) -> Result<(), String> {
        if !self.scram_users.contains_key(path) {
            let text = (system.read_file)(path).map_err(|error| format!("cannot be read: {error}"))?;
            let users = ScramUsers::parse(&text).map_err(|error| error.to_string())?;
            self.scram_users.insert(path.into(), Arc::new(users));
        }
        Ok(())
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

    /// Reads whom nobody lets in.
    pub(super) fn read_ban_list(&mut self, system: &System<'_>, path: &Path) -> Result<(), String> {
        let text = (system.read_file)(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        let list = BanList::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        self.ban_list = Some((path.into(), Arc::new(list)));
        Ok(())
    }

    /// Whom nobody lets in.
    pub fn ban_list(&self) -> Option<&Arc<BanList>> {
        self.ban_list.as_ref().map(|(_, list)| list)
    }

    /// Reads what holds for some clients only.
    pub(super) fn read_profiles(&mut self, system: &System<'_>, path: &Path) -> Result<(), String> {
        let text = (system.read_file)(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        let read = |unit: Unit| move |text: &str| unit.parse(text);
        let profiles = parse_profiles(&text, &read(Unit::Bytes), &read(Unit::Seconds));
        let profiles = profiles.map_err(|error| format!("{}: {error}", path.display()))?;
        self.profiles = Some((path.into(), Arc::new(profiles)));
        Ok(())
    }

    /// What holds for some clients only.
    pub fn profiles(&self) -> Option<&Arc<Profiles>> {
        self.profiles.as_ref().map(|(_, profiles)| profiles)
    }

    /// Reads whose certificates servers must have that are asked over TLS, where one is: of a file, or else of the system.
    pub(super) fn read_authorities(&mut self, system: &System<'_>, path: Option<&Path>) -> Result<(), String> {
        if !self.uses_tls() {
            return Ok(());
        }
        let (path, text) = match path {
            Some(path) => (
                path,
                (system.read_file)(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?,
            ),
            None => SYSTEM_AUTHORITIES
                .into_iter()
                .find_map(|path| Some((Path::new(path), (system.read_file)(Path::new(path)).ok()?)))
                .ok_or("a URL begins with https and this system has no list of authorities: give --auth-http-ca")?,
        };
        let read = http::authorities(text.as_bytes());
        self.authorities = read.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(())
    }

    /// Reads what requests to back ends carry.
    pub(super) fn read_headers(&mut self, system: &System<'_>, path: &Path) -> Result<(), String> {
        let text = (system.read_file)(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        let headers = HttpHeaders::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        self.headers = Some((path.into(), headers));
        Ok(())
    }

    /// What requests to back ends carry.
    pub fn headers(&self) -> Option<&HttpHeaders> {
        self.headers.as_ref().map(|(_, headers)| headers)
    }

    /// Whose certificates servers must have that are asked over TLS.
    pub fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// Whether anybody is asked over TLS.
    fn uses_tls(&self) -> bool {
        let urls = self.listeners.iter().flat_map(|(_, chain)| chain).filter_map(|method| match method {
            ListenerMethod::Tokens(method) => method.url.as_deref(),
            ListenerMethod::Http(method) => Some(&*method.url),
            ListenerMethod::Passwords(_) => None,
        });
        let authorizers = self.authorizers.iter().map(|(_, authorizer)| &*authorizer.url);
        urls.chain(authorizers).any(|url| url.starts_with("https://"))
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
        let of = |method: &ListenerMethod| match method {
            ListenerMethod::Passwords(path) => Method::Passwords(Arc::clone(&self.users[path])),
            ListenerMethod::Tokens(method) => Method::Tokens(Arc::clone(method)),
            ListenerMethod::Http(method) => Method::Http(Arc::clone(method)),
        };
        let chains =
            Chains::new(self.listeners.iter().map(|(name, chain)| (name.clone(), chain.iter().map(of).collect())));
        let scram = self.scram.iter().map(|(name, path)| (name.clone(), Arc::clone(&self.scram_users[path])));
        chains.with_authorizers(self.authorizers.iter().cloned()).with_scram(scram)
    }

    /// Whether it makes a difference who a client is: somebody says it, or rules do something about it.
    pub fn tells_clients_apart(&self) -> bool {
        self.asks() || self.rules.is_some()
    }

    /// Whether anybody is asked at all.
    pub fn asks(&self) -> bool {
        !self.authorizers.is_empty()
            || !self.scram.is_empty()
            || self.listeners.iter().any(|(_, chain)| !chain.is_empty())
    }

    /// Who came by a listener that there is no more, and has not gone, may still show a new token or prove a password anew, and is asked
    /// about.
    pub(super) fn keep_departed(&mut self, old: &Self) {
        let here: BTreeSet<Box<str>> = self.listeners.iter().map(|(name, _)| name.clone()).collect();
        let departed = |name: &str| !here.contains(name);
        for (name, chain) in old.listeners.iter().filter(|(name, _)| departed(name)) {
            let tokens = chain.iter().filter(|method| matches!(method, ListenerMethod::Tokens(_))).cloned();
            self.listeners.push((name.clone(), tokens.collect()));
        }
        for (name, path) in old.scram.iter().filter(|(name, _)| departed(name)) {
            self.scram.push((name.clone(), path.clone()));
            let users = self.scram_users.entry(path.clone());
            users.or_insert_with(|| Arc::clone(&old.scram_users[path]));
        }
        self.authorizers.extend(old.authorizers.iter().filter(|(name, _)| departed(name)).cloned());
    }

    /// Each file whose content is another than in `old`: its path, and what it says, then and now.
    pub(super) fn changed_since(&self, old: &Self) -> Vec<(String, String, String)> {
        let mut told = changed(&self.users, &old.users, |users| count(users.len(), "user"));
        told.extend(changed(&self.scram_users, &old.scram_users, |users| count(users.len(), "user")));
        told.extend(changed(&self.token_keys, &old.token_keys, |keys| count(keys.len(), "key")));
        if let (Some((path, new)), Some(old)) = (&self.rules, old.rules())
            && new != old
        {
            told.push((path.display().to_string(), count(old.len(), "rule"), count(new.len(), "rule")));
        }
        if let (Some((path, new)), Some(old)) = (&self.ban_list, old.ban_list())
            && new != old
        {
            told.push((path.display().to_string(), count(old.len(), "ban"), count(new.len(), "ban")));
        }
        if let (Some((path, new)), Some(old)) = (&self.profiles, old.profiles())
            && new != old
        {
            told.push((path.display().to_string(), count(old.len(), "profile"), count(new.len(), "profile")));
        }
        if let (Some((path, new)), Some((_, old))) = (&self.admin, &old.admin)
            && new != old
        {
            told.push((path.display().to_string(), count(old.len(), "admin user"), count(new.len(), "admin user")));
        }
        told
    }

    /// Reads who may use the admin API.
    pub(super) fn read_admin_users(&mut self, system: &System<'_>, path: &Path) -> Result<(), String> {
        let text = (system.read_file)(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        let users = AdminUsers::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        self.admin = Some((path.into(), Arc::new(users)));
        Ok(())
    }

    /// Who may use the admin API, if a file says so.
    pub(super) fn admin_users(&self) -> Option<&Arc<AdminUsers>> {
        self.admin.as_ref().map(|(_, users)| users)
    }

    /// All files that were read for it.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let users = self.users.keys().chain(self.scram_users.keys()).chain(self.token_keys.keys());
        let rules = self.rules.iter().map(|(path, _)| path).chain(self.profiles.iter().map(|(path, _)| path));
        let rules = rules.chain(self.ban_list.iter().map(|(path, _)| path));
        let others = self.headers.iter().map(|(path, _)| path).chain(self.admin.iter().map(|(path, _)| path));
        users.chain(rules).chain(others).map(|path| &**path)
    }

    /// Files that others than the broker may read, a sentence each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let is_open = |path: &Path| {
            std::fs::metadata(path)
                .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o007 != 0)
        };
        let hashes = self.users.keys().chain(self.scram_users.keys()).map(|path| (&**path, "password hashes"));
        let secrets = self.token_keys.iter().filter(|(_, keys)| keys.have_secret());
        let secrets = secrets.map(|(path, _)| (&**path, "a secret that tokens are signed with"));
        let headers = self.headers.iter().map(|(path, _)| (&**path, "headers for back ends"));
        let admin = self.admin.iter().map(|(path, _)| (&**path, "who may use the admin API"));
        let open = hashes.chain(secrets).chain(headers).chain(admin).filter(|(path, _)| is_open(path));
        open.map(|(path, what)| {
            let path = path.display();
            format!("every user of this machine may read {path}, which holds {what}; to mend it: chmod o= {path}")
        })
        .collect()
    }
}

/// Files of one kind whose content is another than in `old`, with what is said of it then and now.
fn changed<T: PartialEq>(
    new: &BTreeMap<Box<Path>, Arc<T>>,
    old: &BTreeMap<Box<Path>, Arc<T>>,
    told: impl Fn(&T) -> String,
) -> Vec<(String, String, String)> {
    let both = new.iter().filter_map(|(path, new)| Some((path, old.get(path)?, new)));
    let changed = both.filter(|(_, old, new)| old != new);
    changed.map(|(path, old, new)| (path.display().to_string(), told(old), told(new))).collect()
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

const fn when_down(settings: &AuthenticationSettings) -> WhenDown {
    match settings.http_when_down {
        WhenHttpDown::Deny => WhenDown::Deny,
        WhenHttpDown::Ignore => WhenDown::Ignore,
    }
}

/// Tokens as the settings of a listener want them.
fn token_method(settings: &AuthenticationSettings, keys: Vec<Arc<TokenKeys>>) -> TokenMethod {
    let policy = TokenPolicy {
        issuer: settings.jwt_issuer.get().map(Into::into),
        audience: settings.jwt_audience.get().map(Into::into),
        leeway_s: settings.jwt_leeway_s,
        user_claim: settings.jwt_user_claim.get().map(Into::into),
        client_id_claim: settings.jwt_client_id_claim.get().map(Into::into),
    };
    TokenMethod { keys, url: settings.jwks_url.get().map(Into::into), policy }
}
