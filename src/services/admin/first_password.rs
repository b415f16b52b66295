//! The password of the user `admin`, where no file names anybody.
//!
//! Always holds: it is good for one login, and for [`ADMIN_FIRST_PASSWORD_S`]; a newer one voids it, and ends the login that it led to.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::auth::admin_users::AdminUsers;
use crate::auth::password::{SALT_BYTES, Scheme, StoredPassword};
use crate::limits::ADMIN_FIRST_PASSWORD_S;

/// Whom it is for.
pub(super) const FIRST_USER: &str = "admin";

/// See the module's text. There is none before the first was made.
#[derive(Default)]
pub(super) struct FirstPassword(Mutex<Option<ShownOnce>>);

struct ShownOnce {
    users: Arc<AdminUsers>,
    until: Instant,
    is_spent: bool,
}

impl FirstPassword {
    /// Makes one, in plain. `random` is fresh.
    pub(super) fn make(&self, now: Instant, random: [u8; 16]) -> String {
        let mut password = String::with_capacity(32);
        for byte in random {
            let _ = write!(password, "{byte:02x}");
        }
        // It is random and long: a salt would add nothing, nor would a slow hash.
        let stored = StoredPassword::new(Scheme::Sha512, password.as_bytes(), [0; SALT_BYTES]);
        let users = Arc::new(AdminUsers::single(FIRST_USER, stored));
        let until = now + Duration::from_secs(ADMIN_FIRST_PASSWORD_S);
        *self.lock() = Some(ShownOnce { users, until, is_spent: false });
        password
    }

    /// Whoever has logged in with it.
    pub(super) fn users(&self) -> Option<Arc<AdminUsers>> {
        self.lock().as_ref().map(|shown| Arc::clone(&shown.users))
    }

    /// Whether it may still be shown.
    pub(super) fn is_good(&self, now: Instant) -> bool {
        self.lock().as_ref().is_some_and(|shown| !shown.is_spent && now < shown.until)
    }

    /// It has been shown. Returns whether it was good until now.
    pub(super) fn spend(&self, now: Instant) -> bool {
        let mut shown = self.lock();
        let Some(shown) = shown.as_mut() else { return false };
        let is_good = !shown.is_spent && now < shown.until;
        shown.is_spent = true;
        is_good
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ShownOnce>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::password::HashMemory;

    #[test]
    fn it_is_good_once_and_for_a_while() {
        let (first, begin) = (FirstPassword::default(), Instant::now());
        assert!(first.users().is_none() && !first.is_good(begin) && !first.spend(begin), "there is none yet");
        let password = first.make(begin, [0xAB; 16]);
        assert_eq!(password, "ab".repeat(16));
        let check = first.users().unwrap().check(FIRST_USER).unwrap();
        assert!(check.run(password.as_bytes(), &mut HashMemory::default()).is_some());
        assert!(first.is_good(begin) && first.spend(begin));
        assert!(!first.is_good(begin) && !first.spend(begin), "once");
        let late = begin + Duration::from_secs(ADMIN_FIRST_PASSWORD_S);
        let second = first.make(begin, [1; 16]);
        assert!(first.is_good(begin + Duration::from_secs(ADMIN_FIRST_PASSWORD_S - 1)));
        assert!(!first.is_good(late) && !first.spend(late));
        let check = first.users().unwrap().check(FIRST_USER).unwrap();
        assert!(second != password && check.run(password.as_bytes(), &mut HashMemory::default()).is_none());
    }
}
