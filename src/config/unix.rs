//! Unix sockets in the configuration: where, whose, and who may connect.

use std::path::{Path, PathBuf};

use crate::limits::LISTENER_TEXT_MAX_BYTES;
use crate::settings::{FromValue, Value};

/// A socket at a path, as it is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    /// Where.
    pub path: PathBuf,
    /// Who may connect.
    pub mode: UnixMode,
    /// Whose it is.
    pub owner: UnixOwner,
}

impl UnixSocket {
    /// From the values of the rows with these flags; `None` where there is no path.
    pub(super) fn of(value: &dyn Fn(&str) -> Value) -> Option<Self> {
        let UnixPath(path) = UnixPath::from_value(value("unix"));
        let (mode, owner) = (FromValue::from_value(value("unix-mode")), FromValue::from_value(value("unix-owner")));
        Some(Self { path: path?, mode, owner })
    }
}

/// Where to listen; `None` for nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixPath(pub Option<PathBuf>);

/// The kernel takes 107 bytes; the file beside it has a longer name.
const PATH_MAX_BYTES: usize = 100;
/// The word for no path.
const OFF: &str = "off";

impl FromValue for UnixPath {
    fn from_value(value: Value) -> Self {
        let text = String::from_value(value);
        Self((text != OFF).then(|| text.into()))
    }
}

/// Reads a path, or the word for none.
pub(super) fn check_unix(text: &str) -> Result<String, String> {
    let is_path =
        (1..=PATH_MAX_BYTES).contains(&text.len()) && !text.contains('\0') && Path::new(text).file_name().is_some();
    if is_path {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is neither {OFF} nor a path of up to {PATH_MAX_BYTES} bytes that ends in a name"))
}

/// Permissions of a socket's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixMode(pub u32);

impl FromValue for UnixMode {
    fn from_value(value: Value) -> Self {
        Self(u32::from_str_radix(&String::from_value(value), 8).expect("the row has checked it"))
    }
}

/// Reads permissions; what is left of the three digits means nothing for a socket.
pub(super) fn check_mode(text: &str) -> Result<String, String> {
    let digits = text.trim().trim_start_matches("0o").trim_start_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    match u32::from_str_radix(digits, 8) {
        Ok(mode @ 1..=0o777) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(format!("{mode:o}")),
        _ => Err(format!(
            "{text:?} is no mode: write three octal digits, such as 660 (owner and group) or 666 (everybody)"
        )),
    }
}

/// Whose a socket's file is; the broker's own where it is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixOwner {
    /// A name of `/etc/passwd`, or a number.
    pub user: Option<Box<str>>,
    /// A name of `/etc/group`, or a number.
    pub group: Option<Box<str>>,
}

/// The word for the broker's own.
const SELF: &str = "self";

impl FromValue for UnixOwner {
    fn from_value(value: Value) -> Self {
        let text = String::from_value(value);
        if text == SELF {
            return Self::default();
        }
        let (user, group) = text.split_once(':').unwrap_or((&text, ""));
        let given = |name: &str| (!name.is_empty()).then(|| name.into());
        Self { user: given(user), group: given(group) }
    }
}

/// Reads a user, a group, or both.
pub(super) fn check_owner(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !b":,/".contains(&byte));
    if text.len() <= LISTENER_TEXT_MAX_BYTES && (user.is_empty() || is_name(user)) && is_name(group) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no owner: write user, user:group, :group or {SELF}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        for (text, read) in [("660", "660"), (" 0666 ", "666"), ("0o600", "600"), ("7", "7")] {
            assert_eq!(check_mode(text).as_deref(), Ok(read));
        }
        assert_eq!(UnixMode::from_value(Value::Text("660".to_owned())), UnixMode(0o660));
        for bad in ["", "0", "rw-rw----", "668", "1777", "-660", "+660"] {
            assert!(check_mode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn owners_are_a_user_a_group_or_both() {
        let owner = |text: &str| UnixOwner::from_value(Value::Text(check_owner(text).unwrap()));
        let of = |user: Option<&str>, group: Option<&str>| UnixOwner {
            user: user.map(Into::into),
            group: group.map(Into::into),
        };
        assert_eq!(owner("self"), UnixOwner::default());
        assert_eq!(owner("mqtt"), of(Some("mqtt"), None));
        assert_eq!(owner("mqtt:www-data"), of(Some("mqtt"), Some("www-data")));
        assert_eq!(owner(":33"), of(None, Some("33")));
        for bad in ["", ":", "a:", "a:b:c", "a b", "a,b"] {
            assert!(check_owner(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_fits_the_kernel() {
        assert!(
            check_unix("/run/dunlin/mqtt.sock").is_ok()
                && check_unix("off").is_ok()
                && check_unix(&"x".repeat(100)).is_ok()
        );
        for bad in ["", "/", "..", "a\0b", &"x".repeat(101)] {
            assert!(check_unix(bad).is_err(), "{bad:?}");
        }
    }
}
