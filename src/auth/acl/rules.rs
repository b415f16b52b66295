//! Rules in their order, and what they say of a message or a subscription.
//!
//! Always holds: a decision costs one look-up of the user and one comparison for each rule that is about that user or about
//! everybody, at most [`ACL_RULES_OF_CLIENT_MAX`]; it allocates nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use core::net::IpAddr;

use super::pattern::{PatternError, TopicPattern};
use super::who::Who;
use crate::ids::Qos;
use crate::limits::{ACL_RULES_MAX, ACL_RULES_OF_CLIENT_MAX};

/// What a client would do: a message that it publishes, or leaves as its will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publication<'a> {
    /// Where to.
    pub topic: &'a str,
    /// Its QoS.
    pub qos: Qos,
    /// Whether it is to be retained.
    pub retain: bool,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actions {
    /// Publishing.
    Publish,
    /// Subscribing, and receiving what comes of it.
    Subscribe,
    /// Both.
    All,
}

impl Actions {
    const fn include(self, action: Self) -> bool {
        matches!((self, action), (Self::All, _) | (Self::Publish, Self::Publish) | (Self::Subscribe, Self::Subscribe))
    }
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Every client.
    Everybody,
    /// Clients without a user name.
    Anonymous,
    /// These users.
    Users(Vec<Box<str>>),
}

/// A network: an address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) struct PeerNetwork {
    pub(in crate::auth) address: IpAddr,
    pub(in crate::auth) bits: u8,
}

impl PeerNetwork {
    /// Whether an address is of it.
    pub(in crate::auth) fn has(self, peer: IpAddr) -> bool {
        match (self.address, peer.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(peer)) => {
                let shift = 32 - u32::from(self.bits);
                (own.to_bits() ^ peer.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(peer)) => {
                let shift = 128 - u32::from(self.bits);
                (own.to_bits() ^ peer.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// What else must hold for a rule to speak. Empty lists and `None` ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    /// Bit n: QoS n.
    pub(super) qos: Option<u8>,
    pub(super) retain: Option<bool>,
    pub(super) clients: Vec<Box<str>>,
    pub(super) listeners: Vec<Box<str>>,
    pub(super) networks: Vec<PeerNetwork>,
}

impl Conditions {
    fn hold_for(&self, who: &Who<'_>) -> bool {
        let is_one = |list: &[Box<str>], name: &str| list.is_empty() || list.iter().any(|one| **one == *name);
        let is_near = self.networks.is_empty()
            || who.peer.is_some_and(|peer| self.networks.iter().any(|network| network.has(peer)));
        is_near && is_one(&self.clients, who.client_id) && is_one(&self.listeners, who.listener)
    }

    fn has_qos(&self, qos: Qos) -> bool {
        self.qos.is_none_or(|mask| mask & (1 << qos as u8) != 0)
    }
}

/// A rule as a file has it; which of its parts a case must meet stands in its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The line of the file that it comes from.
    pub(super) line: usize,
    /// What it says, for people.
    pub(super) text: Box<str>,
    pub(super) allows: bool,
    pub(super) actions: Actions,
    pub(super) scope: Subject,
    pub(super) pattern: TopicPattern,
    pub(super) conditions: Option<Box<Conditions>>,
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}: {}", self.line, self.text)
    }
}

/// A rule about one client, which a file need not hold.
#[derive(Clone, Debug)]
pub struct Permission {
    /// It allows, or it denies.
    pub allows: bool,
    /// What it is about.
    pub actions: Actions,
    /// Where.
    pub pattern: TopicPattern,
    /// The same for people.
    pub text: Box<str>,
    /// Bit n: QoS n; `None` is any.
    pub qos: Option<u8>,
    /// To be retained or not; `None` is either.
    pub retain: Option<bool>,
}

/// Why a text is no file of rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AclError {
    /// A line, and what is wrong with it.
    #[error("line {0}: {1}")]
    Line(usize, Box<str>),
    /// A line with a topic that is none.
    #[error("line {0}: {1}")]
    Pattern(usize, PatternError),
    /// No rule at all.
    #[error("it holds no rule: was it cut short? Without a rule nobody may do anything")]
    Empty,
    /// More than [`ACL_RULES_MAX`].
    #[error("it holds more than {ACL_RULES_MAX} rules")]
    TooMany,
    /// Too many about one client: each decision looks at all of them.
    #[error(
        "{0} rules are about everybody and {1} more about {2}: a client may have {ACL_RULES_OF_CLIENT_MAX} together; use a \
         pattern with %u or %c in place of a rule for each"
    )]
    TooManyOfOne(usize, usize, Box<str>),
}

/// What was decided, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The rule that says so; `None` where no rule speaks about it, which is a no.
    pub rule: Option<&'a Rule>,
}

/// Of somebody to whom no rule applies.
const SPARED: Decision<'static> = Decision { allowed: true, rule: None };

/// What may come of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeRight {
    /// Nothing that matches it may be received.
    Refused,
    /// Some of it: each message is looked at.
    Partly,
    /// All of it.
    Wholly,
}

/// The rules of a file, in the order in which they are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSet {
    rules: Box<[Rule]>,
    /// Of each user the rules by number.
    by_user: BTreeMap<Box<str>, Vec<u32>>,
    anonymous: Vec<u32>,
    everybody: Vec<u32>,
    /// Users to whom no rule applies.
    superusers: BTreeSet<Box<str>>,
}

impl RuleSet {
    /// From rules in their order. There must be one.
    pub fn new(rules: Vec<Rule>) -> Result<Self, AclError> {
        if rules.is_empty() {
            return Err(AclError::Empty);
        }
        if rules.len() > ACL_RULES_MAX {
            return Err(AclError::TooMany);
        }
        let (mut by_user, mut anonymous, mut everybody) =
            (BTreeMap::<Box<str>, Vec<u32>>::new(), Vec::new(), Vec::new());
        for (number, rule) in (0..).zip(&rules) {
            match &rule.scope {
                Subject::Everybody => everybody.push(number),
                Subject::Anonymous => anonymous.push(number),
                Subject::Users(users) => {
                    for user in users {
                        let of_user = by_user.entry(user.clone()).or_default();
                        // A user who is in two groups of a rule has it once.
                        if of_user.last() != Some(&number) {
                            of_user.push(number);
                        }
                    }
                }
            }
        }
        let of_each = by_user.iter().map(|(user, rules)| (&**user, rules.len()));
        let longest = of_each.chain([("clients without a user name", anonymous.len())]).max_by_key(|&(_, count)| count);
        let (who, count) = longest.expect("there is always the last");
        if everybody.len() + count > ACL_RULES_OF_CLIENT_MAX {
            return Err(AclError::TooManyOfOne(everybody.len(), count, who.into()));
        }
        Ok(Self { rules: rules.into(), by_user, anonymous, everybody, superusers: BTreeSet::new() })
    }

    /// Rules that are about one client, [`ACL_RULES_OF_CLIENT_MAX`] of them at most; none allows nothing.
    pub fn of_one_client(permissions: Vec<Permission>) -> Self {
        debug_assert!(permissions.len() <= ACL_RULES_OF_CLIENT_MAX);
        let rule = |(line, permission)| {
            let Permission { allows, actions, pattern, text, qos, retain } = permission;
            let conditions = (qos.is_some() || retain.is_some())
                .then(|| Box::new(Conditions { qos, retain, ..Conditions::default() }));
            Rule { line, text, allows, actions, scope: Subject::Everybody, pattern, conditions }
        };
        let rules: Box<[Rule]> = (1..).zip(permissions).map(rule).collect();
        let everybody = (0..rules.len() as u32).collect();
        Self { rules, everybody, by_user: BTreeMap::new(), anonymous: Vec::new(), superusers: BTreeSet::new() }
    }

    /// The same rules, which do not apply to these users.
    #[must_use]
    pub fn with_superusers<'a>(self, users: impl Iterator<Item = &'a str>) -> Self {
        Self { superusers: users.map(Into::into).collect(), ..self }
    }

    /// Whether no rule applies to a client.
    pub fn spares(&self, who: &Who<'_>) -> bool {
        !self.superusers.is_empty() && who.user.is_some_and(|user| self.superusers.contains(user))
    }

    /// In their order.
    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none: a file's set has one.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Listeners that rules name, with the rules.
    pub fn listeners(&self) -> impl Iterator<Item = (&Rule, &str)> {
        let named = self.rules.iter().filter_map(|rule| Some((rule, rule.conditions.as_deref()?)));
        named.flat_map(|(rule, conditions)| conditions.listeners.iter().map(move |name| (rule, &**name)))
    }

    /// Rules about this client, in order.
    fn of<'a>(&'a self, who: &Who<'a>) -> impl Iterator<Item = &'a Rule> {
        let own = match who.user {
            Some(user) => self.by_user.get(user).map(Vec::as_slice).unwrap_or_default(),
            None => &self.anonymous,
        };
        let (mut own, mut all) = (own.iter().peekable(), self.everybody.iter().peekable());
        std::iter::from_fn(move || {
            let next = match (own.peek(), all.peek()) {
                (Some(first), Some(second)) if first < second => own.next(),
                (Some(_), None) => own.next(),
                _ => all.next(),
            };
            next.map(|&number| &self.rules[number as usize])
        })
    }

    /// The first rule about `action` of this client that `speaks`. One that cannot be read for this client, because an id would widen it, speaks if it
    /// denies.
    fn first<'a>(&'a self, who: &Who<'a>, action: Actions, mut speaks: impl FnMut(&Rule) -> bool) -> Option<&'a Rule> {
        self.of(who).find(|rule| {
            rule.actions.include(action)
                && rule.conditions.as_deref().is_none_or(|conditions| conditions.hold_for(who))
                && rule.pattern.has_its_ids(who)
                && if rule.pattern.is_safe_for(who) { speaks(rule) } else { !rule.allows }
        })
    }

    const fn decided(rule: Option<&Rule>) -> Decision<'_> {
        Decision { allowed: matches!(rule, Some(rule) if rule.allows), rule }
    }

    /// Whether a client may publish this.
    pub fn may_publish<'a>(&'a self, who: &Who<'a>, publication: Publication<'_>) -> Decision<'a> {
        let Publication { topic, qos, retain } = publication;
        if self.spares(who) {
            return SPARED;
        }
        Self::decided(self.first(who, Actions::Publish, |rule| {
            let holds = |conditions: &Conditions| {
                conditions.has_qos(qos) && conditions.retain.is_none_or(|wanted| wanted == retain)
            };
            rule.conditions.as_deref().is_none_or(holds) && rule.pattern.matches(topic, who)
        }))
    }

    /// Whether a client may receive a message on this topic.
    pub fn may_receive<'a>(&'a self, who: &Who<'a>, topic: &str) -> Decision<'a> {
        if self.spares(who) {
            return SPARED;
        }
        Self::decided(self.first(who, Actions::Subscribe, |rule| rule.pattern.matches(topic, who)))
    }

    /// What a client may receive by this filter, the part behind `$share/name/` where it is shared; and the rule that says so.
    pub fn may_subscribe<'a>(&'a self, who: &Who<'a>, filter: &str, qos: Qos) -> (SubscribeRight, Option<&'a Rule>) {
        if self.spares(who) {
            return (SubscribeRight::Wholly, None);
        }
        let mut is_cut = false;
        let decisive = self.first(who, Actions::Subscribe, |rule| {
            if !rule.conditions.as_deref().is_none_or(|conditions| conditions.has_qos(qos)) {
                return false;
            }
            if rule.allows {
                let overlaps = rule.pattern.overlaps(filter, who);
                is_cut |= overlaps && !rule.pattern.covers(filter, who);
                overlaps
            } else {
                let covers = rule.pattern.covers(filter, who);
                is_cut |= !covers && rule.pattern.overlaps(filter, who);
                covers
            }
        });
        match decisive {
            Some(rule) if rule.allows && is_cut => (SubscribeRight::Partly, decisive),
            Some(rule) if rule.allows => (SubscribeRight::Wholly, decisive),
            _ => (SubscribeRight::Refused, decisive),
        }
    }
}
