//! Tokens as clients show them, and as those show them who would like to be somebody else.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::super::acl::{Publication, Who};
use super::*;
use crate::auth::{Admission, ConnectQuestion};
use crate::codec::{Connect, Version};
use crate::ids::Qos;
use crate::limits::{TOKEN_KEYS_MAX, TOKEN_MAX_BYTES, TOKEN_SECRET_MIN_BYTES};
use crate::time::Timestamp;

const SECRET: &str = "a secret of thirty-two bytes or more";
const NOW_S: u64 = 1_800_000_000;
const NOW: Timestamp = Timestamp(NOW_S * 1_000);

fn keys(text: &str) -> Arc<TokenKeys> {
    Arc::new(TokenKeys::parse_file(text).unwrap())
}

fn policy() -> TokenPolicy {
    TokenPolicy { leeway_s: 10, user_claim: Some("sub".into()), ..TokenPolicy::default() }
}

fn method(keys: Vec<Arc<TokenKeys>>, policy: TokenPolicy) -> Arc<TokenMethod> {
    Arc::new(TokenMethod { keys, url: None, policy })
}

fn signed(algorithm: Algorithm, kid: Option<&str>, claims: &Value, key: &EncodingKey) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, claims, key).unwrap()
}

fn by_secret(claims: &Value) -> String {
    signed(Algorithm::HS256, None, claims, &EncodingKey::from_secret(SECRET.as_bytes()))
}

fn claims() -> Value {
    json!({"sub": "ann", "exp": NOW_S + 60})
}

fn with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn check_as(method: &Arc<TokenMethod>, token: &str, client_id: &str, username: Option<&str>) -> TokenFinding {
    let question =
        ConnectQuestion::about(&Connect { username, ..Connect::new(Version::V5, client_id, true) }, "public");
    match method.check(None, token, &question) {
        Ok(check) => check.run(NOW),
        Err(problem) => TokenFinding::Fails(problem),
    }
}

fn check(method: &Arc<TokenMethod>, token: &str) -> TokenFinding {
    check_as(method, token, "c1", Some("ann"))
}

fn admission(finding: TokenFinding) -> Admission {
    match finding {
        TokenFinding::Holds(admission) => *admission,
        other => panic!("{other:?}"),
    }
}

fn fails(finding: &TokenFinding, problem: TokenProblem) -> bool {
    *finding == TokenFinding::Fails(problem)
}

/// A key pair of this kind: the private key as PKCS#8 in DER, the public one as PEM.
fn pair(kind: &'static rcgen::SignatureAlgorithm) -> (Vec<u8>, String) {
    let pair = rcgen::KeyPair::generate_for(kind).unwrap();
    (pair.serialize_der(), pair.public_key_pem())
}

#[test]
fn each_kind_of_key_verifies_what_it_signed_and_nothing_else() {
    let ((es256, es256_pem), (es384, es384_pem), (ed, ed_pem), (rsa, rsa_pem)) = (
        pair(&rcgen::PKCS_ECDSA_P256_SHA256),
        pair(&rcgen::PKCS_ECDSA_P384_SHA384),
        pair(&rcgen::PKCS_ED25519),
        pair(&rcgen::PKCS_RSA_SHA256),
    );
    let rsa_key = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", &rsa).as_bytes()).unwrap();
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let cases = [
        (Algorithm::HS256, &secret, SECRET),
        (Algorithm::HS384, &secret, SECRET),
        (Algorithm::HS512, &secret, SECRET),
        (Algorithm::RS256, &rsa_key, &rsa_pem),
        (Algorithm::RS384, &rsa_key, &rsa_pem),
        (Algorithm::RS512, &rsa_key, &rsa_pem),
        (Algorithm::PS256, &rsa_key, &rsa_pem),
        (Algorithm::PS384, &rsa_key, &rsa_pem),
        (Algorithm::PS512, &rsa_key, &rsa_pem),
        (Algorithm::ES256, &EncodingKey::from_ec_der(&es256), &es256_pem),
        (Algorithm::ES384, &EncodingKey::from_ec_der(&es384), &es384_pem),
        (Algorithm::EdDSA, &EncodingKey::from_ed_der(&ed), &ed_pem),
    ];
    for (algorithm, key, own) in &cases {
        let token = signed(*algorithm, None, &claims(), key);
        assert_eq!(admission(check(&method(vec![keys(own)], policy()), &token)).user.as_deref(), Some("ann"));
        for (_, _, other) in cases.iter().filter(|(_, _, other)| other != own) {
            let found = check(&method(vec![keys(other)], policy()), &token);
            assert!(fails(&found, TokenProblem::Invalid), "{algorithm:?} with another key: {found:?}");
        }
        // One bit of the signature.
        let mut forged = token.clone().into_bytes();
        let at = forged.len() - 10;
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let found = check(&method(vec![keys(own)], policy()), std::str::from_utf8(&forged).unwrap());
        assert!(fails(&found, TokenProblem::Invalid), "{algorithm:?} forged");
    }
    let all: String = [&rsa_pem, &es256_pem, &es384_pem, &ed_pem].map(String::as_str).concat();
    let all = method(vec![keys(&all), keys(SECRET)], policy());
    for (algorithm, key, _) in &cases {
        assert!(matches!(check(&all, &signed(*algorithm, None, &claims(), key)), TokenFinding::Holds(_)));
    }
}

fn pem(tag: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {tag}-----\n{}\n-----END {tag}-----\n", lines.join("\n"))
}

/// A token that says of itself how it is to be verified.
fn unsigned(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    format!("{}.{}.{}", part(header.to_string().as_bytes()), part(claims.to_string().as_bytes()), part(signature))
}

#[test]
fn no_algorithm_is_none_and_a_public_key_is_no_secret() {
    let (_, public) = pair(&rcgen::PKCS_RSA_SHA256);
    let methods = [method(vec![keys(&public)], policy()), method(vec![keys(SECRET)], policy())];
    for method in &methods {
        for alg in ["none", "None", "NONE", "nOnE", "", "HS1", "RS1", "dir"] {
            let token = unsigned(&json!({"alg": alg, "typ": "JWT"}), &claims(), b"");
            assert!(fails(&check(method, &token), TokenProblem::Invalid), "{alg}");
        }
        assert!(fails(&check(method, &unsigned(&json!({"typ": "JWT"}), &claims(), b"")), TokenProblem::Invalid));
        // The public key, which everybody has, as the secret of an HMAC: as it stands, and without its last line break.
        for secret in [public.as_bytes(), public.trim_end().as_bytes()] {
            let token = signed(Algorithm::HS256, None, &claims(), &EncodingKey::from_secret(secret));
            assert!(fails(&check(method, &token), TokenProblem::Invalid));
        }
    }
    // A key that the token brings with it, or says where it is.
    let own = unsigned(&json!({"alg": "HS256", "jku": "https://evil.example", "kid": "x"}), &claims(), b"x");
    assert!(methods.iter().all(|method| fails(&check(method, &own), TokenProblem::Invalid)));
}

#[test]
fn what_must_be_understood_and_is_not_is_refused() {
    let method = method(vec![keys(SECRET)], policy());
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let header = Header { crit: Some(vec!["b64".to_owned()]), ..Header::new(Algorithm::HS256) };
    assert!(fails(&check(&method, &encode(&header, &claims(), &key).unwrap()), TokenProblem::Invalid));
    for token in ["", "eyJ", "eyJ..", "eyJ.e.x", "eyJhbGciOiJIUzI1NiJ9.bm90IGpzb24.AA", "eyJ\u{e4}.b.c"] {
        assert!(fails(&check(&method, token), TokenProblem::Invalid), "{token}");
    }
    let list = encode(&Header::new(Algorithm::HS256), &json!([1, 2]), &key).unwrap();
    assert!(fails(&check(&method, &list), TokenProblem::Invalid), "claims are an object");
    assert!(TokenMethod::token_of(b"eyJh.b.c").is_some());
    for other in [b"sesame".as_slice(), b"eyJh.b", b"eyJh.b.c.d", b"\xff\xfe", b""] {
        assert_eq!(TokenMethod::token_of(other), None);
    }
}

#[test]
fn a_token_holds_between_its_two_instants_and_must_have_an_end() {
    let method = method(vec![keys(SECRET)], policy());
    for (changes, holds) in [
        (json!({}), true),
        (json!({"exp": NOW_S}), true),
        (json!({"exp": NOW_S - 9}), true),
        (json!({"exp": NOW_S - 10}), false),
        (json!({"exp": 1_800_000_000.5}), true),
        (json!({"exp": null}), false),
        (json!({"exp": "1800000060"}), false),
        (json!({"exp": -1}), false),
        (json!({"exp": 1e300}), false),
        (json!({"exp": true}), false),
        (json!({"nbf": NOW_S}), true),
        (json!({"nbf": NOW_S + 10}), true),
        (json!({"nbf": NOW_S + 11}), false),
        (json!({"nbf": "soon"}), false),
    ] {
        let found = check(&method, &by_secret(&with(&changes)));
        assert!(
            if holds { matches!(found, TokenFinding::Holds(_)) } else { fails(&found, TokenProblem::NotNow) },
            "{changes}"
        );
    }
    let ends = admission(check(&method, &by_secret(&claims()))).ends;
    assert_eq!(ends, Some(Timestamp((NOW_S + 70) * 1_000)), "with the leeway");
}

#[test]
fn a_token_is_for_this_broker_and_this_client() {
    let demanding = TokenPolicy {
        issuer: Some("https://id.example".into()),
        audience: Some("mqtt".into()),
        client_id_claim: Some("cid".into()),
        ..policy()
    };
    let method = method(vec![keys(SECRET)], demanding);
    let good = json!({"iss": "https://id.example", "aud": "mqtt", "cid": "c1"});
    let changed = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        by_secret(&with(&changed))
    };
    assert!(matches!(check(&method, &by_secret(&with(&good))), TokenFinding::Holds(_)));
    assert!(matches!(check(&method, &changed("aud", json!(["other", "mqtt"]))), TokenFinding::Holds(_)));
    assert!(matches!(check_as(&method, &changed("sub", json!("ann")), "c1", None), TokenFinding::Holds(_)));
    for (name, value) in [
        ("iss", json!("https://id.example.evil")),
        ("iss", json!(null)),
        ("aud", json!("other")),
        ("aud", json!(["other"])),
        ("aud", json!(null)),
        ("cid", json!("c2")),
        ("cid", json!(null)),
        ("sub", json!("bob")),
        ("acl", json!("everything")),
    ] {
        let found = check(&method, &changed(name, value.clone()));
        assert!(fails(&found, TokenProblem::NotForThis), "{name} {value}: {found:?}");
    }
    assert!(fails(&check_as(&method, &by_secret(&with(&good)), "c2", None), TokenProblem::NotForThis));
}

#[test]
fn claims_say_what_a_client_may_do() {
    let method = method(vec![keys(SECRET)], policy());
    let claims = with(&json!({"acl": {"pub": ["up/%c"], "sub": ["down/%u"]}, "is_superuser": "true"}));
    let admission = admission(check(&method, &by_secret(&claims)));
    assert!(!admission.is_superuser, "true is a word of JSON, not of text");
    let who = Who { client_id: "c1", user: Some("ann"), listener: "public", peer: None };
    let rules = admission.rules.unwrap();
    let publication = |topic| Publication { topic, qos: Qos::AtMostOnce, retain: false };
    assert!(
        rules.may_publish(&who, publication("up/c1")).allowed
            && !rules.may_publish(&who, publication("down/ann")).allowed
    );
    assert!(rules.may_receive(&who, "down/ann").allowed);
}

#[test]
fn without_a_claim_for_it_nobody_vouches_for_a_user_name() {
    let policy = TokenPolicy { user_claim: None, ..policy() };
    let method = method(vec![keys(SECRET)], policy);
    let admission = admission(check_as(&method, &by_secret(&claims()), "c1", Some("root")));
    assert_eq!(admission.user, None);
}

#[test]
fn a_huge_token_is_not_looked_at() {
    let method = method(vec![keys(SECRET)], policy());
    let padded = |bytes: usize| by_secret(&with(&json!({"pad": "x".repeat(bytes)})));
    assert!(matches!(check(&method, &padded(1_000)), TokenFinding::Holds(_)));
    let huge = padded(TOKEN_MAX_BYTES);
    let question = ConnectQuestion::about(&Connect::new(Version::V5, "c1", true), "public");
    assert_eq!(method.check(None, &huge, &question).map(|_| ()), Err(TokenProblem::Invalid));
}

#[test]
fn a_key_set_is_chosen_from_by_name_and_passes_over_what_it_does_not_know() {
    let jwk = |kid: &str, x: &str| json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x, "use": "sig"});
    let raw = |der: &[u8]| {
        let pair = aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).unwrap();
        URL_SAFE_NO_PAD.encode(aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref())
    };
    let ((first, _), (second, _)) = (pair(&rcgen::PKCS_ED25519), pair(&rcgen::PKCS_ED25519));
    let set = json!({"keys": [
        {"kty": "LATTICE", "kid": "future"},
        {"kty": "oct", "kid": "first", "k": URL_SAFE_NO_PAD.encode(SECRET)},
        {"kty": "OKP", "crv": "Ed25519", "kid": "second", "x": raw(&first), "use": "enc"},
        jwk("first", &raw(&first)),
        jwk("second", &raw(&second)),
    ]})
    .to_string();
    let published = Arc::new(TokenKeys::parse_published(&set).unwrap());
    assert_eq!(published.len(), 2, "a published secret is none");
    assert_eq!(TokenKeys::parse_file(&set).unwrap().len(), 3);
    let method = Arc::new(TokenMethod { keys: Vec::new(), url: Some("https://id.example".into()), policy: policy() });
    let question = ConnectQuestion::about(&Connect::new(Version::V5, "c1", true), "public");
    let check = |kid: Option<&str>, der: &[u8], known: bool| {
        let token = signed(Algorithm::EdDSA, kid, &claims(), &EncodingKey::from_ed_der(der));
        method.check(known.then(|| Arc::clone(&published)), &token, &question).unwrap().run(NOW)
    };
    assert!(matches!(check(Some("first"), &first, true), TokenFinding::Holds(_)));
    assert!(matches!(check(Some("second"), &second, true), TokenFinding::Holds(_)));
    assert!(matches!(check(None, &second, true), TokenFinding::Holds(_)));
    assert!(fails(&check(Some("first"), &second, true), TokenProblem::Invalid));
    assert_eq!(check(Some("third"), &first, true), TokenFinding::UnknownKey);
    assert_eq!(check(Some("first"), &first, false), TokenFinding::UnknownKey);
    let by_secret = signed(Algorithm::HS256, Some("first"), &claims(), &EncodingKey::from_secret(SECRET.as_bytes()));
    let found = method.check(Some(published.clone()), &by_secret, &question).unwrap().run(NOW);
    assert_eq!(found, TokenFinding::UnknownKey, "no key of that kind");
}

#[test]
fn a_file_with_anything_wrong_holds_no_key() {
    let (der, public) = pair(&rcgen::PKCS_ED25519);
    let many = |count: usize| public.repeat(count);
    for (text, error) in [
        (String::new(), KeyFileError::ShortSecret),
        ("x".repeat(TOKEN_SECRET_MIN_BYTES - 1) + "\n", KeyFileError::ShortSecret),
        (pem("PRIVATE KEY", &der), KeyFileError::PrivateKey),
        (format!("{public}{}", pem("PRIVATE KEY", &der)), KeyFileError::PrivateKey),
        (pem("PUBLIC KEY", b"nonsense"), KeyFileError::Pem),
        (public[..public.len() / 2].to_owned(), KeyFileError::Pem),
        (many(TOKEN_KEYS_MAX + 1), KeyFileError::TooMany),
        ("{".into(), KeyFileError::KeySet),
        (r#"{"keys": 1}"#.into(), KeyFileError::KeySet),
        (r#"{"keys": []}"#.into(), KeyFileError::NoKey),
        (r#"{"keys": [{"kty": "LATTICE"}]}"#.into(), KeyFileError::NoKey),
        (r#"{"kty": "oct", "k": "c2hvcnQ"}"#.into(), KeyFileError::NoKey),
    ] {
        assert_eq!(TokenKeys::parse_file(&text).map(|_| ()), Err(error), "{text:.60}");
    }
    assert_eq!(TokenKeys::parse_file(&many(TOKEN_KEYS_MAX)).unwrap().len(), TOKEN_KEYS_MAX);
    assert_ne!(keys(&public), keys(SECRET));
    let shown = format!(
        "{:?} {:?}",
        keys(SECRET),
        TokenMethod::check(
            &method(vec![keys(SECRET)], policy()),
            None,
            "eyJ.b.c",
            &ConnectQuestion::about(&Connect::new(Version::V5, "c", true), "p")
        )
    );
    assert!(!shown.contains("secret") && !shown.contains("eyJ"), "{shown}");
}

#[test]
fn no_byte_of_a_token_can_be_another() {
    let method = method(vec![keys(SECRET)], policy());
    let token = by_secret(&claims()).into_bytes();
    for at in 0..token.len() {
        for other in [b'A', b'Q', b'_', b'.', b'=', b' ', 0, 0xff] {
            let mut changed = token.clone();
            changed[at] = other;
            let Some(text) = std::str::from_utf8(&changed).ok().filter(|_| changed != token) else { continue };
            let found = check(&method, text);
            assert!(fails(&found, TokenProblem::Invalid), "byte {at} as {other}: {found:?}");
        }
    }
    for cut in 0..token.len() {
        let found = check(&method, std::str::from_utf8(&token[..cut]).unwrap());
        assert!(fails(&found, TokenProblem::Invalid), "cut at {cut}: {found:?}");
    }
}
