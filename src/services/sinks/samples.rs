//! Rows for tests of targets.

use bytes::Bytes;

use super::row::Row;
use crate::ids::Qos;

/// A row of QoS 1 with an id, of a client that is called `kiln-7`, at noon of 2026-11-30.
pub(crate) fn row(id: u128, topic: &str, payload: &str) -> Row {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    Row {
        id,
        topic: topic.to_owned(),
        original: payload.clone(),
        payload,
        content_type: None,
        qos: Qos::AtLeastOnce,
        retain: false,
        received_ms: 1_796_040_000_123,
        client_id: Some("kiln-7".to_owned()),
        user: None,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
        key: None,
    }
}
