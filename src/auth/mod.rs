//! Policy: data in, decision out.
//!
//! Owns: who may connect, the questions that only others can answer ([`Ask`]), and their answers ([`Verdict`]).
//! Always holds: without a rule that lets a client in, it stays outside; nothing here waits, hashes or reads a file;
//! `Debug` shows no secret.
//! Leaves to others: asking and being told (`shard`), whoever finds the answer (threads that are no shard).
//!
//! Reading order: this file (what shards ask), [`acl`], `profile`, `mount_point`, `user_rates`, `profile_file`, `operator_bans`, `ban_list`; then, behind the feature `runtime`, [`password`], [`token`], [`http`], [`scram`], `permissions`, `chain`,
//! `remembered`, `bans`, `banned_addresses`, `key_sets`, `topic_asks`, `exchanges`, `authenticator` (how the answer is found); [`admin_users`] by itself.

pub mod acl;
#[cfg(feature = "runtime")]
pub mod admin_users;
#[cfg(feature = "runtime")]
mod authenticator;
mod ban_list;
#[cfg(feature = "tls")]
mod banned_addresses;
#[cfg(feature = "runtime")]
mod bans;
#[cfg(feature = "runtime")]
mod chain;
#[cfg(feature = "runtime")]
mod exchanges;
#[cfg(feature = "runtime")]
pub mod http;
#[cfg(feature = "runtime")]
mod key_sets;
mod mount_point;
pub mod operator_bans;
#[cfg(feature = "runtime")]
mod outcome;
#[cfg(feature = "runtime")]
pub mod password;
#[cfg(feature = "runtime")]
mod permissions;
mod profile;
#[cfg(feature = "runtime")]
mod profile_file;
mod rate_kind;
#[cfg(feature = "runtime")]
mod remembered;
#[cfg(feature = "runtime")]
pub mod scram;
#[cfg(feature = "runtime")]
pub mod token;
#[cfg(feature = "runtime")]
mod toml_text;
mod topic;
#[cfg(feature = "runtime")]
mod topic_asks;
pub mod user_rates;

use core::net::IpAddr;
use std::fmt;
use std::sync::Arc;

#[cfg(feature = "runtime")]
pub use authenticator::{AuthSettings, Authenticator, Job, JobId, JobPurpose};
pub use ban_list::{BanList, BanListError};
#[cfg(feature = "tls")]
pub use banned_addresses::BannedAddresses;
#[cfg(feature = "runtime")]
pub use bans::{BanSettings, Suspect};
#[cfg(feature = "runtime")]
pub use chain::{AuthWork, Chains, Method, WorkDone};
pub use mount_point::{MountPoint, MountRefusal};
#[cfg(feature = "runtime")]
pub use outcome::MethodOutcome;
#[cfg(feature = "runtime")]
pub use permissions::{PermissionsError, parse_permissions};
pub use profile::{ClientProfile, OverRate, Profile, ProfileScope, Profiles};
#[cfg(feature = "runtime")]
pub use profile_file::{ProfileError, UnitReader, parse_profiles};
pub use rate_kind::RateKind;
pub use user_rates::UserRates;

#[cfg(feature = "runtime")]
pub use toml_text::LineError;
pub use topic::{AskedTopic, TopicAction, TopicAnswer, TopicDecision, TopicsQuestion};

use acl::RuleSet;

use crate::codec::{Connect, ReasonCode, Version};
use crate::ids::{ConnectionId, ShardId};
use crate::time::{Deadline, Timestamp};

/// What happens to the clients of one listener when CONNECT has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// All come in, with or without credentials.
    Admit,
    /// Nobody comes in.
    #[default]
    Refuse,
    /// Somebody else decides: the shard asks, and the client waits.
    Ask,
    /// Likewise about those that show credentials; those that show none come in.
    AskAboutCredentials,
}

impl Policy {
    /// Whether credentials are checked here, so that a user name that was let in is one.
    pub const fn asks(self) -> bool {
        matches!(self, Self::Ask | Self::AskAboutCredentials)
    }
}

/// Names a question of one shard. Questions are numbered in the order in which they were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// A question of a shard.
#[derive(Debug, PartialEq, Eq)]
pub struct Ask {
    /// Names the answer.
    pub id: AskId,
    /// The connection that it is about, by which the edge knows the peer.
    pub connection: ConnectionId,
    /// From then on an answer changes nothing.
    pub deadline: Deadline,
    /// What is asked.
    pub question: Question,
}

/// What can be asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// May this client connect?
    Connect(Box<ConnectQuestion>),
    /// May this client do this?
    Topics(Box<TopicsQuestion>),
}

/// Who a peer has proved to be before its CONNECT: by its certificate, or by the word of something trusted in front of us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The common name of the certificate's subject.
    pub common_name: Option<Box<str>>,
    /// The whole subject, as RFC 4514 writes it.
    pub subject: Option<Box<str>>,
    /// Its alternative names: DNS names, mail addresses and URIs, in their order.
    pub alternative_names: Box<[Box<str>]>,
    /// The version of TLS, as a proxy in front of us names it.
    pub tls_version: Option<Box<str>>,
}

/// Who wants to connect, with what it shows.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectQuestion {
    /// As it came in CONNECT, or was assigned.
    pub client_id: Box<str>,
    /// User name, if one was sent.
    pub username: Option<Box<str>>,
    /// Password, which need not be text.
    pub password: Option<Box<[u8]>>,
    /// Protocol version.
    pub version: Version,
    /// The name of the listener that it came by.
    pub listener: Box<str>,
    /// Where it comes from, if that is an address.
    pub peer: Option<IpAddr>,
    /// Who it has proved to be already, if it had to.
    pub identity: Option<Arc<PeerIdentity>>,
    /// A step of enhanced authentication, where that is how it authenticates itself.
    pub enhanced: Option<EnhancedStep>,
    /// It is in already, and authenticates itself again.
    pub is_connected: bool,
}

/// What a client sends in one step of enhanced authentication (MQTT 5.0, 4.12).
#[derive(Clone, PartialEq, Eq)]
pub struct EnhancedStep {
    /// As CONNECT names it.
    pub method: Box<str>,
    /// As the method has it.
    pub data: Option<Box<[u8]>>,
    /// It begins an exchange.
    pub is_first: bool,
}

/// Without the data.
impl fmt::Debug for EnhancedStep {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("EnhancedStep")
            .field("method", &self.method)
            .field("is_first", &self.is_first)
            .finish_non_exhaustive()
    }
}

impl ConnectQuestion {
    /// Copies what somebody needs to decide, the name of the listener among it.
    pub fn about(connect: &Connect<'_>, listener: &str) -> Self {
        Self {
            client_id: connect.client_id.into(),
            username: connect.username.map(Into::into),
            password: connect.password.map(Into::into),
            version: connect.version,
            listener: listener.into(),
            peer: None,
            identity: None,
            enhanced: connect.authentication_method.map(|method| EnhancedStep {
                method: method.into(),
                data: connect.authentication_data.map(Into::into),
                is_first: true,
            }),
            is_connected: false,
        }
    }
}

/// Without the password.
impl fmt::Debug for ConnectQuestion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ConnectQuestion")
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("has_password", &self.password.is_some())
            .field("version", &self.version)
            .field("listener", &self.listener)
            .field("peer", &self.peer)
            .field("identity", &self.identity)
            .field("enhanced", &self.enhanced)
            .field("is_connected", &self.is_connected)
            .finish()
    }
}

/// What somebody who decides says of a client beside that it comes in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Who the client is; `None` where nobody vouches for a name.
    pub user: Option<Box<str>>,
    /// No rule applies to it.
    pub is_superuser: bool,
    /// Rules of its own, which come before those of the file.
    pub rules: Option<Arc<RuleSet>>,
    /// When what it has shown is worth nothing any more.
    pub ends: Option<Timestamp>,
    /// The last step of enhanced authentication.
    pub data: Option<Box<[u8]>>,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The client comes in.
    Admit,
    /// It comes in, and more is known of it than CONNECT says.
    AdmitAs(Box<Admission>),
    /// Not yet: the client is sent this in AUTH, and has to answer.
    Continue(Box<[u8]>),
    /// To [`Question::Topics`]: an answer to each, in their order.
    Topics(Box<[TopicAnswer]>),
    /// It does not, for this reason.
    Refuse(RefusalCause),
    /// Nobody could be asked. The client is refused, and may try again.
    Unavailable,
    /// Too many ask at once. The client is refused, and may try again.
    Busy,
}

/// A verdict, and whose question it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthAnswer {
    /// Who asked.
    pub shard: ShardId,
    /// What.
    pub ask: AskId,
    /// The answer.
    pub verdict: Verdict,
}

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCause {
    /// User name or password are wrong.
    BadCredentials,
    /// It shows nothing, and nobody comes in with that.
    Anonymous,
    /// They may be right; what they stand for may not connect.
    NotAuthorized,
    /// What it shows has no time any more, or not yet.
    NotNow,
    /// What it shows holds, and names nobody.
    NoUserName,
    /// It names a method that is not offered here.
    BadMethod,
    /// Whatever it shows, it is turned away.
    Banned,
}

impl RefusalCause {
    /// What CONNACK says (MQTT 5.0, 3.2.2.2).
    pub const fn code(self) -> ReasonCode {
        match self {
            Self::BadCredentials | Self::NoUserName => ReasonCode::BadUserNameOrPassword,
            Self::Anonymous | Self::NotAuthorized | Self::NotNow => ReasonCode::NotAuthorized,
            Self::BadMethod => ReasonCode::BadAuthenticationMethod,
            Self::Banned => ReasonCode::Banned,
        }
    }

    /// For the log and the reason string.
    pub const fn text(self) -> &'static str {
        match self {
            Self::BadCredentials => "user name or password are wrong",
            Self::Anonymous => "anonymous access is not allowed here",
            Self::NotAuthorized => "it may not connect",
            Self::BadMethod => "no such authentication method is offered here",
            Self::NotNow => "what it shows has expired, is not valid yet, or has no end",
            Self::NoUserName => {
                "its token names no user: the claim (--jwt-user-claim) is missing, no text, empty, too long, or has U+0000"
            }
            Self::Banned => "it is banned",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_rule_nobody_comes_in() {
        assert_eq!(Policy::default(), Policy::Refuse);
    }

    #[test]
    fn a_question_carries_the_password_and_does_not_show_it() {
        let connect = Connect {
            username: Some("user"),
            password: Some(b"tell nobody"),
            ..Connect::new(Version::V5, "sensor-1", true)
        };
        let question = ConnectQuestion::about(&connect, "public");
        assert_eq!(question.password.as_deref(), Some(b"tell nobody".as_slice()));
        let shown = format!("{question:?}");
        assert!(shown.contains("sensor-1") && shown.contains("has_password: true"), "{shown}");
        assert!(!shown.contains("nobody") && !shown.contains("116"), "{shown}");
    }
}
