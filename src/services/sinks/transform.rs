//! From a message that the session sends to a row that the target gets.
//!
//! Always holds: a message becomes a row, is passed over because the condition does not hold, or is a dead letter with a reason; none is
//! lost on the way. JSON stays on one line.
//! Leaves to others: what a dead letter is sent as (`dead_letters`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use minijinja::Value;
use serde_json::value::Value as Json;

use super::row::Row;
use super::time_text::time_text;
use super::values::values_of;
use crate::codec::Property;
use crate::config::SinkSettings;
use crate::config::sinks::SinkFormat;
use crate::services::local::OwnedPublish;

/// What a message has become.
#[derive(Debug)]
pub(super) enum Transformed {
    /// Goes to the target.
    Row(Box<Row>),
    /// The condition does not hold.
    PassedOver,
    /// Cannot go to the target, and why.
    Dead(String),
}

/// Applies condition, order and format of a sink. `id` is the row's, `received_ms` when the message came to the sink's queue.
pub(super) fn transform(settings: &SinkSettings, publish: &OwnedPublish, id: u128, received_ms: u64) -> Transformed {
    let mut row = row_of(publish, id, received_ms);
    match apply(settings, &mut row) {
        Ok(true) => Transformed::Row(Box::new(row)),
        Ok(false) => Transformed::PassedOver,
        Err(why) => Transformed::Dead(why),
    }
}

fn apply(settings: &SinkSettings, row: &mut Row) -> Result<bool, String> {
    let is_evaluated = settings.condition.is_some()
        || settings.order_by.is_some()
        || matches!(settings.format, SinkFormat::Template(_));
    let values = if is_evaluated { values_of(row) } else { Value::UNDEFINED };
    if let Some(condition) = &settings.condition
        && !condition.holds(&values).map_err(|error| format!("condition: {error}"))?
    {
        return Ok(false);
    }
    if let Some(order_by) = &settings.order_by {
        row.key = Some(order_by.render(&values).map_err(|error| format!("order_by: {error}"))?.into());
    }
    match &settings.format {
        SinkFormat::Raw => {}
        SinkFormat::Json => {
            row.payload = envelope(row).into();
            row.content_type = Some("application/json".to_owned());
        }
        SinkFormat::Template(template) => {
            row.payload = template.render(&values).map_err(|error| format!("template: {error}"))?.into();
            row.content_type = None;
        }
    }
    Ok(true)
}

fn row_of(publish: &OwnedPublish, id: u128, received_ms: u64) -> Row {
    let mut row = Row {
        id,
        topic: publish.topic.to_string(),
        payload: publish.payload.clone(),
        original: publish.payload.clone(),
        content_type: None,
        qos: publish.qos,
        retain: publish.retain,
        received_ms,
        client_id: None,
        user: None,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
        key: None,
    };
    for property in publish.forwarded().iter() {
        match property {
            Property::ContentType(text) => row.content_type = Some(text.to_owned()),
            Property::ResponseTopic(text) => row.response_topic = Some(text.to_owned()),
            Property::CorrelationData(bytes) => row.correlation_data = Some(Bytes::copy_from_slice(bytes)),
            Property::UserProperty(name, value) => row.user_properties.push((name.to_owned(), value.to_owned())),
            _ => {}
        }
    }
    row
}

/// All that is known of a message as one object of JSON, on one line. A payload that is JSON stands in it as such.
pub(super) fn envelope(row: &Row) -> Vec<u8> {
    let mut object = serde_json::Map::new();
    let mut put = |name: &str, value: Json| drop(object.insert(name.to_owned(), value));
    put("id", format!("{:032x}", row.id).into());
    put("topic", row.topic.as_str().into());
    put("qos", (row.qos as u8).into());
    put("retain", row.retain.into());
    put("time", time_text(row.received_ms).into());
    put("time_ms", row.received_ms.into());
    let texts = [
        ("client_id", &row.client_id),
        ("user", &row.user),
        ("content_type", &row.content_type),
        ("response_topic", &row.response_topic),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            put(name, text.as_str().into());
        }
    }
    if let Some(data) = &row.correlation_data {
        put("correlation_data_base64", STANDARD.encode(data).into());
    }
    if !row.user_properties.is_empty() {
        let pairs = row.user_properties.iter().map(|(name, value)| Json::from(vec![name.as_str(), value.as_str()]));
        put("properties", pairs.collect());
    }
    let payload = &row.original;
    let json = one_line_json(payload);
    if json.is_none() {
        match std::str::from_utf8(payload) {
            Ok(text) => put("payload", text.into()),
            Err(_) => put("payload_base64", STANDARD.encode(payload).into()),
        }
    }
    let mut bytes = Json::Object(object).to_string().into_bytes();
    if let Some(json) = json {
        // Put in as it is: numbers keep their digits, objects their order.
        bytes.pop();
        bytes.extend_from_slice(b",\"payload\":");
        bytes.extend_from_slice(&json);
        bytes.push(b'}');
    }
    bytes
}

/// The same JSON without line breaks, if it is JSON: those in its texts are escaped, so all others may be spaces.
pub(super) fn one_line_json(bytes: &[u8]) -> Option<Vec<u8>> {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).ok()?;
    std::str::from_utf8(bytes).ok()?;
    Some(bytes.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect())
}

/// A row as one line: JSON over several lines is made one, and any other row with a line break cannot be.
pub(super) fn line_of(payload: &Bytes) -> Result<Bytes, String> {
    match one_line_json(payload) {
        Some(line) => Ok(line.into()),
        None if !payload.contains(&b'\n') => Ok(payload.clone()),
        None => Err("it has line breaks and is no JSON".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::row;
    use super::*;

    fn read(row: &Row) -> Json {
        let bytes = envelope(row);
        assert!(!bytes.contains(&b'\n'), "{}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn an_envelope_has_json_as_json_text_as_text_and_bytes_in_base64() {
        let mut sample = row(255, "a/b", "{\"t\":\n 1.50, \"n\": 12345678901234567890123}");
        sample.user_properties = vec![("k".into(), "v".into())];
        let text = String::from_utf8(envelope(&sample)).unwrap();
        assert!(text.contains("\"n\": 12345678901234567890123}"), "{text}");
        let json = read(&sample);
        assert_eq!((&json["topic"], &json["qos"], &json["retain"]), (&"a/b".into(), &1.into(), &false.into()));
        assert_eq!(json["payload"]["t"], 1.5);
        assert_eq!(json["properties"], serde_json::json!([["k", "v"]]));
        assert_eq!(json["id"], "000000000000000000000000000000ff");
        assert_eq!(json["time"], "2026-11-30T12:00:00.123Z");
        assert_eq!(read(&row(1, "t", "two\nlines"))["payload"], "two\nlines");
        sample.original = Bytes::from_static(&[0xff]);
        let json = read(&sample);
        assert_eq!((json["payload_base64"].as_str(), json.get("payload")), (Some("/w=="), None));
        assert_eq!(read(&row(1, "t", ""))["payload"], "");
    }
}
