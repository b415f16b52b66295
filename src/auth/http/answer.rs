//! What a back end answers.

use serde_json::{Map, Value};

/// An answer, or that there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpAnswer {
    /// What came.
    Reply {
        /// Of HTTP.
        status: u16,
        /// As it came, bounded.
        body: Box<[u8]>,
    },
    /// Nothing came in time, or nothing that is HTTP.
    NoReply,
}

/// What holds while a back end does not answer, or answers what cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDown {
    /// The client, or what it wants to do, is refused.
    #[default]
    Deny,
    /// Whoever is asked next decides.
    Ignore,
}

/// What a back end says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    Allow(Map<String, Value>),
    Deny,
    Ignore,
    /// Nothing that can be understood.
    Nothing,
}

impl HttpAnswer {
    /// 200 with a `result`, 204 for "allow"; 4xx has nothing to say about the client.
    pub(super) fn said(&self) -> Said {
        let Self::Reply { status, body } = self else { return Said::Nothing };
        match status {
            200 => {
                let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return Said::Nothing };
                match fields.get("result").and_then(Value::as_str) {
                    Some("allow") => Said::Allow(fields),
                    Some("deny") => Said::Deny,
                    Some("ignore") => Said::Ignore,
                    _ => Said::Nothing,
                }
            }
            204 => Said::Allow(Map::new()),
            400..500 => Said::Ignore,
            _ => Said::Nothing,
        }
    }
}
