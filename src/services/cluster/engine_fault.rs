//! What keeps a cluster from resting on an engine, in words by which an operator can mend it.
//!
//! Always holds: words name the server and the line of its file that is missing, and hold no secret.

use crate::limits::ENGINE_TIMEOUT_MS;

/// Why an engine is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineFault {
    /// No server could be connected to.
    #[error("none of the engine's servers can be connected to ({servers}): {why}")]
    Unreachable {
        /// As they were given.
        servers: String,
        /// Of the last one.
        why: String,
    },
    /// A file of a login or of TLS cannot be used.
    #[error("{0}")]
    Files(String),
    /// A server knows nobody by this login.
    #[error("the engine refuses the login of {of}: give it {settings} that its servers know")]
    LoginRefused {
        /// Whose.
        of: &'static str,
        /// Which settings say it.
        settings: &'static str,
    },
    /// The second login is one like the first.
    #[error(
        "the login of --cluster-engine-system-user is not of the engine's system account, so its servers do not say how they are set up: \
         write system_account: NAME into their files, where NAME is the account that has this user"
    )]
    NotOfSystem,
    /// `JetStream` is not for the cluster's account.
    #[error(
        "the engine has no JetStream for the account of --cluster-engine-user: write jetstream: enabled into that account in its servers' files"
    )]
    NoJetStream,
    /// A server is too old.
    #[error("the engine's server {server} is nats-server {version}: a cluster rests on 2.15 or newer")]
    TooOld {
        /// Its name.
        server: String,
        /// As it says.
        version: String,
    },
    /// A server acknowledges what the end of its power takes away.
    #[error(
        "the engine's server {server} does not sync what it acknowledges: write sync_interval: always into the jetstream block of its file"
    )]
    NoSync {
        /// Its name.
        server: String,
    },
    /// As many servers hold no majority that one alone would not.
    #[error("the engine has two servers: a cluster rests on three or more, or on a single one")]
    TwoServers,
    /// Servers that hold replicas, or may, have not answered.
    #[error("{answered} of the engine's servers with JetStream answer, and {wanted} have to")]
    TooFew {
        /// So many have.
        answered: usize,
        /// Each stream has so many replicas.
        wanted: usize,
    },
    /// It is connected to, and does not answer a question.
    #[error("the engine does not answer within {ENGINE_TIMEOUT_MS} ms ({question}): {why}")]
    Silent {
        /// Its subject.
        question: &'static str,
        /// As the library says.
        why: String,
    },
    /// A stream is there already, and is not as it has to be.
    #[error(
        "the engine's stream {stream} has {field} {found}, and a cluster needs {wanted}: change it, or remove the stream if it is nobody's any more"
    )]
    Differs {
        /// Its name.
        stream: String,
        /// By the engine's name.
        field: &'static str,
        /// What it is.
        found: String,
        /// What it has to be.
        wanted: String,
    },
    /// A limit of the account, a full disk, or whatever else the engine has against a stream.
    #[error("the engine does not make the stream {stream}: {why}")]
    NotMade {
        /// Its name.
        stream: String,
        /// As it says.
        why: String,
    },
    /// It answers with an error that is none of the above.
    #[error("the engine answers {question} with {why}")]
    Refused {
        /// Its subject.
        question: &'static str,
        /// As it says.
        why: String,
    },
}

impl EngineFault {
    /// Whether it may pass by itself: servers start, come back and choose who leads. All else needs somebody who changes a file.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TooFew { .. } | Self::Silent { .. })
    }
}
