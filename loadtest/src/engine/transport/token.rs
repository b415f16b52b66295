//! JSON Web Tokens, one for each connection, made when it greets.

use crate::engine::names::Name;
use crate::plan::{PlanError, Template, TokenTarget};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value};
use std::time::{SystemTime, UNIX_EPOCH};

/// Makes tokens.
pub(in crate::engine) struct TokenMaker {
    header: Header,
    key: EncodingKey,
    expiry_s: u64,
    /// Claims beside the usual ones, in place of those of the same name.
    pub(in crate::engine) claims: Vec<(String, Name)>,
}

/// A key in PEM, and the algorithms that it may be for, the usual one first.
type Reader = (fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>, &'static [Algorithm]);

const READERS: [Reader; 3] = [
    (EncodingKey::from_ec_pem, &[Algorithm::ES256, Algorithm::ES384]),
    (
        EncodingKey::from_rsa_pem,
        &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512],
    ),
    (EncodingKey::from_ed_pem, &[Algorithm::EdDSA]),
];
const OF_SECRETS: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

impl TokenMaker {
    /// Reads the key, and makes a token with it to see that it can.
    pub(in crate::engine) fn new(target: &TokenTarget) -> Result<Self, PlanError> {
        let wrong = |problem: String| PlanError::of_plan(format!("jwt_key {}: {problem}", target.key.display()));
        let text = std::fs::read(&target.key).map_err(|error| wrong(error.to_string()))?;
        let wanted = target.algorithm.as_deref().map(str::parse::<Algorithm>).transpose();
        let wanted = wanted.map_err(|_| {
            let name = target.algorithm.as_deref().unwrap_or_default();
            PlanError::of_plan(format!(
                "jwt_algorithm = {name:?} is not known: HS256, RS256, PS256, ES256, EdDSA and others"
            ))
        })?;
        let (key, algorithm) = key_of(&text, wanted).map_err(wrong)?;
        let claims = target.claims.iter().filter_map(|claim| claim.split_once('='));
        let claims = claims.map(|(name, text)| (name.to_owned(), Name::new(&Template::new(text)))).collect();
        Ok(Self { header: Header::new(algorithm), key, expiry_s: target.expiry_s.into(), claims })
    }

    /// A token for a client. `sub` is its user name, or its id where it has none.
    pub(in crate::engine) fn make(
        &self,
        client_id: &str,
        username: Option<&str>,
        more: &[String],
    ) -> Result<String, String> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut claims = Map::new();
        claims.insert("sub".to_owned(), username.unwrap_or(client_id).into());
        claims.insert("client_id".to_owned(), client_id.into());
        claims.insert("iat".to_owned(), now_s.into());
        claims.insert("exp".to_owned(), (now_s + self.expiry_s).into());
        for ((name, _), text) in self.claims.iter().zip(more) {
            claims.insert(name.clone(), Value::from(text.as_str()));
        }
        encode(&self.header, &Value::Object(claims), &self.key)
            .map_err(|error| format!("no token can be made: {error}"))
    }
}

fn key_of(text: &[u8], wanted: Option<Algorithm>) -> Result<(EncodingKey, Algorithm), String> {
    if !text.starts_with(b"-----BEGIN") {
        let secret = text.strip_suffix(b"\n").unwrap_or(text);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        let algorithm = wanted.unwrap_or(Algorithm::HS256);
        if secret.is_empty() || !OF_SECRETS.contains(&algorithm) {
            return Err(format!("it is no private key in PEM, and a secret does not make tokens by {algorithm:?}"));
        }
        return Ok((EncodingKey::from_secret(secret), algorithm));
    }
    for (read, algorithms) in READERS {
        let Ok(key) = read(text) else { continue };
        let fitting = algorithms.iter().copied().filter(|algorithm| wanted.is_none_or(|wanted| wanted == *algorithm));
        // The header of the file does not tell curves apart: making a token does.
        for algorithm in fitting {
            if encode(&Header::new(algorithm), &Value::Object(Map::new()), &key).is_ok() {
                return Ok((key, algorithm));
            }
        }
    }
    let wanted = wanted.map(|wanted| format!(" by {wanted:?}")).unwrap_or_default();
    Err(format!("it holds no private key that makes tokens{wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{DecodingKey, Validation, decode};

    /// A file that goes with its test.
    struct KeyFile(std::path::PathBuf);

    impl KeyFile {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("loadtest-key-{}-{name}", std::process::id()));
            std::fs::write(&path, text).unwrap();
            Self(path)
        }

        fn target(&self) -> TokenTarget {
            TokenTarget::new(self.0.clone())
        }
    }

    impl Drop for KeyFile {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn claims_of(token: &str) -> Value {
        let part = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn a_secret_makes_tokens_that_whoever_has_it_believes() {
        let file = KeyFile::new("secret", "of both\n");
        let mut target = file.target();
        target.claims = vec!["aud=mqtt".to_owned(), "sub=%i".to_owned()];
        let maker = TokenMaker::new(&target).unwrap();
        let token = maker.make("device-7", Some("u7"), &["mqtt".to_owned(), "7".to_owned()]).unwrap();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&["mqtt"]);
        let claims = decode::<Value>(&token, &DecodingKey::from_secret(b"of both"), &validation).unwrap().claims;
        assert_eq!((&claims["sub"], &claims["client_id"]), (&Value::from("7"), &Value::from("device-7")));
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3_600);
        let plain = TokenMaker::new(&file.target()).unwrap();
        assert_eq!(claims_of(&plain.make("device-7", Some("u7"), &[]).unwrap())["sub"], "u7");
        assert_eq!(claims_of(&plain.make("device-7", None, &[]).unwrap())["sub"], "device-7");
    }

    #[test]
    fn keys_are_for_the_algorithms_that_fit_them_and_others_are_told() {
        let p256 = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
        let edwards = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        for (name, pem, algorithm) in [
            ("p256", p256.as_str(), Algorithm::ES256),
            ("p384", &p384, Algorithm::ES384),
            ("ed", &edwards, Algorithm::EdDSA),
        ] {
            let file = KeyFile::new(name, pem);
            assert_eq!(TokenMaker::new(&file.target()).map_err(|error| error.problem).unwrap().header.alg, algorithm);
        }
        let file = KeyFile::new("wrong", &p256);
        for (algorithm, part) in
            [("RS256", "makes tokens by RS256"), ("HS999", "jwt_algorithm = \"HS999\" is not known")]
        {
            let target = TokenTarget { algorithm: Some(algorithm.to_owned()), ..file.target() };
            let error = TokenMaker::new(&target).err().unwrap().problem;
            assert!(error.contains(part), "{error}");
        }
        let error = TokenMaker::new(&TokenTarget::new("/nowhere".into())).err().unwrap().problem;
        assert_eq!(error, "jwt_key /nowhere: No such file or directory (os error 2)");
    }
}
