//! Access rules: who may publish where, and who may receive what.
//!
//! Owns: the two forms of a file (Mosquitto's, and dunlin's own in TOML), the rules that both become, and the decision.
//! Always holds: rules are looked at in order and the first that speaks about the case decides; where none does, the answer is
//! no. A file with anything wrong in it, or without a rule, is no rules at all. An id that could widen a pattern (one with `+`,
//! `#` or `/`) is never put into one: such a pattern allows nothing, and one that denies then denies everything.
//! Leaves to others: when to ask (`shard`), where files are (`config`).
//!
//! Reading order: `pattern` (topics with places for ids), `rules` (what a file becomes, and decisions), `mosquitto`, `own_form`, `own_rules` (of one client, as they are written down).

mod mosquitto;
#[cfg(feature = "runtime")]
mod own_form;
mod own_rules;
mod pattern;
mod rules;
mod who;

pub use mosquitto::parse_mosquitto;
#[cfg(feature = "runtime")]
pub use own_form::parse_own_form;
pub use pattern::{PatternError, TopicPattern};
pub(super) use rules::PeerNetwork;
pub use rules::{AclError, Actions, Decision, Permission, Publication, Rule, RuleSet, Subject, SubscribeRight};
pub use who::Who;

/// Reads either form: dunlin's own has a table, `[[rule]]` or `[groups]`, which no line of Mosquitto's looks like.
#[cfg(feature = "runtime")]
pub fn parse(text: &str) -> Result<RuleSet, AclError> {
    let is_table = text.lines().any(|line| line.trim_start().starts_with('['));
    if is_table { parse_own_form(text) } else { parse_mosquitto(text) }
}
