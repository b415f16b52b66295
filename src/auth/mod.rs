//! Policy: data in, decision out.
//!
//! Owns: who may connect. Always holds: without a rule that lets a client in, it stays outside.
//! Leaves to others: reading files, hashing passwords (neither exists yet: anonymous access is all there is to decide).

/// What applies to one listener's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Clients need no credentials.
    pub anonymous: bool,
}

/// Whether a client comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// CONNACK says success.
    Admit,
    /// CONNACK says not authorized; the text is for the log.
    Refuse(&'static str),
}

impl Policy {
    /// Decides about one CONNECT.
    pub const fn admit(self) -> Decision {
        if self.anonymous { Decision::Admit } else { Decision::Refuse("anonymous access is not allowed here") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_comes_in_without_a_rule_that_says_so() {
        assert_eq!(Policy { anonymous: true }.admit(), Decision::Admit);
        assert!(matches!(Policy { anonymous: false }.admit(), Decision::Refuse(_)));
    }
}
