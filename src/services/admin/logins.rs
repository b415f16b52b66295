//! Who is logged in, and who tries too often.
//!
//! Always holds: what is kept is bounded; a token is kept as its hash, so that memory that leaks opens nothing; time is passed in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::auth::admin_users::ProvenUser;
use crate::auth::password::StoredPassword;
use crate::limits::{
    ADMIN_FAILURES_ADDRESSES_MAX, ADMIN_FAILURES_MAX, ADMIN_FAILURES_WAIT_S, ADMIN_SESSION_IDLE_S, ADMIN_SESSION_MAX_S,
    ADMIN_SESSIONS_MAX,
};

/// SHA-256 of a token.
type TokenHash = [u8; 32];

/// See the module's text.
#[derive(Default)]
pub(super) struct Logins {
    by_token: HashMap<TokenHash, AdminLogin>,
    failures: HashMap<IpAddr, WrongPasswords>,
}

/// Somebody who has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AdminLogin {
    /// As in the users' file; the role is looked up there with each request.
    pub(super) name: Box<str>,
    /// What was shown: with another one in the file the login has ended.
    pub(super) password: Arc<StoredPassword>,
    /// What a page must show with each change that it asks for.
    pub(super) csrf_token: Box<str>,
    begun: Instant,
    last_used: Instant,
}

/// Wrong passwords of one address.
struct WrongPasswords {
    count: u32,
    last: Instant,
}

/// What a login hands out.
pub(super) struct NewLogin {
    /// For the cookie.
    pub(super) token: String,
    /// For the page.
    pub(super) csrf_token: Box<str>,
}

impl AdminLogin {
    fn has_ended(&self, now: Instant) -> bool {
        now.duration_since(self.last_used) >= IDLE || now.duration_since(self.begun) >= LONGEST
    }
}

const LONGEST: Duration = Duration::from_secs(ADMIN_SESSION_MAX_S);
const IDLE: Duration = Duration::from_secs(ADMIN_SESSION_IDLE_S);
const WAIT: Duration = Duration::from_secs(ADMIN_FAILURES_WAIT_S);

impl Logins {
    /// Somebody has logged in. `random` is fresh.
    pub(super) fn begin(&mut self, now: Instant, who: &ProvenUser, random: &[[u8; 32]; 2]) -> NewLogin {
        self.by_token.retain(|_, login| !login.has_ended(now));
        if self.by_token.len() >= ADMIN_SESSIONS_MAX
            && let Some(oldest) = self.by_token.iter().min_by_key(|(_, login)| login.last_used).map(|(hash, _)| *hash)
        {
            self.by_token.remove(&oldest);
        }
        let [token, csrf_token] = random.map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        let csrf_token: Box<str> = csrf_token.into();
        let (name, password) = (who.identity.name.clone(), Arc::clone(&who.password));
        let login = AdminLogin { name, password, csrf_token: csrf_token.clone(), begun: now, last_used: now };
        self.by_token.insert(hash(&token), login);
        NewLogin { token, csrf_token }
    }

    /// Whose token this is, if its login has not ended.
    pub(super) fn find(&mut self, now: Instant, token: &str) -> Option<AdminLogin> {
        let hash = hash(token);
        let login = self.by_token.get_mut(&hash)?;
        if login.has_ended(now) {
            self.by_token.remove(&hash);
            return None;
        }
        login.last_used = now;
        Some(login.clone())
    }

    /// Somebody logs out.
    pub(super) fn end(&mut self, token: &str) {
        self.by_token.remove(&hash(token));
    }

    /// How long an address has to wait before it may try a password; `None` if it may now.
    pub(super) fn wait_s(&self, now: Instant, address: IpAddr) -> Option<u64> {
        let failures = self.failures.get(&source(address)).filter(|failures| failures.count >= ADMIN_FAILURES_MAX)?;
        let left = WAIT.checked_sub(now.duration_since(failures.last))?;
        Some(left.as_secs() + 1)
    }

    /// An address has tried: what came of it.
    pub(super) fn tried(&mut self, now: Instant, address: IpAddr, is_right: bool) {
        let address = source(address);
        if is_right {
            // One's own try was counted as wrong until it was known to be right; those of others stay.
            if let Some(failures) = self.failures.get_mut(&address) {
                failures.count = failures.count.saturating_sub(1);
            }
            return;
        }
        if self.failures.len() >= ADMIN_FAILURES_ADDRESSES_MAX {
            self.failures.retain(|_, failures| now.duration_since(failures.last) < WAIT);
        }
        if self.failures.len() >= ADMIN_FAILURES_ADDRESSES_MAX
            && let Some(oldest) = self.failures.iter().min_by_key(|(_, failures)| failures.last).map(|(at, _)| *at)
        {
            self.failures.remove(&oldest);
        }
        let failures = self.failures.entry(address).or_insert(WrongPasswords { count: 0, last: now });
        if now.duration_since(failures.last) >= WAIT {
            failures.count = 0;
        }
        failures.count += 1;
        failures.last = now;
    }
}

/// What counts as one address: a network of IPv6 (/64) is one customer's.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

fn hash(token: &str) -> TokenHash {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::admin_users::{AdminIdentity, Role};
    use crate::auth::password::{SALT_BYTES, Scheme};

    fn random(number: u8) -> [[u8; 32]; 2] {
        [[number; 32], [number ^ 0xFF; 32]]
    }

    fn proven(name: &str) -> ProvenUser {
        let password = Arc::new(StoredPassword::new(Scheme::Sha512, b"x", [1; SALT_BYTES]));
        ProvenUser { identity: AdminIdentity { name: name.into(), role: Role::Viewer }, password }
    }

    #[test]
    fn a_login_ends_when_it_is_not_used_or_when_it_is_ended() {
        let (mut logins, begin) = (Logins::default(), Instant::now());
        let used = logins.begin(begin, &proven("ann"), &random(1));
        let idle = logins.begin(begin, &proven("bob"), &random(2));
        let half = begin + IDLE / 2;
        assert_eq!(logins.find(half, &used.token).map(|login| login.name), Some("ann".into()));
        let late = begin + IDLE;
        assert!(logins.find(late, &idle.token).is_none(), "nobody used it");
        assert_eq!(logins.find(late, &used.token).map(|login| login.csrf_token), Some(used.csrf_token));
        let mut now = late;
        while now < begin + LONGEST {
            assert!(logins.find(now, &used.token).is_some());
            now += IDLE / 2;
        }
        assert!(logins.find(now, &used.token).is_none(), "however much it is used");
        let used = logins.begin(late, &proven("ann"), &random(1));
        logins.end(&used.token);
        assert!(logins.find(late, &used.token).is_none() && logins.find(late, "").is_none());
    }

    #[test]
    fn whoever_came_least_recently_gives_way() {
        let (mut logins, begin) = (Logins::default(), Instant::now());
        let tokens: Vec<String> = (0..=ADMIN_SESSIONS_MAX)
            .map(|n| {
                let bytes = [(n % 251) as u8, (n / 251) as u8];
                let mut random = random(0);
                random[0][..2].copy_from_slice(&bytes);
                logins.begin(begin + Duration::from_millis(n as u64), &proven("ann"), &random).token
            })
            .collect();
        let now = begin + Duration::from_secs(1);
        assert!(logins.find(now, &tokens[0]).is_none());
        assert!(tokens[1..].iter().all(|token| logins.find(now, token).is_some()));
    }

    #[test]
    fn whoever_guesses_waits_and_others_do_not() {
        let (mut logins, begin) = (Logins::default(), Instant::now());
        let (guesser, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for _ in 0..ADMIN_FAILURES_MAX {
            assert_eq!(logins.wait_s(begin, guesser), None);
            logins.tried(begin, guesser, false);
        }
        assert_eq!(logins.wait_s(begin, guesser), Some(ADMIN_FAILURES_WAIT_S + 1));
        assert_eq!(logins.wait_s(begin, other), None);
        let later = begin + WAIT + Duration::from_millis(1);
        assert_eq!(logins.wait_s(later, guesser), None);
        logins.tried(later, guesser, false);
        assert_eq!(logins.wait_s(later, guesser), None, "it begins to count anew");
        for _ in 1..ADMIN_FAILURES_MAX {
            // One's own login in between takes no guess back.
            logins.tried(later, guesser, false);
            logins.tried(later, guesser, true);
            logins.tried(later, guesser, false);
        }
        assert!(logins.wait_s(later, guesser).is_some());
    }

    #[test]
    fn a_network_of_ipv6_is_one_guesser() {
        let (mut logins, now) = (Logins::default(), Instant::now());
        for n in 0..ADMIN_FAILURES_MAX as u16 {
            logins.tried(now, IpAddr::from([0x2001, 0xDB8, 0, 1, n, 0, 0, 1]), false);
        }
        assert!(logins.wait_s(now, IpAddr::from([0x2001, 0xDB8, 0, 1, 99, 0, 0, 1])).is_some());
        assert!(logins.wait_s(now, IpAddr::from([0x2001, 0xDB8, 0, 2, 0, 0, 0, 1])).is_none());
    }

    #[test]
    fn addresses_that_guess_are_remembered_within_a_bound() {
        let (mut logins, now) = (Logins::default(), Instant::now());
        for n in 0..=ADMIN_FAILURES_ADDRESSES_MAX as u32 {
            logins.tried(now + Duration::from_micros(n.into()), IpAddr::from(n.to_be_bytes()), false);
        }
        assert_eq!(logins.failures.len(), ADMIN_FAILURES_ADDRESSES_MAX);
        assert!(
            !logins.failures.contains_key(&IpAddr::from([0, 0, 0, 0])),
            "the one that tried least recently is forgotten"
        );
    }
}
