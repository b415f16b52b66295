//! The methods of a listener, one after the other: the first that decides wins, and `deny` stands at the end.
//!
//! Owns: what a method can say of a CONNECT, and what it needs done elsewhere first ([`AuthWork`]).
//! Always holds: nothing here hashes, waits or asks anybody; a client about which no method decides stays outside; somebody
//! whom no file knows and somebody with a wrong password are told the same.
//! Leaves to others: doing the work (`runtime`), the order in which it is done ([`super::Authenticator`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::http::{HttpAnswer, HttpAuthorizer, HttpMethod, HttpRequest};
use super::key_sets::KeySets;
use super::outcome::MethodOutcome;
use super::password::{PasswordCheck, Users};
use super::scram::ScramUsers;
use super::token::{TokenCheck, TokenFinding, TokenMethod, TokenProblem};
use super::{ConnectQuestion, RefusalCause};
use crate::time::Timestamp;

/// One way to find out who somebody is.
#[derive(Clone, Debug)]
pub enum Method {
    /// The users of a password file.
    Passwords(Arc<Users>),
    /// Tokens that somebody has signed.
    Tokens(Arc<TokenMethod>),
    /// A back end.
    Http(Arc<HttpMethod>),
}

/// Something that takes time, to be done by a thread that may take it.
#[derive(Clone, Debug)]
pub enum AuthWork {
    /// Hash a password and compare.
    Hash(PasswordCheck),
    /// Verify a token.
    Token(Box<TokenCheck>),
    /// Ask a back end.
    Http(HttpRequest),
}

/// What came of a [`AuthWork`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkDone {
    /// Of [`AuthWork::Hash`]: whether it was the password.
    Hashed {
        /// It was.
        matches: bool,
    },
    /// Of [`AuthWork::Token`].
    Verified(TokenFinding),
    /// Of [`AuthWork::Http`].
    Answered(HttpAnswer),
    /// It was not done: whoever waited for it has been refused meanwhile.
    TooLate,
}

/// What a method makes of a question at once.
#[derive(Clone, Debug)]
pub(super) enum Begun {
    Decided(MethodOutcome),
    Needs(AuthWork),
}

/// What is known once a piece of work has been done.
#[derive(Clone, Debug)]
pub(super) enum Concluded {
    /// What the method says.
    Outcome(MethodOutcome),
    /// What a back end says, or that it says nothing.
    Answer(HttpAnswer),
    /// A key is missing that this key set may hold by now.
    MissesKey(Box<str>),
    /// The work was not done.
    Nothing,
}

impl Method {
    /// Begins to decide.
    pub(super) fn begin(&self, question: &ConnectQuestion, key_sets: &KeySets) -> Begun {
        match (self, question.username.as_deref(), question.password.as_deref()) {
            (Self::Passwords(users), Some(user), Some(password)) => {
                Begun::Needs(AuthWork::Hash(users.check(user, password)))
            }
            // A token says itself who its user is.
            (Self::Tokens(method), _, Some(secret)) => match TokenMethod::token_of(secret) {
                Some(token) => {
                    let published = method.url.as_deref().and_then(|url| key_sets.get(url)).cloned();
                    match method.check(published, token, question) {
                        Ok(check) => Begun::Needs(AuthWork::Token(Box::new(check))),
                        Err(problem) => Begun::Decided(MethodOutcome::Refuse(cause(problem))),
                    }
                }
                None => Begun::Decided(MethodOutcome::Ignore),
            },
            // A back end may know something about who shows nothing.
            (Self::Http(method), _, _) => match method.request(question) {
                Some(request) => Begun::Needs(AuthWork::Http(request)),
                None => Begun::Decided(MethodOutcome::Ignore),
            },
            // A name alone proves nothing, and a password without a name is none of a file's.
            (Self::Passwords(_) | Self::Tokens(_), _, _) => Begun::Decided(MethodOutcome::Ignore),
        }
    }
}

impl Method {
    /// What an answer of its back end says of a client now.
    pub(super) fn outcome(&self, question: &ConnectQuestion, answer: &HttpAnswer, now: Timestamp) -> MethodOutcome {
        match self {
            Self::Http(method) => method.outcome(question, answer, now),
            // Nobody was asked.
            Self::Passwords(_) | Self::Tokens(_) => MethodOutcome::Ignore,
        }
    }
}

impl AuthWork {
    /// What the method that needed it says now.
    pub(super) fn conclude(&self, done: WorkDone) -> Concluded {
        Concluded::Outcome(match (self, done) {
            (Self::Hash(_), WorkDone::Hashed { matches: true }) => MethodOutcome::Admit,
            (Self::Hash(check), WorkDone::Hashed { matches: false }) if check.is_of_known_user() => {
                MethodOutcome::Refuse(RefusalCause::BadCredentials)
            }
            (Self::Hash(_), WorkDone::Hashed { .. }) => MethodOutcome::Ignore,
            (Self::Token(_), WorkDone::Verified(TokenFinding::Holds(admission))) => MethodOutcome::AdmitAs(admission),
            (Self::Token(_), WorkDone::Verified(TokenFinding::Fails(problem))) => MethodOutcome::Refuse(cause(problem)),
            (Self::Http(_), WorkDone::Answered(answer)) => return Concluded::Answer(answer),
            // Nobody waits for it any more, but a back end that is that slow is one that does not answer.
            (Self::Http(_), WorkDone::TooLate) => return Concluded::Answer(HttpAnswer::NoReply),
            (Self::Token(check), WorkDone::Verified(TokenFinding::UnknownKey)) => {
                return check.url().map_or(Concluded::Nothing, |url| Concluded::MissesKey(url.into()));
            }
            // The wrong kind of answer is none.
            _ => return Concluded::Nothing,
        })
    }
}

const fn cause(problem: TokenProblem) -> RefusalCause {
    match problem {
        TokenProblem::Invalid => RefusalCause::BadCredentials,
        TokenProblem::NotNow => RefusalCause::NotNow,
        TokenProblem::NotForThis => RefusalCause::NotAuthorized,
        TokenProblem::NoUserName => RefusalCause::NoUserName,
    }
}

/// The chains of all listeners, by their names.
#[derive(Clone, Debug, Default)]
pub struct Chains {
    methods: BTreeMap<Box<str>, Arc<[Method]>>,
    authorizers: BTreeMap<Box<str>, Arc<HttpAuthorizer>>,
    scram: BTreeMap<Box<str>, Arc<ScramUsers>>,
}

impl Chains {
    /// From a list of methods for each listener.
    pub fn new(chains: impl IntoIterator<Item = (Box<str>, Vec<Method>)>) -> Self {
        let methods = chains.into_iter().map(|(listener, methods)| (listener, methods.into())).collect();
        Self { methods, authorizers: BTreeMap::new(), scram: BTreeMap::new() }
    }

    /// The same, with those who are asked about topics.
    #[must_use]
    pub fn with_authorizers(self, authorizers: impl IntoIterator<Item = (Box<str>, Arc<HttpAuthorizer>)>) -> Self {
        Self { authorizers: authorizers.into_iter().collect(), ..self }
    }

    /// The same, with the users of SCRAM.
    #[must_use]
    pub fn with_scram(self, scram: impl IntoIterator<Item = (Box<str>, Arc<ScramUsers>)>) -> Self {
        Self { scram: scram.into_iter().collect(), ..self }
    }

    /// The users of a listener who prove their passwords by SCRAM.
    pub(super) fn scram_of(&self, listener: &str) -> Option<&Arc<ScramUsers>> {
        self.scram.get(listener)
    }

    /// Of the methods of a listener those that take tokens: they may be shown by AUTH.
    pub(super) fn tokens_of(&self, listener: &str) -> Arc<[Method]> {
        let methods = self.methods.get(listener).into_iter().flat_map(|methods| methods.iter());
        methods.filter(|method| matches!(method, Method::Tokens(_))).cloned().collect()
    }

    /// Who is asked about topics of a listener's clients.
    pub(super) fn authorizer_of(&self, listener: &str) -> Option<&Arc<HttpAuthorizer>> {
        self.authorizers.get(listener)
    }

    /// The methods of a listener; none where nothing was said of it.
    pub(super) fn of(&self, listener: &str) -> Arc<[Method]> {
        self.methods.get(listener).cloned().unwrap_or_default()
    }

    /// Whether what was found out by `check` would be found out again.
    pub(super) fn still_store(&self, check: &PasswordCheck, user: &str) -> bool {
        let mut methods = self.methods.values().flat_map(|chain| chain.iter());
        methods.any(|method| match method {
            Method::Passwords(users) => users.get(user).is_some_and(|stored| stored == check.stored()),
            Method::Tokens(_) | Method::Http(_) => false,
        })
    }

    /// Where keys are published.
    pub(super) fn key_set_urls(&self) -> impl Iterator<Item = &str> {
        self.methods.values().flat_map(|chain| chain.iter()).filter_map(|method| match method {
            Method::Tokens(method) => method.url.as_deref(),
            Method::Passwords(_) | Method::Http(_) => None,
        })
    }
}
