//! What the methods of a listener are set to, beside the password file: who may be what, whose word counts.
//!
//! Always holds: each row is a listener's; `ListenerSettings` carries them.

#![allow(clippy::doc_markdown, reason = "what explains a setting is shown on terminals, as it stands")]

use std::path::Path;

use super::client_id_pattern::{ClientIdPattern, check_client_id_pattern};
use super::texts::{OptionalText, check_file, check_text, check_url};
use super::value::{CertificateUser, FromValue, OptionalFile, WhenHttpDown};
use super::{Fallback, Kind, Setting, Unit::Seconds, Value};
use crate::auth::MountPoint;
use crate::limits;

impl FromValue for MountPoint {
    fn from_value(value: Value) -> Self {
        Self::parse(&String::from_value(value)).expect("the row has checked it")
    }
}

fn check_mount_point(text: &str) -> Result<String, String> {
    MountPoint::parse(text).map(|mount| mount.to_string())
}

/// What a text may be that need not be there.
const TEXTS: &str = "a text, or none";

super::declare_settings! {
    /// What the operator chose for the methods of one listener.
    AuthenticationSettings, AUTHENTICATION_ROWS;

    Listener {
        /// What stands before each topic of a client: none, or a beginning such as tenant/%u/.
        ///
        /// Clients do not see it: it is put before the topics and filters that they send, wills and shared ones among them, and taken off what they are sent. %u is the
        /// user name that was verified, %c the client id; a client whose id or name has + # or / in it is refused where it would be put in. Access
        /// rules and back ends see whole topics. Response topics, which are not the broker's to read, stay as they are. A profile may say another
        /// one.
        mount_point: MountPoint = Setting::new(
            "mount-point", Kind::Text { check: check_mount_point, noun: "mount point", allowed: "a beginning of topics that ends with /, or none" },
            Fallback::Text(MountPoint::NONE_WORD),
        ).for_each_listener(), Reload;

        /// What of a client's certificate is its client id.
        ///
        /// That is its client id then, whatever CONNECT says. The certificate is the one that certificate_user speaks of; a client without that name
        /// in it has the id of its CONNECT.
        certificate_client_id: CertificateUser = Setting::new(
            "certificate-client-id", Kind::Choice { words: CertificateUser::WORDS, planned: &[], bare: None }, Fallback::Text("off"),
        ).for_each_listener(), Reload;
    }

    Auth {
        /// Client ids that clients of a user may have: any, or a pattern such as %u/*.
        ///
        /// %u is the user name that was verified, * stands for one or more characters. A client whose id does not fit is refused with
        /// 0x85 (2 before MQTT 5.0), and so is one without a verified user name; a client id that the broker has made up fits. A user
        /// name that holds what stands between %u and * has no clients: its ids would be another user's too.
        client_id_pattern: ClientIdPattern = Setting::new(
            "client-id-pattern",
            Kind::Text { check: check_client_id_pattern, noun: "pattern", allowed: "any, or a pattern with %u" },
            Fallback::Text("any"),
        ).for_each_listener(), Reload;

        /// Keys that JSON Web Tokens are signed with, as files; none is no file.
        ///
        /// A file holds public keys in PEM (RSA, EC of P-256 or P-384, Ed25519), a JSON Web Key Set, or else the bytes of a secret for HS256 to
        /// HS512, 32 of them at least, without the line break at its end. A client then shows a token as its password, or by AUTH with
        /// the method JWT. Files are read again at SIGHUP; with anything wrong in one the broker does not start, or keeps the keys that it has.
        jwt_keys: Vec<String> = Setting::new(
            "jwt-key", Kind::Texts { check: check_file, noun: "path", most: limits::TOKEN_KEY_FILES_MAX }, Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// Where a provider publishes the keys of its tokens: a URL, or none.
        ///
        /// What is there is a JSON Web Key Set. It is fetched beside the shards, every jwks_refresh and when a token names a key that is not in it. While it cannot be had, the last
        /// one holds. Secrets in it are passed over. For https the certificate must come from auth_http_ca.
        jwks_url: OptionalText = Setting::new(
            "jwks-url", Kind::Text { check: check_url, noun: "url", allowed: "a URL with http:// or https://, or none" }, Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// What a token's iss must be; none is anything.
        jwt_issuer: OptionalText = Setting::new(
            "jwt-issuer", Kind::Text { check: check_text, noun: "text", allowed: TEXTS }, Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// What a token's aud must hold; none is anything.
        jwt_audience: OptionalText = Setting::new(
            "jwt-audience", Kind::Text { check: check_text, noun: "text", allowed: TEXTS }, Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// The claim that says who the user is; with none no token does.
        ///
        /// A token without it is refused, and so is a client that sends another user name than that. With none, rules about users do not hold for
        /// clients with tokens, whatever name they send.
        jwt_user_claim: OptionalText = Setting::new(
            "jwt-user-claim", Kind::Text { check: check_text, noun: "name", allowed: "the name of a claim, or none" }, Fallback::Text("sub"),
        ).for_each_listener(), Reload;

        /// The claim that must be the client id, or none.
        jwt_client_id_claim: OptionalText = Setting::new(
            "jwt-client-id-claim", Kind::Text { check: check_text, noun: "name", allowed: "the name of a claim, or none" }, Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// How far the clock of whoever makes tokens may lie from this one.
        ///
        /// A token holds so much earlier and longer. When it has ended, so does its connection, with 0x87, unless the client has shown a new one by
        /// AUTH.
        jwt_leeway_s: u32 = Setting::number(
            "jwt-leeway", Seconds, 0, limits::JWT_LEEWAY_MAX_S as u64, limits::JWT_LEEWAY_DEFAULT_S as u64,
        ).for_each_listener(), Reload;

        /// Users who prove their passwords by SCRAM, as a file, or none.
        ///
        /// dunlin passwd --scram writes it, for SCRAM-SHA-256 and SCRAM-SHA-512. A client of MQTT 5.0 names the method in CONNECT and goes on with AUTH; its password does not leave it. The file is read again at SIGHUP;
        /// with anything wrong in it the broker does not start, or keeps the users that it has.
        scram_file: OptionalFile = Setting::new(
            "scram-file", Kind::Text { check: check_file, noun: "path", allowed: "a path, or none" }, Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// A back end that is asked over HTTP who may come in: a URL, or none.
        ///
        /// It is sent a POST with JSON (clientid, username, password, peerhost and more) for each CONNECT and answers as EMQX's HTTP
        /// authenticator has it: {"result": "allow"}, "deny" or "ignore", with is_superuser, acl and expire_at where it likes. 204 is
        /// allow, 4xx is ignore. For https its certificate must come from auth_http_ca.
        auth_http_url: OptionalText = Setting::new(
            "auth-http-url", Kind::Text { check: check_url, noun: "url", allowed: "a URL with http:// or https://, or none" }, Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// A back end that is asked over HTTP who may publish and subscribe to what: a URL, or none.
        ///
        /// It is sent a POST with JSON (clientid, username, peerhost, action, topic, qos, retain) for each topic or filter that a client has not used
        /// a short while ago, and answers as EMQX's HTTP authorizer has it. ignore leaves it to the rules of acl_file; without a file that is
        /// a no. What a client subscribed to is delivered without asking again.
        acl_http_url: OptionalText = Setting::new(
            "acl-http-url", Kind::Text { check: check_url, noun: "url", allowed: "a URL with http:// or https://, or none" }, Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// How long a decision of acl_http_url is kept for a session.
        acl_http_cache_s: u32 = Setting::number(
            "acl-http-cache", Seconds, 1, limits::ACL_HTTP_CACHE_MAX_S as u64, limits::ACL_HTTP_CACHE_DEFAULT_S as u64,
        ).for_each_listener(), Reload;

        /// What holds while auth_http_url or acl_http_url does not answer: deny or ignore.
        ///
        /// deny refuses the client with 0x88 (3 before MQTT 5.0) and what it wants to do with 0x87; ignore leaves it to the next method, and to the
        /// rules of acl_file. An answer of status 5xx, one that cannot be read and one that is too large are none.
        http_when_down: WhenHttpDown = Setting::new(
            "http-when-down", Kind::Choice { words: WhenHttpDown::WORDS, planned: &[], bare: None }, Fallback::Text("deny"),
        ).for_each_listener(), Reload;
    }
}

impl AuthenticationSettings {
    /// Whether a client may authenticate itself by this method of enhanced authentication.
    pub fn offers(&self, method: &str) -> bool {
        match method {
            "SCRAM-SHA-256" | "SCRAM-SHA-512" => self.scram_file.path().is_some(),
            "JWT" => self.has_tokens(),
            _ => false,
        }
    }

    /// Whether there is what tokens are verified with.
    pub fn has_tokens(&self) -> bool {
        self.jwt_files().next().is_some() || self.jwks_url.get().is_some()
    }

    /// Files with keys of tokens.
    pub fn jwt_files(&self) -> impl Iterator<Item = &Path> {
        self.jwt_keys.iter().filter(|path| *path != "none").map(Path::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_files_are_a_few() {
        let row = AUTHENTICATION_ROWS.iter().find(|row| row.flag == "jwt-key").expect("it is declared");
        let names = |count: usize| (0..count).map(|n| format!("key-{n}")).collect::<Vec<_>>();
        assert!(row.parse(&names(limits::TOKEN_KEY_FILES_MAX)).is_ok());
        assert!(row.parse(&names(limits::TOKEN_KEY_FILES_MAX + 1)).is_err());
        assert_eq!(AuthenticationSettings::default().jwt_files().count(), 0, "none is no file");
    }
}
