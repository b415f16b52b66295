//! The methods of a listener, one after the other: the first that decides wins, and `deny` stands at the end.
//!
//! Owns: what a method can say of a CONNECT, and what it needs done elsewhere first ([`AuthWork`]).
//! Always holds: nothing here hashes, waits or asks anybody; a client about which no method decides stays outside; somebody
//! whom no file knows and somebody with a wrong password are told the same.
//! Leaves to others: doing the work (`runtime`), the order in which it is done ([`super::Authenticator`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::password::{PasswordCheck, Users};
use super::{ConnectQuestion, RefusalCause};

/// What a method says of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodOutcome {
    /// It comes in.
    Admit,
    /// It does not.
    Refuse(RefusalCause),
    /// This method has nothing to say about it: the next one decides.
    Ignore,
}

/// One way to find out who somebody is.
#[derive(Clone, Debug)]
pub enum Method {
    /// The users of a password file.
    Passwords(Arc<Users>),
}

/// Something that takes time, to be done by a thread that may take it.
#[derive(Clone, Debug)]
pub enum AuthWork {
    /// Hash a password and compare.
    Hash(PasswordCheck),
}

/// What came of a [`AuthWork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkDone {
    /// Of [`AuthWork::Hash`]: whether it was the password.
    Hashed {
        /// It was.
        matches: bool,
    },
    /// It was not done: whoever waited for it has been refused meanwhile.
    TooLate,
}

/// What a method makes of a question at once.
#[derive(Clone, Debug)]
pub(super) enum Begun {
    Decided(MethodOutcome),
    Needs(AuthWork),
}

impl Method {
    /// Begins to decide.
    pub(super) fn begin(&self, question: &ConnectQuestion) -> Begun {
        match (self, question.username.as_deref(), question.password.as_deref()) {
            (Self::Passwords(users), Some(user), Some(password)) => {
                Begun::Needs(AuthWork::Hash(users.check(user, password)))
            }
            // A name alone proves nothing, and a password without a name is none of a file's.
            (Self::Passwords(_), _, _) => Begun::Decided(MethodOutcome::Ignore),
        }
    }
}

impl AuthWork {
    /// What the method that needed it says now. `None` if it was not done.
    pub(super) fn conclude(&self, done: WorkDone) -> Option<MethodOutcome> {
        match (self, done) {
            (_, WorkDone::TooLate) => None,
            (Self::Hash(_), WorkDone::Hashed { matches: true }) => Some(MethodOutcome::Admit),
            (Self::Hash(check), WorkDone::Hashed { matches: false }) if check.is_of_known_user() => {
                Some(MethodOutcome::Refuse(RefusalCause::BadCredentials))
            }
            (Self::Hash(_), WorkDone::Hashed { .. }) => Some(MethodOutcome::Ignore),
        }
    }
}

/// The chains of all listeners, by their names.
#[derive(Clone, Debug, Default)]
pub struct Chains(BTreeMap<Box<str>, Arc<[Method]>>);

impl Chains {
    /// From a list of methods for each listener.
    pub fn new(chains: impl IntoIterator<Item = (Box<str>, Vec<Method>)>) -> Self {
        Self(chains.into_iter().map(|(listener, methods)| (listener, methods.into())).collect())
    }

    /// The methods of a listener; none where nothing was said of it.
    pub(super) fn of(&self, listener: &str) -> Arc<[Method]> {
        self.0.get(listener).cloned().unwrap_or_default()
    }

    /// Whether what was found out by `check` would be found out again.
    pub(super) fn still_store(&self, check: &PasswordCheck, user: &str) -> bool {
        let mut methods = self.0.values().flat_map(|chain| chain.iter());
        methods.any(|Method::Passwords(users)| users.get(user).is_some_and(|stored| stored == check.stored()))
    }
}
