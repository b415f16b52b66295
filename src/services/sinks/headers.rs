//! What goes beside a row's payload where a target has headers: Kafka and NATS.
//!
//! Always holds: what a publisher chose as a user property never stands for something that a server acts upon, nor for one of ours.
//! Leaves to others: what a header may be made of (the targets).

use std::fmt::Write as _;

use super::row::Row;

/// How the names of ours begin.
const OURS: &str = "mqtt-";
/// How names begin that servers act upon, such as `Nats-Rollup`, which deletes what a stream holds.
const OF_SERVERS: [&str; 3] = ["nats-", OURS, "content-type"];
/// What stands before a publisher's name that begins so.
const OF_PUBLISHER: &str = "property-";

/// The headers of a row, in order: ours, then its user properties.
pub(crate) fn headers_of(row: &Row) -> Vec<(String, String)> {
    let own = |name: &str, value: &str| (format!("{OURS}{name}"), value.to_owned());
    let mut headers = vec![own("topic", &row.topic), own("id", &format!("{:032x}", row.id))];
    if row.retain {
        headers.push(own("retain", "1"));
    }
    headers.extend(row.content_type.iter().map(|value| ("content-type".to_owned(), value.clone())));
    headers.extend(row.client_id.iter().map(|value| own("client-id", value)));
    headers.extend(row.user.iter().map(|value| own("user", value)));
    headers.extend(row.response_topic.iter().map(|value| own("response-topic", value)));
    headers.extend(row.correlation_data.iter().map(|data| own("correlation-data", &hex(data))));
    headers.extend(row.user_properties.iter().map(|(name, value)| {
        let is_taken = OF_SERVERS
            .iter()
            .any(|taken| name.get(..taken.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(taken)));
        (if is_taken { format!("{OF_PUBLISHER}{name}") } else { name.clone() }, value.clone())
    }));
    headers
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::sinks::samples::row;

    #[test]
    fn a_publisher_cannot_speak_to_the_server() {
        let mut row = row(1, "a/b", "x");
        row.correlation_data = Some(bytes::Bytes::from_static(b"\x00\xff"));
        row.user_properties = [("Nats-Rollup", "all"), ("unit", "C"), ("MQTT-topic", "other"), ("Content-Type", "x")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let headers = headers_of(&row);
        let get = |name: &str| headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
        assert_eq!(get("mqtt-topic"), Some("a/b"));
        assert_eq!(get("mqtt-correlation-data"), Some("00ff"));
        assert_eq!(get("unit"), Some("C"));
        assert_eq!(get("property-Nats-Rollup"), Some("all"));
        assert_eq!(get("property-MQTT-topic"), Some("other"));
        assert_eq!((get("Nats-Rollup"), get("MQTT-topic"), get("Content-Type")), (None, None, None));
    }
}
