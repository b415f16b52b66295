//! What follows from the settings of one listener.

use core::net::IpAddr;

use super::ListenerSettings;
use super::value::{AuthMethod, CertificateUser, ListenerKind, MethodOrder};
use crate::auth::Policy;

/// What the listener of the broker's own services is called; no other one may be.
pub const INTERNAL_LISTENER_NAME: &str = "internal";

impl ListenerSettings {
    /// Those of the broker's own services.
    pub fn internal() -> Self {
        Self { name: INTERNAL_LISTENER_NAME.into(), policy: Policy::Admit, is_internal: true, ..Self::default() }
    }

    /// Whether something else than CONNECT says what its clients' users are called.
    pub fn names_users(&self) -> bool {
        self.unix_user_names || self.certificate_user != CertificateUser::Off
    }

    /// Sets who comes in: what `allow_anonymous` says of an address that is loopback, or is not, and who checks credentials.
    pub fn decide_policy(&mut self, is_loopback: bool) {
        self.policy = match (self.methods().is_empty(), self.allow_anonymous.admits(is_loopback)) {
            (true, true) => Policy::Admit,
            (true, false) => Policy::Refuse,
            (false, true) => Policy::AskAboutCredentials,
            (false, false) => Policy::Ask,
        };
    }

    /// Whether clients may come from an address.
    pub fn lets_in(&self, address: IpAddr) -> bool {
        self.allow_from.contain(address) && !self.deny_from.contain(address)
    }

    /// Whether what a peer says of who is behind it is believed; a peer without an address is of this machine, where the file of the
    /// socket says who may connect.
    pub fn is_proxy(&self, peer: Option<IpAddr>) -> bool {
        let may_speak = self.proxy_protocol || self.kind.has_websocket();
        may_speak && peer.map_or(self.kind == ListenerKind::Unix, |peer| self.proxy_from.contain(peer))
    }

    /// Files of its TLS: certificates, keys, authorities, revocation lists.
    pub fn tls_files(&self) -> impl Iterator<Item = &str> {
        let lists = [&self.tls_certificates, &self.tls_keys, &self.tls_crls].into_iter().flatten().map(String::as_str);
        let single = [&*self.tls_ca, &*self.tls_ocsp, &*self.tls_key_passphrase_file];
        lists.chain(single).filter(|path| *path != "none" && self.kind.has_tls())
    }

    /// Whether somebody is asked about its clients.
    pub fn asks(&self) -> bool {
        let has_others = self.auth.scram_file.path().is_some() || self.auth.acl_http_url.get().is_some();
        has_others || !self.methods().is_empty()
    }

    /// Whether clients without credentials come in.
    pub fn admits_anonymous(&self) -> bool {
        matches!(self.policy, Policy::Admit | Policy::AskAboutCredentials)
    }

    /// Who checks credentials, in this order.
    pub fn methods(&self) -> Vec<AuthMethod> {
        match &self.authentication {
            MethodOrder::Configured => {
                AuthMethod::ALL.into_iter().filter(|method| self.is_configured(*method)).collect()
            }
            MethodOrder::Given(methods) => methods.to_vec(),
        }
    }

    /// Whether there is what a method needs.
    pub fn is_configured(&self, method: AuthMethod) -> bool {
        match method {
            AuthMethod::PasswordFile => self.password_file.path().is_some(),
            AuthMethod::Http => self.auth.auth_http_url.get().is_some(),
            AuthMethod::Jwt => self.auth.has_tokens(),
        }
    }
}
