//! Rows in the text format of COPY.
//!
//! Always holds: no byte of a row ends a column or a line, and none is lost: what the format uses is escaped.
//! Leaves to others: which value goes where (`super`), and whether the server takes it as the column's type (the server).

use std::fmt::Write as _;

use minijinja::Value;
use minijinja::value::ValueKind;
use tokio_postgres::types::Type;

/// How a column wants its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnKind {
    /// As text that the server reads as its own type.
    Text,
    /// `bytea`: bytes as hexadecimal digits.
    Bytes,
}

impl ColumnKind {
    pub(super) fn of(kind: &Type) -> Self {
        if *kind == Type::BYTEA { Self::Bytes } else { Self::Text }
    }
}

/// Appends a column's value. What a text cannot be is the row's own fault.
pub(super) fn push_value(line: &mut Vec<u8>, kind: ColumnKind, value: &Value) -> Result<(), String> {
    if value.is_none() || value.is_undefined() {
        line.extend_from_slice(b"\\N");
        return Ok(());
    }
    if let (ColumnKind::Bytes, Some(bytes)) = (kind, value.as_bytes()) {
        push_hex(line, bytes);
        return Ok(());
    }
    let written;
    let text = match (value.kind(), value.as_bytes()) {
        (ValueKind::String | ValueKind::Bytes, Some(bytes)) => {
            std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())?
        }
        (ValueKind::Seq | ValueKind::Map | ValueKind::Iterable, _) => {
            written = serde_json::to_string(value).map_err(|error| error.to_string())?;
            &written
        }
        (ValueKind::Bool, _) => {
            if value.is_true() {
                "true"
            } else {
                "false"
            }
        }
        _ => {
            written = value.to_string();
            &written
        }
    };
    if text.contains('\0') {
        return Err("it has a character NUL, which no text of the database may have".to_owned());
    }
    push_escaped(line, text);
    Ok(())
}

fn push_hex(line: &mut Vec<u8>, bytes: &[u8]) {
    let mut digits = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}");
    }
    // One backslash for the type, doubled for COPY.
    line.extend_from_slice(b"\\\\x");
    line.extend_from_slice(digits.as_bytes());
}

fn push_escaped(line: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\t' => line.extend_from_slice(b"\\t"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            other => line.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    #[test]
    fn nothing_in_a_value_ends_it() {
        let written = |kind, value: Value| {
            let mut line = Vec::new();
            push_value(&mut line, kind, &value).map(|()| String::from_utf8(line).unwrap())
        };
        let pairs = [
            (ColumnKind::Text, Value::from("a\tb\nc\rd\\e\\N\\."), "a\\tb\\nc\\rd\\\\e\\\\N\\\\."),
            (ColumnKind::Text, Value::from(""), ""),
            (ColumnKind::Text, Value::UNDEFINED, "\\N"),
            (ColumnKind::Text, Value::from(()), "\\N"),
            (ColumnKind::Bytes, Value::from_bytes(b"\0\xff".to_vec()), "\\\\x00ff"),
            (ColumnKind::Bytes, Value::UNDEFINED, "\\N"),
            (ColumnKind::Text, Value::from_bytes(b"ab".to_vec()), "ab"),
            (ColumnKind::Text, Value::from(21.5), "21.5"),
            (ColumnKind::Text, Value::from(u64::MAX), "18446744073709551615"),
            (ColumnKind::Text, Value::from(true), "true"),
            (ColumnKind::Text, context! { a => vec![1, 2] }, r#"{"a":[1,2]}"#),
        ];
        for (kind, value, expected) in pairs {
            assert_eq!(written(kind, value.clone()).as_deref(), Ok(expected), "{value:?}");
        }
        assert!(written(ColumnKind::Text, Value::from_bytes(b"\xff".to_vec())).is_err());
        assert!(written(ColumnKind::Text, Value::from("a\0")).is_err());
    }
}
