//! Edits of a password file's text: what `dunlin passwd` does.
//!
//! Always holds: lines that an edit is not about stay as they are, remarks among them; a user name that could not be read again
//! is refused.

use std::fmt::Write as _;

use super::stored::StoredPassword;
use super::users::split_line;

/// Why an edit is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// A user name that the format cannot hold.
    #[error("{0:?} cannot be a user name: it is empty, or begins with # or a blank, or holds a colon or a line break")]
    UserName(Box<str>),
    /// Nobody of that name.
    #[error("no user is called {0:?}")]
    NoUser(Box<str>),
    /// A line that cannot be read.
    #[error("line {0}: this is not `user:password`")]
    NoPair(usize),
}

/// Adds a user, or changes the password. Returns the new text.
pub fn set_user(text: &str, user: &str, password: &StoredPassword) -> Result<String, EditError> {
    check_name(user)?;
    let line = format!("{user}:{password}\n");
    let mut edited = String::with_capacity(text.len() + line.len());
    let mut is_set = false;
    for old in text.lines() {
        if is_line_of(old, user) {
            // A second line of the same user would make the file unreadable.
            if !is_set {
                edited.push_str(&line);
            }
            is_set = true;
        } else {
            edited.push_str(old);
            edited.push('\n');
        }
    }
    if !is_set {
        edited.push_str(&line);
    }
    Ok(edited)
}

/// Takes a user out. Returns the new text.
pub fn delete_user(text: &str, user: &str) -> Result<String, EditError> {
    if !text.lines().any(|line| is_line_of(line, user)) {
        return Err(EditError::NoUser(user.into()));
    }
    Ok(text.lines().filter(|line| !is_line_of(line, user)).flat_map(|line| [line, "\n"]).collect())
}

/// Hashes all passwords of a file that holds plain ones; those that are hashed stay. Returns the new text and how many were
/// hashed.
pub fn hash_plain_file(text: &str, mut hash: impl FnMut(&str) -> StoredPassword) -> Result<(String, usize), EditError> {
    let (mut edited, mut hashed) = (String::new(), 0);
    for (number, line) in (1..).zip(text.lines()) {
        match split_line(line) {
            Some(Err(())) => return Err(EditError::NoPair(number)),
            Some(Ok((user, password))) if StoredPassword::parse(password).is_err() => {
                check_name(user)?;
                let _ = write!(edited, "{user}:{}", hash(password));
                hashed += 1;
            }
            _ => edited.push_str(line),
        }
        edited.push('\n');
    }
    Ok((edited, hashed))
}

fn is_line_of(line: &str, user: &str) -> bool {
    matches!(split_line(line), Some(Ok((name, _))) if name == user)
}

fn check_name(user: &str) -> Result<(), EditError> {
    let is_odd = |c: char| c == ':' || c.is_control();
    let reads_back = !user.is_empty() && !user.starts_with('#') && user.trim() == user && !user.contains(is_odd);
    reads_back.then_some(()).ok_or_else(|| EditError::UserName(user.into()))
}

#[cfg(test)]
mod tests {
    use super::super::hash::{HashMemory, SALT_BYTES, Scheme};
    use super::super::users::Users;
    use super::*;

    fn stored(password: &str) -> StoredPassword {
        StoredPassword::new(Scheme::Sha512, password.as_bytes(), [3; SALT_BYTES])
    }

    #[test]
    fn a_user_is_added_changed_and_taken_out_and_the_rest_stays() {
        let text = "# people\nann:$x\n\nbob:$y\nann:$z";
        let set = set_user(text, "ann", &stored("a")).unwrap();
        assert_eq!(set, format!("# people\nann:{}\n\nbob:$y\n", stored("a")));
        let added = set_user(&set, "eve", &stored("e")).unwrap();
        assert_eq!(added, format!("{set}eve:{}\n", stored("e")));
        assert_eq!(delete_user(&added, "ann").as_deref(), Ok(&*format!("# people\n\nbob:$y\neve:{}\n", stored("e"))));
        assert_eq!(delete_user(&added, "an"), Err(EditError::NoUser("an".into())));
    }

    #[test]
    fn a_name_that_would_not_be_read_again_is_refused() {
        for name in ["", "#ann", " ann", "ann ", "a:b", "a\nb", "a\rb", "a\0b"] {
            assert_eq!(set_user("", name, &stored("a")), Err(EditError::UserName(name.into())));
        }
    }

    #[test]
    fn plain_passwords_are_hashed_and_hashed_ones_left() {
        let text = format!("ann:open sesame\nbob:{}\n# remark\neve:$6$no hash\n", stored("b"));
        let (edited, hashed) = hash_plain_file(&text, stored).unwrap();
        assert_eq!(hashed, 2);
        let users = Users::parse(&edited, (0, 0)).unwrap();
        let mut memory = HashMemory::default();
        for (user, password) in [("ann", "open sesame"), ("bob", "b"), ("eve", "$6$no hash")] {
            assert!(users.check(user, password.as_bytes()).run(&mut memory), "{user}");
        }
        assert_eq!(hash_plain_file("ann\n", stored), Err(EditError::NoPair(1)));
    }
}
