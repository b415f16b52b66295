//! The two steps of an exchange, from the server's side.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::stored::{Mechanism, StoredScram};
use super::users::ScramUsers;
use crate::limits::SCRAM_MESSAGE_MAX_BYTES;

/// An exchange that waits for the client's proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScramExchange {
    user: Box<str>,
    stored: Arc<StoredScram>,
    is_known: bool,
    /// `n,,` or the like: what the client must say again, in base64.
    header: Box<str>,
    /// Both nonces in a row.
    nonce: Box<str>,
    /// What has been said, without the header.
    said: Box<str>,
}

/// A proof that was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScramProof {
    /// Whose.
    pub user: Box<str>,
    /// By which the client knows that the server knows it.
    pub last_message: Box<[u8]>,
}

/// Why an exchange ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramError {
    /// What was sent is none of its messages.
    Malformed,
    /// The user is unknown, or the proof is wrong.
    Wrong,
}

impl ScramExchange {
    /// Takes the client's first message. `server_nonce` is random and has no comma. Returns what to answer with.
    pub fn begin(
        users: &ScramUsers,
        mechanism: Mechanism,
        message: &[u8],
        server_nonce: &str,
    ) -> Result<(Self, Box<[u8]>), ScramError> {
        let text = text_of(message)?;
        // No channel binding is offered; `y` says that the client could have done it.
        let bare = text.strip_prefix("n,").or_else(|| text.strip_prefix("y,")).ok_or(ScramError::Malformed)?;
        let (authorization, bare) = bare.split_once(',').ok_or(ScramError::Malformed)?;
        let header = &text[..text.len() - bare.len()];
        let mut fields = bare.split(',');
        let user = fields.next().and_then(|field| field.strip_prefix("n=")).and_then(decode_name);
        let client_nonce = fields.next().and_then(|field| field.strip_prefix("r="));
        let (Some(user), Some(client_nonce)) = (user, client_nonce) else { return Err(ScramError::Malformed) };
        let is_printable = client_nonce.bytes().all(|byte| byte.is_ascii_graphic());
        if client_nonce.is_empty() || !is_printable || user.is_empty() || fields.any(is_mandatory) {
            return Err(ScramError::Malformed);
        }
        // To act for somebody else nobody may.
        let acts_for = authorization.strip_prefix("a=").map(decode_name);
        if !authorization.is_empty() && acts_for != Some(Some(user.clone())) {
            return Err(ScramError::Malformed);
        }
        let prepared = stringprep::saslprep(&user).map_or_else(|_| user.clone(), Into::into);
        let (stored, is_known) = users.find(&prepared, mechanism);
        let nonce = format!("{client_nonce}{server_nonce}");
        let first = format!("r={nonce},s={},i={}", STANDARD.encode(&stored.salt), stored.iterations);
        let said = format!("{bare},{first}").into();
        let exchange =
            Self { user: prepared.into(), stored, is_known, header: header.into(), nonce: nonce.into(), said };
        Ok((exchange, first.into_bytes().into()))
    }

    /// Takes the client's proof.
    pub fn finish(&self, message: &[u8]) -> Result<ScramProof, ScramError> {
        let text = text_of(message)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let mut fields = without_proof.split(',');
        let header = fields.next().and_then(|field| field.strip_prefix("c=")).ok_or(ScramError::Malformed)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(ScramError::Malformed)?;
        let proof = STANDARD.decode(proof).map_err(|_| ScramError::Malformed)?;
        if header != STANDARD.encode(&*self.header) || nonce != &*self.nonce || fields.any(is_mandatory) {
            return Err(ScramError::Malformed);
        }
        let mechanism = self.stored.mechanism;
        if proof.len() != mechanism.key_len() {
            return Err(ScramError::Malformed);
        }
        let message = format!("{},{without_proof}", self.said);
        let signature = mechanism.sign(&self.stored.stored_key, message.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(proof, signed)| proof ^ signed).collect();
        let is_right = verify_slices_are_equal(&mechanism.hash(&client_key), &self.stored.stored_key).is_ok();
        let server_signature = mechanism.sign(&self.stored.server_key, message.as_bytes());
        if !is_right || !self.is_known {
            return Err(ScramError::Wrong);
        }
        let last_message = format!("v={}", STANDARD.encode(server_signature)).into_bytes().into();
        Ok(ScramProof { user: self.user.clone(), last_message })
    }
}

/// An extension that whoever does not know it must refuse (RFC 5802, 5.1), and none is known.
fn is_mandatory(field: &str) -> bool {
    field.starts_with("m=")
}

fn text_of(message: &[u8]) -> Result<&str, ScramError> {
    let text = std::str::from_utf8(message).ok().filter(|text| text.len() <= SCRAM_MESSAGE_MAX_BYTES);
    text.filter(|text| !text.contains('\0')).ok_or(ScramError::Malformed)
}

/// A name in which comma and equals sign are written as `=2C` and `=3D`.
fn decode_name(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    let mut parts = text.split('=');
    name.push_str(parts.next()?);
    for part in parts {
        let (escaped, rest) = part.split_at_checked(2)?;
        name.push(match escaped {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        name.push_str(rest);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    /// The user of RFC 7677, 3.
    fn users() -> ScramUsers {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let iterations = NonZeroU32::new(4_096).unwrap();
        let lines = Mechanism::ALL
            .map(|mechanism| format!("user:{}\n", StoredScram::derive(mechanism, "pencil", &salt, iterations)));
        ScramUsers::parse(&lines.concat()).unwrap()
    }

    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

    /// What a client answers that knows this password.
    fn proof(mechanism: Mechanism, first: &str, server: &[u8], password: &str) -> String {
        let server = std::str::from_utf8(server).unwrap();
        let field = |name: &str| server.split(',').find_map(|field| field.strip_prefix(name)).unwrap();
        let (salt, iterations) = (STANDARD.decode(field("s=")).unwrap(), field("i=").parse().unwrap());
        let bare = first.splitn(3, ',').nth(2).unwrap();
        let header = STANDARD.encode(&first[..first.len() - bare.len()]);
        let without_proof = format!("c={header},r={}", field("r="));
        let message = format!("{bare},{server},{without_proof}");
        let salted = mechanism.salt_password(password.as_bytes(), &salt, iterations);
        let client_key = mechanism.sign(&salted, b"Client Key");
        let signature = mechanism.sign(&mechanism.hash(&client_key), message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, signed)| key ^ signed).collect();
        format!("{without_proof},p={}", STANDARD.encode(proof))
    }

    #[test]
    fn the_exchange_of_rfc_7677_goes_as_it_is_written_there() {
        let (exchange, server_first) =
            ScramExchange::begin(&users(), Mechanism::Sha256, FIRST.as_bytes(), NONCE).unwrap();
        let expected = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(&*server_first, expected.as_bytes());
        let client_final = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let done = exchange.finish(client_final.as_bytes()).unwrap();
        assert_eq!(&*done.last_message, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(&*done.user, "user");
    }

    #[test]
    fn the_right_password_is_proved_with_either_hash_and_no_other_one_is() {
        for mechanism in Mechanism::ALL {
            for first in [FIRST, "y,,n=user,r=abc", "n,a=user,n=user,r=abc"] {
                let (exchange, server) = ScramExchange::begin(&users(), mechanism, first.as_bytes(), NONCE).unwrap();
                let right = proof(mechanism, first, &server, "pencil");
                assert!(exchange.finish(right.as_bytes()).is_ok(), "{first}");
                let wrong = proof(mechanism, first, &server, "pen");
                assert_eq!(exchange.finish(wrong.as_bytes()), Err(ScramError::Wrong));
                // A proof of another exchange.
                let (other, _) = ScramExchange::begin(&users(), mechanism, first.as_bytes(), "other").unwrap();
                assert_eq!(other.finish(right.as_bytes()), Err(ScramError::Malformed));
            }
            let unknown = "n,,n=mallory,r=abc";
            let (exchange, server) = ScramExchange::begin(&users(), mechanism, unknown.as_bytes(), NONCE).unwrap();
            let guess = proof(mechanism, unknown, &server, "pencil");
            assert_eq!(exchange.finish(guess.as_bytes()), Err(ScramError::Wrong), "as for a known user");
        }
    }

    #[test]
    fn what_is_no_message_of_an_exchange_ends_it() {
        let long = format!("n,,n=user,r={}", "x".repeat(SCRAM_MESSAGE_MAX_BYTES));
        for first in [
            "",
            "n",
            "n,,",
            "n,,n=user",
            "n,,r=abc,n=user",
            "n,,n=user,r=",
            "n,,n=,r=abc",
            "n,,n=us=er,r=abc",
            "n,,n=us=2,r=abc",
            "n,,n=user,r=a\u{e4}",
            "n,,n=user\0,r=abc",
            "n,a=root,n=user,r=abc",
            "p=tls-unique,,n=user,r=abc",
            "n,,m=ext,n=user,r=abc",
            "n,,n=user,r=abc,m=ext",
            "n,,n=user,r=abc,x=1,m=ext",
            &long,
        ] {
            let begun = ScramExchange::begin(&users(), Mechanism::Sha256, first.as_bytes(), NONCE);
            assert_eq!(begun.map(|_| ()), Err(ScramError::Malformed), "{first:.60}");
        }
        assert!(ScramExchange::begin(&users(), Mechanism::Sha256, b"n,,n=\xff,r=abc", NONCE).is_err());
        let (exchange, server) = ScramExchange::begin(&users(), Mechanism::Sha256, FIRST.as_bytes(), NONCE).unwrap();
        let right = proof(Mechanism::Sha256, FIRST, &server, "pencil");
        for broken in [
            "",
            "c=biws",
            &right[..right.len() - 4],
            &right.replace("c=biws", "c=eSws"),
            &right.replace("r=rO", "r=xO"),
            &right.replace(",p=", ",q="),
            &right.replace(",p=", ",m=ext,p="),
            &format!("{right}="),
        ] {
            assert_eq!(exchange.finish(broken.as_bytes()), Err(ScramError::Malformed), "{broken}");
        }
        let forged = format!("{},p={}", right.rsplit_once(",p=").unwrap().0, STANDARD.encode([0; 32]));
        assert_eq!(exchange.finish(forged.as_bytes()), Err(ScramError::Wrong));
    }

    #[test]
    fn names_are_unescaped() {
        for (text, name) in [("a=2Cb=3Dc", Some("a,b=c")), ("plain", Some("plain")), ("a=2c", None), ("=", None)] {
            assert_eq!(decode_name(text).as_deref(), name);
        }
    }
}
