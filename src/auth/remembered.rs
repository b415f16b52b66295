//! Passwords that were found right a short while ago, as keyed hashes: a client that comes back costs no argon2.
//!
//! Always holds: no password is kept, only HMAC-SHA256 of user, password and stored hash under a key that lives and dies with the
//! process; what is remembered ends after its time, and is worth nothing once the user's line in the file is another.

use std::collections::{BTreeMap, VecDeque};

use aws_lc_rs::hmac;

use super::password::PasswordCheck;
use crate::limits::REMEMBERED_LOGINS_MAX;
use crate::time::{Deadline, Now};

/// Names a user with a password, to whoever has the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LoginDigest([u8; 32]);

/// See the module's text.
pub(super) struct RememberedLogins {
    key: hmac::Key,
    /// How long one is remembered; 0 is never.
    keep_s: u32,
    logins: BTreeMap<LoginDigest, Login>,
    /// In the order of their ends. One that was remembered again has an older entry as well.
    ends: VecDeque<(Deadline, LoginDigest)>,
}

struct Login {
    user: Box<str>,
    check: PasswordCheck,
    ends: Deadline,
}

impl std::fmt::Debug for RememberedLogins {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RememberedLogins").field("logins", &self.logins.len()).finish_non_exhaustive()
    }
}

impl RememberedLogins {
    /// Nothing remembered. `key` is random.
    pub(super) fn new(key: [u8; 32], keep_s: u32) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        Self { key, keep_s, logins: BTreeMap::new(), ends: VecDeque::new() }
    }

    /// How long they are remembered from now on.
    pub(super) fn set_keep_s(&mut self, keep_s: u32) {
        if keep_s < self.keep_s {
            self.logins.clear();
            self.ends.clear();
        }
        self.keep_s = keep_s;
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.logins.len()
    }

    /// The name of what is to be checked.
    pub(super) fn digest(&self, user: &str, check: &PasswordCheck) -> LoginDigest {
        let mut context = hmac::Context::with_key(&self.key);
        // Each part ends before the next begins, so no two logins read alike.
        for part in [check.stored().salt(), check.stored().hash(), user.as_bytes(), check.password()] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let tag = context.sign();
        LoginDigest(tag.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Whether this was found right a short while ago.
    pub(super) fn knows(&mut self, now: Now, login: LoginDigest) -> bool {
        self.forget_ended(now);
        self.logins.get(&login).is_some_and(|login| !login.ends.is_due(now))
    }

    /// It has been found right.
    pub(super) fn remember(&mut self, now: Now, digest: LoginDigest, user: &str, check: &PasswordCheck) {
        if self.keep_s == 0 {
            return;
        }
        self.forget_ended(now);
        while self.ends.len() >= REMEMBERED_LOGINS_MAX {
            self.forget_oldest();
        }
        let ends = now.after_s(self.keep_s);
        self.ends.push_back((ends, digest));
        self.logins.insert(digest, Login { user: user.into(), check: check.without_password(), ends });
    }

    /// Forgets what no file says any more.
    pub(super) fn retain(&mut self, mut still_holds: impl FnMut(&str, &PasswordCheck) -> bool) {
        self.logins.retain(|_, login| still_holds(&login.user, &login.check));
    }

    fn forget_ended(&mut self, now: Now) {
        while self.ends.front().is_some_and(|(ends, _)| ends.is_due(now)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((ends, digest)) = self.ends.pop_front() else { return };
        // Unless it was remembered again since.
        if self.logins.get(&digest).is_some_and(|login| login.ends == ends) {
            self.logins.remove(&digest);
        }
    }
}
