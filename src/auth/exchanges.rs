//! Exchanges of enhanced authentication that wait for their client's answer.
//!
//! Always holds: a connection has one exchange at most; at most [`SCRAM_EXCHANGES_MAX`] wait: beyond it the one that has waited longest goes, so that
//! those that nobody goes on with keep nobody out; of one address [`SCRAM_EXCHANGES_OF_ADDRESS_MAX`] do, and its own oldest goes; one whose client has had its time goes as well; an exchange has two steps, and whatever comes
//! of the second it is over.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::scram::{Mechanism, ScramError, ScramExchange, ScramProof, ScramUsers};
use super::{Admission, EnhancedStep, RefusalCause, Verdict};
use crate::ids::{ConnectionId, ShardId};
use crate::limits::{SCRAM_EXCHANGES_MAX, SCRAM_EXCHANGES_OF_ADDRESS_MAX, VERDICT_TIMEOUT_MS};
use crate::time::{Deadline, Now};

/// See the module's text.
pub(super) struct ScramExchanges {
    /// Nonces follow from it.
    key: hmac::Key,
    begun: u64,
    waiting: BTreeMap<(ShardId, ConnectionId), (u64, ScramExchange)>,
    /// The same by number, which is the order in which they were begun.
    order: BTreeMap<u64, BegunExchange>,
    /// Numbers by where they come from.
    by_source: BTreeMap<ScramSource, BTreeSet<u64>>,
}

/// Who goes on with an exchange.
pub(super) type Whose = (ShardId, ConnectionId);

/// An exchange that waits.
#[derive(Debug)]
struct BegunExchange {
    deadline: Deadline,
    whose: Whose,
    source: ScramSource,
}

/// Where a client comes from: its address, or its /64 of IPv6; `None` where that is no address.
type ScramSource = Option<u128>;

const fn source_of(peer: Option<IpAddr>) -> ScramSource {
    match peer {
        Some(IpAddr::V4(v4)) => Some(v4.to_bits() as u128),
        Some(IpAddr::V6(v6)) => Some(v6.to_bits() >> 64 << 64),
        None => None,
    }
}

impl std::fmt::Debug for ScramExchanges {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ScramExchanges").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

/// The first step of an exchange.
#[derive(Clone, Copy, Debug)]
struct ScramFirst<'a> {
    whose: Whose,
    source: ScramSource,
    mechanism: Mechanism,
    data: &'a [u8],
}

impl ScramExchanges {
    /// None. `key` is random.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Self { key, begun: 0, waiting: BTreeMap::new(), order: BTreeMap::new(), by_source: BTreeMap::new() }
    }

    /// One step of a client whose users these are.
    pub(super) fn handle_step(
        &mut self,
        now: Now,
        (whose, peer): (Whose, Option<IpAddr>),
        users: Option<&ScramUsers>,
        step: &EnhancedStep,
    ) -> Verdict {
        let (Some(users), Some(mechanism)) = (users, Mechanism::named(&step.method)) else {
            return Verdict::Refuse(RefusalCause::BadMethod);
        };
        let data = step.data.as_deref().unwrap_or_default();
        if step.is_first {
            return self.begin(now, users, ScramFirst { whose, source: source_of(peer), mechanism, data });
        }
        let Some(exchange) = self.take(whose) else {
            return Verdict::Refuse(RefusalCause::BadCredentials);
        };
        match exchange.finish(data) {
            Ok(ScramProof { user, last_message }) => {
                let admission = Admission { user: Some(user), data: Some(last_message), ..Admission::default() };
                Verdict::AdmitAs(Box::new(admission))
            }
            Err(ScramError::Malformed | ScramError::Wrong) => Verdict::Refuse(RefusalCause::BadCredentials),
        }
    }

    fn begin(&mut self, now: Now, users: &ScramUsers, first: ScramFirst<'_>) -> Verdict {
        let ScramFirst { whose, source, mechanism, data } = first;
        self.forget_expired(now);
        self.take(whose);
        self.begun += 1;
        let tag = hmac::sign(&self.key, &self.begun.to_le_bytes());
        let nonce = STANDARD_NO_PAD.encode(&tag.as_ref()[..18]);
        match ScramExchange::begin(users, mechanism, data, &nonce) {
            Ok((exchange, first)) => {
                self.make_room(source);
                self.waiting.insert(whose, (self.begun, exchange));
                // As long for the client as for its verdicts, one after the other.
                let begun = BegunExchange { deadline: now.after_ms(2 * VERDICT_TIMEOUT_MS), whose, source };
                self.order.insert(self.begun, begun);
                self.by_source.entry(source).or_default().insert(self.begun);
                Verdict::Continue(first)
            }
            Err(_) => Verdict::Refuse(RefusalCause::BadCredentials),
        }
    }

    /// What has waited longest gives way: of the same address, or of all. Clients without an address are of this machine.
    fn make_room(&mut self, source: ScramSource) {
        let own = self.by_source.get(&source).filter(|own| own.len() >= SCRAM_EXCHANGES_OF_ADDRESS_MAX);
        let own = own.filter(|_| source.is_some()).and_then(BTreeSet::first).copied();
        let all = self.order.first_key_value().filter(|_| self.waiting.len() >= SCRAM_EXCHANGES_MAX);
        let oldest = own.or(all.map(|(&number, _)| number));
        if let Some(whose) = oldest.and_then(|number| self.order.get(&number)).map(|begun| begun.whose) {
            self.take(whose);
        }
    }

    fn take(&mut self, whose: Whose) -> Option<ScramExchange> {
        let (number, exchange) = self.waiting.remove(&whose)?;
        if let Some(BegunExchange { source, .. }) = self.order.remove(&number)
            && let Some(own) = self.by_source.get_mut(&source)
        {
            own.remove(&number);
            if own.is_empty() {
                self.by_source.remove(&source);
            }
        }
        Some(exchange)
    }

    fn forget_expired(&mut self, now: Now) {
        while let Some((_, begun)) = self.order.first_key_value().filter(|(_, begun)| begun.deadline.is_due(now)) {
            self.take(begun.whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scram::set_scram_user;
    use super::*;

    fn users() -> ScramUsers {
        ScramUsers::parse(&set_scram_user("", "ann", "a", || [7; 32]).unwrap()).unwrap()
    }

    fn step(method: &str, data: &str, is_first: bool) -> EnhancedStep {
        EnhancedStep { method: method.into(), data: Some(data.as_bytes().into()), is_first }
    }

    fn whose(slot: u32) -> (ShardId, ConnectionId) {
        (ShardId(0), ConnectionId::new(slot, 1))
    }

    fn at(ms: u64) -> Now {
        Now { mono_ns: ms * 1_000_000, unix_ms: 0 }
    }

    #[test]
    fn exchanges_that_wait_are_bounded_and_go_when_their_time_is_over() {
        let (mut exchanges, users) = (ScramExchanges::new(&[1; 32]), users());
        let first = step("SCRAM-SHA-256", "n,,n=ann,r=abc", true);
        let mut nonces = std::collections::BTreeSet::new();
        for slot in 0..SCRAM_EXCHANGES_MAX as u32 {
            let verdict = exchanges.handle_step(at(0), (whose(slot), None), Some(&users), &first);
            let Verdict::Continue(data) = verdict else { panic!("{verdict:?}") };
            nonces.insert(data);
        }
        assert_eq!(nonces.len(), SCRAM_EXCHANGES_MAX, "no nonce comes twice");
        let one_more = whose(SCRAM_EXCHANGES_MAX as u32);
        assert!(matches!(exchanges.handle_step(at(1), (one_more, None), Some(&users), &first), Verdict::Continue(_)));
        assert_eq!((exchanges.waiting.len(), exchanges.order.len()), (SCRAM_EXCHANGES_MAX, SCRAM_EXCHANGES_MAX));
        assert!(!exchanges.waiting.contains_key(&whose(0)) && exchanges.waiting.contains_key(&whose(1)));
        let late = at(2 * VERDICT_TIMEOUT_MS + 1);
        assert!(matches!(exchanges.handle_step(late, (one_more, None), Some(&users), &first), Verdict::Continue(_)));
        assert_eq!(exchanges.waiting.len(), 1);
    }

    #[test]
    fn an_exchange_that_has_ended_takes_no_place() {
        let (mut exchanges, users) = (ScramExchanges::new(&[1; 32]), users());
        let first = step("SCRAM-SHA-256", "n,,n=ann,r=abc", true);
        let second = step("SCRAM-SHA-256", "c=biws,r=abc,p=AAAA", false);
        // One that never ends stands in front of all.
        assert!(matches!(exchanges.handle_step(at(0), (whose(0), None), Some(&users), &first), Verdict::Continue(_)));
        for _ in 0..=SCRAM_EXCHANGES_MAX {
            let verdict = exchanges.handle_step(at(0), (whose(1), None), Some(&users), &first);
            assert!(matches!(verdict, Verdict::Continue(_)), "{verdict:?}");
            exchanges.handle_step(at(0), (whose(1), None), Some(&users), &second);
        }
        // Nor does one that its client has begun anew.
        for _ in 0..=SCRAM_EXCHANGES_MAX {
            let verdict = exchanges.handle_step(at(0), (whose(2), None), Some(&users), &first);
            assert!(matches!(verdict, Verdict::Continue(_)), "{verdict:?}");
        }
        assert_eq!((exchanges.waiting.len(), exchanges.order.len()), (2, 2));
    }

    #[test]
    fn a_second_step_without_a_first_and_methods_that_are_not_offered_are_refused() {
        let (mut exchanges, users) = (ScramExchanges::new(&[1; 32]), users());
        let wrong = Verdict::Refuse(RefusalCause::BadCredentials);
        let second = step("SCRAM-SHA-256", "c=biws,r=abc,p=AAAA", false);
        assert_eq!(exchanges.handle_step(at(0), (whose(0), None), Some(&users), &second), wrong);
        let bad_method = Verdict::Refuse(RefusalCause::BadMethod);
        for (method, users) in [("SCRAM-SHA-1", Some(&users)), ("GS2-KRB5", Some(&users)), ("SCRAM-SHA-256", None)] {
            assert_eq!(
                exchanges.handle_step(at(0), (whose(0), None), users, &step(method, "n,,n=ann,r=abc", true)),
                bad_method
            );
        }
        let first = step("SCRAM-SHA-256", "n,,n=ann,r=abc", true);
        assert!(matches!(exchanges.handle_step(at(0), (whose(0), None), Some(&users), &first), Verdict::Continue(_)));
        assert_eq!(exchanges.handle_step(at(0), (whose(0), None), Some(&users), &second), wrong);
        assert!(exchanges.waiting.is_empty(), "one attempt");
    }

    #[test]
    fn one_address_displaces_its_own_exchanges_and_nobody_else_s() {
        let (mut exchanges, users) = (ScramExchanges::new(&[1; 32]), users());
        let first = step("SCRAM-SHA-256", "n,,n=ann,r=abc", true);
        let begin = |exchanges: &mut ScramExchanges, slot: u32, peer: &str| {
            let verdict = exchanges.handle_step(at(0), (whose(slot), peer.parse().ok()), Some(&users), &first);
            assert!(matches!(verdict, Verdict::Continue(_)));
        };
        begin(&mut exchanges, 0, "192.0.2.1");
        begin(&mut exchanges, 1, "2001:db8::1");
        for slot in 2..3 * SCRAM_EXCHANGES_OF_ADDRESS_MAX as u32 {
            begin(&mut exchanges, slot, if slot % 2 == 0 { "198.51.100.7" } else { "2001:db8:0:1::1" });
        }
        assert_eq!(exchanges.waiting.len(), 2 + 2 * SCRAM_EXCHANGES_OF_ADDRESS_MAX);
        assert!(exchanges.waiting.contains_key(&whose(0)) && exchanges.waiting.contains_key(&whose(1)));
        assert!(!exchanges.waiting.contains_key(&whose(2)), "the oldest of a busy address");
        exchanges.forget_expired(at(2 * VERDICT_TIMEOUT_MS + 1));
        assert!(exchanges.order.is_empty() && exchanges.by_source.is_empty());
    }
}
