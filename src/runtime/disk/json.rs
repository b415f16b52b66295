//! One JSON object on one line, field by field.

use std::fmt::Write;

/// See the module's text.
#[derive(Debug)]
pub(super) struct JsonLine(String);

impl JsonLine {
    /// Begins with the field that says what the line is.
    pub(super) fn of(kind: &str) -> Self {
        let mut line = Self("{".to_owned());
        line.text("kind", kind);
        line
    }

    /// What stands last.
    pub(super) fn end() -> Self {
        Self::of("end")
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.push('"');
        for character in value.chars() {
            match character {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                control if control < ' ' || control == '\u{7f}' => {
                    let _ = write!(self.0, "\\u{:04x}", u32::from(control));
                }
                other => self.0.push(other),
            }
        }
        self.0.push('"');
    }

    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        let _ = write!(self.0, "{value}");
    }

    /// `null` for none.
    pub(super) fn maybe(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            return self.number(name, value);
        }
        self.name(name);
        self.0.push_str("null");
    }

    /// `null` for none.
    pub(super) fn maybe_text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            return self.text(name, value);
        }
        self.name(name);
        self.0.push_str("null");
    }

    /// A list or an object, as `serde_json` writes it on one line.
    pub(super) fn value(&mut self, name: &str, value: &serde_json::Value) {
        self.name(name);
        let _ = write!(self.0, "{value}");
    }

    pub(super) fn flag(&mut self, name: &str, value: bool) {
        self.name(name);
        self.0.push_str(if value { "true" } else { "false" });
    }

    pub(super) fn numbers(&mut self, name: &str, values: impl Iterator<Item = u64>) {
        self.name(name);
        self.0.push('[');
        for (index, value) in values.enumerate() {
            let _ = write!(self.0, "{}{value}", if index > 0 { "," } else { "" });
        }
        self.0.push(']');
    }

    pub(super) fn texts<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a str>) {
        let values: Vec<&str> = values.collect();
        self.value(name, &values.into());
    }

    /// Bytes in base64 (RFC 4648, 4).
    pub(super) fn bytes(&mut self, name: &str, bytes: &[u8]) {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        self.name(name);
        self.0.push('"');
        for three in bytes.chunks(3) {
            let value =
                three.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            for digit in 0..4_usize {
                let index = value >> (18 - 6 * digit) & 63;
                self.0.push(if digit > three.len() { '=' } else { char::from(DIGITS[index as usize]) });
            }
        }
        self.0.push('"');
    }

    /// The line, with its end.
    pub(super) fn finish(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "\"{name}\":");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back() {
        let mut line = JsonLine::of("it");
        line.text("text", "a\"b\\c\nd\u{1}ö");
        line.number("number", u64::MAX);
        line.maybe("none", None);
        line.maybe_text("no_text", None);
        line.value("value", &serde_json::json!({"a": [1]}));
        line.flag("flag", true);
        line.numbers("numbers", [1, 2].into_iter());
        for (name, bytes) in [("zero", &b""[..]), ("one", b"f"), ("two", b"fo"), ("three", b"foo"), ("six", b"foobar")]
        {
            line.bytes(name, bytes);
        }
        let read: serde_json::Value = serde_json::from_str(&line.finish()).unwrap();
        assert_eq!((read["text"].as_str(), read["number"].as_u64()), (Some("a\"b\\c\nd\u{1}ö"), Some(u64::MAX)));
        assert!(read["none"].is_null() && read["flag"] == true && read["numbers"][1] == 2);
        assert!(read["no_text"].is_null() && read["value"]["a"][0] == 1);
        let encoded = ["zero", "one", "two", "three", "six"].map(|name| read[name].as_str().unwrap().to_owned());
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYmFy"]);
    }
}
