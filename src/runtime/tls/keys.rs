//! Private keys: PKCS#8, PKCS#1 and SEC1, and PKCS#8 under a passphrase.

use std::path::Path;

use pkcs8::EncryptedPrivateKeyInfo;
use pkcs8::der::SecretDocument;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use zeroize::Zeroizing;

use super::files::{SettingPlace, path, what_is_in};
use super::problem::TlsProblem;
use crate::settings::ListenerSettings;

/// The label of a key that needs a passphrase.
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// The passphrase of a listener's keys, if it has one.
pub(super) fn passphrase(settings: &ListenerSettings) -> Result<Option<Zeroizing<Vec<u8>>>, TlsProblem> {
    let listener = &*settings.name;
    let file = path(&settings.tls_key_passphrase_file);
    let variable = (&*settings.tls_key_passphrase_variable != "none").then_some(&*settings.tls_key_passphrase_variable);
    match (file, variable) {
        (Some(_), Some(_)) => {
            let place = SettingPlace { listener, key: "tls_key_passphrase_file" };
            Err(place.problem("a passphrase comes from a file or from a variable, and both are given"))
        }
        (Some(file), None) => {
            let text = Zeroizing::new(SettingPlace { listener, key: "tls_key_passphrase_file" }.read(&file)?);
            let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
            Ok(Some(Zeroizing::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec())))
        }
        (None, Some(variable)) => {
            let place = SettingPlace { listener, key: "tls_key_passphrase_variable" };
            let value = std::env::var_os(variable);
            let value = value.ok_or_else(|| place.problem(format!("the environment has no variable {variable}")))?;
            Ok(Some(Zeroizing::new(value.into_encoded_bytes())))
        }
        (None, None) => Ok(None),
    }
}

/// The key in a file.
pub(super) fn key(
    place: SettingPlace<'_>,
    file: &Path,
    passphrase: Option<&[u8]>,
) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    let text = Zeroizing::new(place.read(file)?);
    if contains(&text, b"Proc-Type: 4,ENCRYPTED") {
        let remedy = "it is encrypted in OpenSSL's old way, which is not read: `openssl pkcs8 -topk8 -in OLD -out NEW` makes \
                      a PKCS#8 key under a passphrase of it";
        return Err(place.of_file(file, None, remedy));
    }
    if contains(&text, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return decrypt(place, file, &text, passphrase);
    }
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(PemError::NoItemsFound) => {
            let text =
                format!("no private key is in it{}: expected is PEM, -----BEGIN PRIVATE KEY-----", what_is_in(&text));
            Err(place.of_file(file, None, text))
        }
        Err(error) => Err(place.of_file(file, None, format!("its PEM is damaged: {error}; copy the file again"))),
    }
}

fn decrypt(
    place: SettingPlace<'_>,
    file: &Path,
    text: &[u8],
    passphrase: Option<&[u8]>,
) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    let Some(passphrase) = passphrase else {
        let remedy =
            "it needs a passphrase: say where it is with tls_key_passphrase_file or tls_key_passphrase_variable";
        return Err(place.of_file(file, None, remedy));
    };
    let bad = |error: &dyn std::fmt::Display| place.of_file(file, None, format!("its PEM is damaged: {error}"));
    let text = std::str::from_utf8(text).map_err(|error| bad(&error))?;
    let start = text.find("-----BEGIN ENCRYPTED").unwrap_or_default();
    let (label, document) = SecretDocument::from_pem(section(&text[start..])).map_err(|error| bad(&error))?;
    debug_assert_eq!(label, ENCRYPTED);
    let info = EncryptedPrivateKeyInfo::try_from(document.as_bytes()).map_err(|error| bad(&error))?;
    let plain = info.decrypt(passphrase).map_err(|_| {
        let text = "the passphrase does not open it, or it is encrypted with an algorithm that is not known here \
                    (known is PBES2 with AES: `openssl pkcs8 -topk8 -v2 aes256`)";
        place.of_file(file, None, text)
    })?;
    PrivateKeyDer::try_from(plain.as_bytes().to_vec())
        .map_err(|error| place.of_file(file, None, format!("what the passphrase opens is no key: {error}")))
}

/// The first section, to the end of its last line.
fn section(text: &str) -> &str {
    let end = text.find("-----END").and_then(|end| text[end..].find('\n').map(|line| end + line + 1));
    &text[..end.unwrap_or(text.len())]
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
