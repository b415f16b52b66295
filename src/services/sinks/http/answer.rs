//! Answers that say something of each row.

use serde_json::Value as Json;

use super::DeliverError;

/// What the bulk API of Elasticsearch and `OpenSearch` says of so many rows: those that it never takes, with the reason. Where it is too
/// busy for one of them, all are to be sent again, so that none overtakes another: with `_id` nothing is twice.
pub(super) fn of_bulk(body: &[u8], rows: usize) -> Result<Vec<(usize, String)>, DeliverError> {
    let answer: Json =
        serde_json::from_slice(body).map_err(|error| DeliverError::retry(format!("its answer is no JSON: {error}")))?;
    let items = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if items.len() != rows {
        let told = items.len();
        return Err(DeliverError::retry(format!("it was sent {rows} rows, and answers for {told}")));
    }
    let mut rejected = Vec::new();
    for (at, item) in items.iter().enumerate() {
        // The one member is the action: index, create, update.
        let Some(of_action) = item.as_object().and_then(|item| item.values().next()) else { continue };
        let status = of_action["status"].as_u64().unwrap_or(500);
        let why = || format!("status {status}: {}", of_action["error"]["reason"].as_str().unwrap_or("no reason given"));
        match status {
            // 409: it is there already, because it was sent before.
            200..=299 | 409 => {}
            // As of a whole request: nobody knows us, or the index is not there.
            401 | 403 | 404 | 405 | 407 | 408 | 410 | 425 | 429 => return Err(DeliverError::retry(why())),
            400..=499 => rejected.push((at, why())),
            _ => return Err(DeliverError::retry(why())),
        }
    }
    Ok(rejected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_apart_and_a_busy_server_is_asked_again() {
        let of = |statuses: &[u16]| {
            let items: Vec<Json> = statuses
                .iter()
                .map(|status| serde_json::json!({"index": {"status": status, "error": {"reason": "why"}}}))
                .collect();
            of_bulk(serde_json::json!({"errors": true, "items": items}).to_string().as_bytes(), 3)
        };
        assert_eq!(of(&[201, 200, 409]).unwrap(), []);
        assert_eq!(of(&[201, 400, 200]).unwrap(), [(1, "status 400: why".to_owned())]);
        for about_us in [401, 403, 404, 408, 429] {
            assert!(of(&[201, about_us, 400]).is_err(), "{about_us}");
        }
        assert!(of(&[201, 429, 400]).is_err() && of(&[201, 503, 200]).is_err() && of(&[201, 201]).is_err());
        assert!(of_bulk(b"<html>", 1).is_err());
    }
}
