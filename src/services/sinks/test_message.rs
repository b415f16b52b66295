//! One message through a sink's real target, to see what happens.
//!
//! Always holds: it goes by the condition, the template and the target of the sink, and past its session: nothing of it is queued, tried
//! again or a dead letter.
//! Leaves to others: who may ask for it, and telling the outcome.

use std::time::{Duration, Instant};

use crate::config::SinkSettings;
use crate::ids::Qos;
use crate::limits::SINK_TIMEOUT_MAX_MS;
use crate::services::connectors::now_ms;
use crate::services::local::{LocalDoor, OwnedPublish};

use super::SinkTestOutcome;
use super::delivered::{DeliverError, Delivered};
use super::target::Target;
use super::transform::{Transformed, transform};

/// Sends a message of this topic and payload through a target that is made for it.
pub(super) async fn send(sink: &SinkSettings, door: &LocalDoor, topic: &str, payload: &str) -> SinkTestOutcome {
    let mut publish = OwnedPublish::new(topic, payload.to_owned());
    publish.qos = Qos::AtMostOnce;
    let received_ms = now_ms();
    let row = match transform(sink, &publish, u128::from(received_ms), received_ms) {
        Transformed::Row(row) => *row,
        Transformed::PassedOver => return SinkTestOutcome::PassedOver,
        Transformed::Dead(why) => return SinkTestOutcome::Rejected(why),
    };
    let sent = String::from_utf8(row.payload.to_vec()).ok();
    // A worker that no sink has: its files and its client id are nobody else's.
    let mut target = Target::new(sink, sink.workers, door);
    let started = Instant::now();
    let longest = Duration::from_millis(SINK_TIMEOUT_MAX_MS);
    match tokio::time::timeout(longest, target.deliver(&[row])).await {
        Ok(Ok(Delivered::All)) => {
            SinkTestOutcome::Delivered { milliseconds: started.elapsed().as_millis() as u64, sent }
        }
        Ok(Ok(Delivered::Some { rejected })) => {
            SinkTestOutcome::Rejected(rejected.into_iter().map(|(_, why)| why).next().unwrap_or_default())
        }
        Ok(Err(DeliverError::Retry { why, .. })) => SinkTestOutcome::Failed(why),
        Err(_) => SinkTestOutcome::Failed("the target does not answer".to_owned()),
    }
}
