//! What a client may publish and subscribe to.

use serde_json::json;

use super::super::{AskedTopic, TopicAction, TopicAnswer, TopicDecision, TopicsQuestion};
use super::answer::Said;
use super::{HttpAnswer, HttpRequest, WhenDown};

/// A back end that says who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAuthorizer {
    /// Where it is asked.
    pub url: Box<str>,
    /// What holds while it does not answer.
    pub when_down: WhenDown,
}

impl HttpAuthorizer {
    /// The request about one topic or filter.
    pub fn request(&self, question: &TopicsQuestion, asked: &AskedTopic) -> HttpRequest {
        let action = match asked.action {
            TopicAction::Publish => "publish",
            TopicAction::Subscribe => "subscribe",
        };
        let body = json!({
            "clientid": question.client_id,
            "username": question.user,
            "peerhost": question.peer.map(|peer| peer.to_canonical().to_string()),
            "listener": question.listener,
            "action": action,
            "topic": asked.topic,
            "qos": asked.qos as u8,
            "retain": asked.retain,
        });
        HttpRequest { url: self.url.clone(), body: body.to_string().into() }
    }

    /// What the answer means. One that is the fault of the back end is not kept.
    pub(in crate::auth) fn answer(&self, answer: &HttpAnswer) -> TopicAnswer {
        let kept = |decision| TopicAnswer { decision, is_kept: true };
        match (answer.said(), self.when_down) {
            (Said::Allow(_), _) => kept(TopicDecision::Allow),
            (Said::Deny, _) => kept(TopicDecision::Deny),
            (Said::Ignore, _) => kept(TopicDecision::Ignore),
            (Said::Nothing, WhenDown::Deny) => TopicAnswer { decision: TopicDecision::Deny, is_kept: false },
            (Said::Nothing, WhenDown::Ignore) => TopicAnswer { decision: TopicDecision::Ignore, is_kept: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Qos;
    use serde_json::Value;

    #[test]
    fn a_request_names_the_action_and_an_answer_decides_it() {
        let authorizer = |when_down| HttpAuthorizer { url: "http://127.0.0.1/acl".into(), when_down };
        let question = TopicsQuestion {
            client_id: "c1".into(),
            user: Some("ann".into()),
            listener: "public".into(),
            peer: "2001:db8::1".parse().ok(),
            topics: Vec::new(),
        };
        let asked =
            AskedTopic { action: TopicAction::Publish, topic: "a/b".into(), qos: Qos::AtLeastOnce, retain: true };
        let body: Value = serde_json::from_str(&authorizer(WhenDown::Deny).request(&question, &asked).body).unwrap();
        let expected = json!({"clientid": "c1", "username": "ann", "peerhost": "2001:db8::1", "listener": "public",
            "action": "publish", "topic": "a/b", "qos": 1, "retain": true});
        assert_eq!(body, expected);
        let reply = |status, body: &str| HttpAnswer::Reply { status, body: body.as_bytes().into() };
        for (answer, decision, is_kept) in [
            (reply(200, r#"{"result": "allow"}"#), TopicDecision::Allow, true),
            (reply(204, ""), TopicDecision::Allow, true),
            (reply(200, r#"{"result": "deny"}"#), TopicDecision::Deny, true),
            (reply(200, r#"{"result": "ignore"}"#), TopicDecision::Ignore, true),
            (reply(403, ""), TopicDecision::Ignore, true),
            (reply(500, ""), TopicDecision::Deny, false),
            (reply(200, "garbage"), TopicDecision::Deny, false),
            (HttpAnswer::NoReply, TopicDecision::Deny, false),
        ] {
            assert_eq!(authorizer(WhenDown::Deny).answer(&answer), TopicAnswer { decision, is_kept }, "{answer:?}");
        }
        let ignored = TopicAnswer { decision: TopicDecision::Ignore, is_kept: false };
        assert_eq!(authorizer(WhenDown::Ignore).answer(&HttpAnswer::NoReply), ignored);
    }
}
