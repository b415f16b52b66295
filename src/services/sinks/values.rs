//! What conditions and templates see of a message.
//!
//! Always holds: names are the same wherever an operator writes one; what no expression asks for is not made, JSON above all.
//! Leaves to others: evaluating (`template`), and what the docs say of each name (docs/SINKS.md).

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use minijinja::Value;
use minijinja::value::{Enumerator, Object};

use super::row::Row;
use super::time_text::time_text;
use crate::limits::TEMPLATE_INPUT_MAX_BYTES;

/// Every name that there is.
const NAMES: [&str; 20] = [
    "client_id",
    "content_type",
    "correlation_data_base64",
    "id",
    "key",
    "output",
    "output_bytes",
    "output_text",
    "payload",
    "payload_base64",
    "payload_bytes",
    "payload_text",
    "properties",
    "qos",
    "response_topic",
    "retain",
    "time",
    "time_ms",
    "topic",
    "user",
];

/// The values of a row, by name.
pub(crate) fn values_of(row: &Row) -> Value {
    Value::from_object(RowValues { row: row.clone(), payload: OnceLock::new() })
}

#[derive(Debug)]
struct RowValues {
    row: Row,
    /// Read once.
    payload: OnceLock<Value>,
}

impl Object for RowValues {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let row = &self.row;
        Some(match key.as_str()? {
            "topic" => Value::from(row.topic.as_str()),
            "payload" => self.payload.get_or_init(|| payload(&row.original)).clone(),
            "payload_text" => text(&row.original)?,
            "payload_base64" => Value::from(STANDARD.encode(&row.original)),
            "payload_bytes" => Value::from_bytes(row.original.to_vec()),
            "output" => payload(&row.payload),
            "output_text" => text(&row.payload)?,
            "output_bytes" => Value::from_bytes(row.payload.to_vec()),
            "qos" => Value::from(row.qos as u8),
            "retain" => Value::from(row.retain),
            "time_ms" => Value::from(row.received_ms),
            "time" => Value::from(time_text(row.received_ms)),
            "id" => Value::from(format!("{:032x}", row.id)),
            "key" => text(row.key.as_ref()?)?,
            "client_id" => Value::from(row.client_id.as_deref()?),
            "user" => Value::from(row.user.as_deref()?),
            "content_type" => Value::from(row.content_type.as_deref()?),
            "response_topic" => Value::from(row.response_topic.as_deref()?),
            "correlation_data_base64" => Value::from(STANDARD.encode(row.correlation_data.as_ref()?)),
            // The last of a name is the one that is seen.
            "properties" => Value::from_pairs(row.user_properties.clone()),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&NAMES)
    }
}

fn text(bytes: &Bytes) -> Option<Value> {
    std::str::from_utf8(bytes).ok().map(Value::from)
}

/// JSON as what it is, other text as text; anything else, and what is too long to be looked into, is not there.
fn payload(bytes: &Bytes) -> Value {
    if bytes.len() > TEMPLATE_INPUT_MAX_BYTES {
        return Value::UNDEFINED;
    }
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => value,
        Err(_) => text(bytes).unwrap_or(Value::UNDEFINED),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::row;
    use super::*;
    use crate::template::{Condition, Template};

    fn render(source: &str, payload: &str) -> Result<String, String> {
        let mut row = row(1, "plant/7", payload);
        row.user_properties = vec![("a".into(), "1".into()), ("a".into(), "2".into())];
        Template::parse(source).unwrap().render_text(&values_of(&row))
    }

    #[test]
    fn json_is_looked_into_and_other_text_is_text() {
        assert_eq!(render("{{ payload.t }} {{ payload.list[1] }}", r#"{"t":21.5,"list":[1,2]}"#).unwrap(), "21.5 2");
        assert_eq!(render("{{ payload + 1 }}", "41").unwrap(), "42");
        assert_eq!(render("{{ payload }}!", "hello").unwrap(), "hello!");
        assert_eq!(render("{{ topic }} {{ qos }} {{ retain }} {{ properties.a }}", "").unwrap(), "plant/7 1 False 2");
        assert_eq!(render("{{ time_ms }} {{ time }}", "").unwrap(), "1796040000123 2026-11-30T12:00:00.123Z");
        assert!(render("{{ payload.u }}", r#"{"t":1}"#).is_err() && render("{{ user }}", "").is_err());
        assert_eq!(render("{{ user | default('-') }}", "").unwrap(), "-");
    }

    #[test]
    fn bytes_that_are_no_text_are_not_there_but_in_base64() {
        let mut row = row(1, "t", "");
        row.original = Bytes::from_static(&[0xff, 0]);
        let values = values_of(&row);
        assert!(Condition::parse("payload is defined").unwrap().holds(&values).is_ok_and(|holds| !holds));
        assert_eq!(Template::parse("{{ payload_base64 }}").unwrap().render_text(&values).unwrap(), "/wA=");
        row.original = Bytes::from(vec![b'1'; TEMPLATE_INPUT_MAX_BYTES + 1]);
        assert!(Condition::parse("payload > 1").unwrap().holds(&values_of(&row)).is_err());
    }

    /// What stands behind `key = ` in an example of docs/SINKS.md.
    fn documented(sink: &str, key: &str) -> String {
        let document = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/SINKS.md"));
        let table = document.split("```").find(|part| part.contains(&format!("name = \"{sink}\"")));
        let line = table.unwrap().lines().find_map(|line| line.strip_prefix(&format!("{key} = "))).unwrap();
        line.trim_matches(['"', '\'']).to_owned()
    }

    #[test]
    fn documented_examples_hold_for_numbers_and_cannot_be_forged_by_texts() {
        let holds = |sink: &str, payload: &str| {
            Condition::parse(&documented(sink, "condition")).unwrap().holds(&values_of(&row(
                1,
                "plant/7/temperature",
                payload,
            )))
        };
        for (payload, is_hot) in [
            (r#"{"celsius": 81}"#, true),
            (r#"{"celsius": 79}"#, false),
            (r#"{"celsius": "text"}"#, false),
            (r#"{"celsius": [99]}"#, false),
            (r#"{"other": 99}"#, false),
            ("text", false),
        ] {
            assert_eq!(holds("alerts", payload), Ok(is_hot), "{payload}");
        }
        let template = documented("influx", "template");
        assert_eq!(render(&template, r#"{"celsius": 21.5}"#).unwrap(), "temperature,site=7 celsius=21.5 1796040000123");
        for forged in [r#"{"celsius": "1 1\ntemperature,site=8 celsius=2"}"#, r#"{"celsius": [1]}"#, "{}", "text"] {
            assert!(render(&template, forged).is_err(), "{forged}");
        }
        assert_eq!(holds("influx", r#"{"celsius": null}"#), Ok(false));
        assert_eq!(holds("influx", r#"{"celsius": 21}"#), Ok(true));
    }
}
