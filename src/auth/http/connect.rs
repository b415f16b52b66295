//! Whether a client may come in.

use serde_json::{Value, json};

use super::super::outcome::MethodOutcome;
use super::super::permissions::parse_permissions;
use super::super::{Admission, ConnectQuestion, RefusalCause};
use super::answer::Said;
use super::{HttpAnswer, HttpRequest, WhenDown};
use crate::codec::Version;
use crate::time::Timestamp;

/// A back end that says who may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpMethod {
    /// Where it is asked.
    pub url: Box<str>,
    /// What holds while it does not answer.
    pub when_down: WhenDown,
}

impl HttpMethod {
    /// The request about a client; `None` if it shows nothing that JSON could hold.
    pub fn request(&self, question: &ConnectQuestion) -> Option<HttpRequest> {
        let password = match question.password.as_deref() {
            Some(password) => Some(std::str::from_utf8(password).ok()?),
            None => None,
        };
        let identity = question.identity.as_deref();
        let body = json!({
            "clientid": question.client_id,
            "username": question.username,
            "password": password,
            "peerhost": question.peer.map(|peer| peer.to_canonical().to_string()),
            "protocol": "mqtt",
            "proto_ver": match question.version { Version::V31 => 3, Version::V311 => 4, Version::V5 => 5 },
            "listener": question.listener,
            "cert_common_name": identity.and_then(|identity| identity.common_name.as_deref()),
            "cert_subject": identity.and_then(|identity| identity.subject.as_deref()),
        });
        Some(HttpRequest { url: self.url.clone(), body: body.to_string().into() })
    }

    /// What the answer means for that client now.
    pub(in crate::auth) fn outcome(
        &self,
        question: &ConnectQuestion,
        answer: &HttpAnswer,
        now: Timestamp,
    ) -> MethodOutcome {
        match answer.said() {
            Said::Allow(fields) => {
                let rules = fields.get("acl").filter(|acl| !acl.is_null()).map(parse_permissions).transpose();
                let ends = match fields.get("expire_at") {
                    None | Some(Value::Null) => Some(None),
                    Some(seconds) => seconds.as_u64().map(|seconds| Some(Timestamp(seconds.saturating_mul(1_000)))),
                };
                let (Ok(rules), Some(ends)) = (rules, ends) else { return self.down() };
                if ends.is_some_and(|ends| ends <= now) {
                    return MethodOutcome::Refuse(RefusalCause::NotNow);
                }
                MethodOutcome::AdmitAs(Box::new(Admission {
                    user: question.username.clone(),
                    is_superuser: fields.get("is_superuser") == Some(&Value::Bool(true)),
                    rules: rules.map(Into::into),
                    ends,
                    data: None,
                }))
            }
            Said::Deny => MethodOutcome::Refuse(RefusalCause::BadCredentials),
            Said::Ignore => MethodOutcome::Ignore,
            Said::Nothing => self.down(),
        }
    }

    const fn down(&self) -> MethodOutcome {
        match self.when_down {
            WhenDown::Deny => MethodOutcome::Unavailable,
            WhenDown::Ignore => MethodOutcome::Ignore,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::acl::{Publication, Who};
    use crate::codec::Connect;
    use crate::ids::Qos;

    fn question(password: &[u8]) -> ConnectQuestion {
        let connect =
            Connect { username: Some("ann"), password: Some(password), ..Connect::new(Version::V311, "c1", true) };
        ConnectQuestion { peer: "::ffff:192.0.2.7".parse().ok(), ..ConnectQuestion::about(&connect, "public") }
    }

    fn method(when_down: WhenDown) -> HttpMethod {
        HttpMethod { url: "http://127.0.0.1/auth".into(), when_down }
    }

    fn reply(status: u16, body: &str) -> HttpAnswer {
        HttpAnswer::Reply { status, body: body.as_bytes().into() }
    }

    fn outcome(status: u16, body: &str) -> MethodOutcome {
        method(WhenDown::Deny).outcome(&question(b"x"), &reply(status, body), Timestamp(0))
    }

    #[test]
    fn a_request_has_the_names_that_back_ends_know_and_is_no_word_in_a_log() {
        let request = method(WhenDown::Deny).request(&question(b"sesame \"quoted\"")).unwrap();
        let body: Value = serde_json::from_str(&request.body).unwrap();
        for (name, value) in [
            ("clientid", json!("c1")),
            ("username", json!("ann")),
            ("password", json!("sesame \"quoted\"")),
            ("peerhost", json!("192.0.2.7")),
            ("proto_ver", json!(4)),
            ("listener", json!("public")),
            ("cert_common_name", Value::Null),
        ] {
            assert_eq!(body[name], value, "{name}");
        }
        assert!(!format!("{request:?}").contains("sesame"));
        assert_eq!(method(WhenDown::Deny).request(&question(&[0xff])), None);
    }

    #[test]
    fn answers_mean_what_they_mean_to_others() {
        for (status, body, expected) in [
            (200, r#"{"result": "deny"}"#, MethodOutcome::Refuse(RefusalCause::BadCredentials)),
            (200, r#"{"result": "ignore"}"#, MethodOutcome::Ignore),
            (404, "no such page", MethodOutcome::Ignore),
            (401, "", MethodOutcome::Ignore),
            (500, r#"{"result": "allow"}"#, MethodOutcome::Unavailable),
            (302, "", MethodOutcome::Unavailable),
            (200, "", MethodOutcome::Unavailable),
            (200, "allow", MethodOutcome::Unavailable),
            (200, r#"{"result": "ALLOW"}"#, MethodOutcome::Unavailable),
            (200, r#"{"result": true}"#, MethodOutcome::Unavailable),
            (200, r#"["result", "allow"]"#, MethodOutcome::Unavailable),
            (200, r#"{"result": "allow", "acl": "all"}"#, MethodOutcome::Unavailable),
            (200, r#"{"result": "allow", "expire_at": "never"}"#, MethodOutcome::Unavailable),
        ] {
            assert_eq!(outcome(status, body), expected, "{status} {body}");
        }
        for (when_down, expected) in
            [(WhenDown::Deny, MethodOutcome::Unavailable), (WhenDown::Ignore, MethodOutcome::Ignore)]
        {
            let outcome = method(when_down).outcome(&question(b"x"), &HttpAnswer::NoReply, Timestamp(0));
            assert_eq!(outcome, expected);
        }
        let ann = |is_superuser| Admission { user: Some("ann".into()), is_superuser, ..Admission::default() };
        assert_eq!(outcome(204, ""), MethodOutcome::AdmitAs(Box::new(ann(false))));
        assert_eq!(outcome(200, r#"{"result": "allow"}"#), MethodOutcome::AdmitAs(Box::new(ann(false))));
        let superuser = r#"{"result": "allow", "is_superuser": true, "client_attrs": {"x": 1}}"#;
        assert_eq!(outcome(200, superuser), MethodOutcome::AdmitAs(Box::new(ann(true))));
    }

    #[test]
    fn what_a_client_may_do_and_how_long_comes_with_the_answer() {
        let body = r#"{"result": "allow", "expire_at": 1800000000,
            "acl": [{"permission": "allow", "action": "publish", "topic": "up/${clientid}"}]}"#;
        let MethodOutcome::AdmitAs(admission) = outcome(200, body) else { panic!("it is allowed") };
        assert_eq!(admission.ends, Some(Timestamp(1_800_000_000_000)));
        let who = Who { client_id: "c1", user: Some("ann"), listener: "public", peer: None };
        let publication = Publication { topic: "up/c1", qos: Qos::AtMostOnce, retain: false };
        assert!(admission.rules.unwrap().may_publish(&who, publication).allowed);
    }
}
