//! Where secrets are that the broker shows to other servers.
//!
//! Always holds: a secret is not in the configuration: it is in a file or a variable, which is read when it is needed.
//! Leaves to others: what it is for.

use std::path::PathBuf;

use super::tables::TableReader;
use super::unreadable;

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// In a file, whose first line it is.
    File(PathBuf),
    /// In an environment variable.
    Variable(Box<str>),
}

impl SecretPlace {
    /// The secret, as it is now.
    pub fn read(&self) -> Result<String, String> {
        let (secret, place) = match self {
            Self::File(path) => {
                let text = unreadable::read_text(path).map_err(|error| format!("{}: {error}", path.display()))?;
                (text.lines().next().unwrap_or_default().trim().to_owned(), path.display().to_string())
            }
            Self::Variable(name) => {
                (std::env::var(&**name).map_err(|_| format!("the variable {name} is not set"))?, name.to_string())
            }
        };
        if secret.is_empty() { Err(format!("{place} holds nothing")) } else { Ok(secret) }
    }
}

/// A secret that is in a file or in a variable, by two keys of which one may be there.
pub(super) fn secret(
    table: &mut TableReader<'_, '_>,
    file_key: &'static str,
    variable_key: &'static str,
) -> Option<SecretPlace> {
    let file = table.text(file_key);
    let variable = table.text(variable_key);
    if file.is_some() && variable.is_some() {
        table.problem_of(variable_key, format!("{file_key} says already where it is"));
    }
    file.map(|path| SecretPlace::File(path.into())).or_else(|| variable.map(|name| SecretPlace::Variable(name.into())))
}
