//! Rows into NATS: into a stream of `JetStream` that acknowledges each, or to whoever listens at the moment.
//!
//! Always holds: with `JetStream` a batch is delivered when a stream has said of each row that it has it. Each row carries its id as
//! `Nats-Msg-Id`, so that a stream takes what is sent again within its window of duplicates for what it is.
//! Leaves to others: connecting (`services::nats`), what goes beside a payload (`headers`).
//!
//! Without `JetStream` a batch is delivered when the server has read it. That is weaker: who does not listen then never gets it.

use std::collections::VecDeque;

use async_nats::header::{HeaderName, HeaderValue};
use async_nats::jetstream::context::{ContextBuilder, PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{Client, HeaderMap, RequestErrorKind};

use super::delivered::{DeliverError, Delivered};
use super::headers::headers_of;
use super::row::Row;
use super::values::values_of;
use crate::config::targets::NatsSinkSettings;
use crate::services::nats::{connect, words_of};

/// Rows that wait for the stream's acknowledgement at once.
const UNACKNOWLEDGED_MAX: usize = 512;
/// What the server says of a message that is longer than the stream takes.
const STREAM_MESSAGE_TOO_LONG: u64 = 10_054;

/// Opened with the next batch, and again after a failure.
#[derive(Debug)]
pub(crate) struct NatsTarget {
    settings: NatsSinkSettings,
    client: Option<Client>,
}

/// What came of one row.
enum RowFault {
    /// It is never taken.
    OfRow(String),
    /// The server does not take it now.
    OfServer(String),
}

impl NatsTarget {
    pub(crate) const fn new(settings: NatsSinkSettings) -> Self {
        Self { settings, client: None }
    }

    pub(crate) async fn deliver(&mut self, batch: &[Row]) -> Result<Delivered, DeliverError> {
        // After a failure the connection is opened anew: what it may still hold is sent again anyway.
        let client = match self.client.take() {
            Some(client) => client,
            None => connect(&self.settings.server).await.map_err(DeliverError::retry)?,
        };
        let delivered = if self.settings.jetstream {
            self.to_stream(&client, batch).await
        } else {
            self.to_listeners(&client, batch).await
        };
        if delivered.is_ok() {
            self.client = Some(client);
        }
        delivered
    }

    async fn to_stream(&self, client: &Client, batch: &[Row]) -> Result<Delivered, DeliverError> {
        let timeout = self.settings.server.timeout;
        let builder = ContextBuilder::new().timeout(timeout).ack_timeout(timeout);
        let stream = builder.max_ack_inflight(2 * UNACKNOWLEDGED_MAX).build(client.clone());
        let mut rejected = Vec::new();
        let mut waiting: VecDeque<(usize, PublishAckFuture)> = VecDeque::new();
        for (at, row) in batch.iter().enumerate() {
            let (subject, headers) = match self.subject(row) {
                Ok(subject) => (subject, header_map(row)),
                Err(why) => {
                    rejected.push((at, why));
                    continue;
                }
            };
            let message = PublishMessage::build().payload(row.payload.clone()).headers(headers);
            let message = message.message_id(format!("{:032x}", row.id));
            match stream.send_publish(subject, message).await {
                Ok(acknowledgement) => waiting.push_back((at, acknowledgement)),
                Err(error) => self.blame(at, &error, &mut rejected)?,
            }
            if waiting.len() >= UNACKNOWLEDGED_MAX {
                self.await_first(&mut waiting, &mut rejected).await?;
            }
        }
        while !waiting.is_empty() {
            self.await_first(&mut waiting, &mut rejected).await?;
        }
        rejected.sort_unstable();
        Ok(if rejected.is_empty() { Delivered::All } else { Delivered::Some { rejected } })
    }

    async fn await_first(
        &self,
        waiting: &mut VecDeque<(usize, PublishAckFuture)>,
        rejected: &mut Vec<(usize, String)>,
    ) -> Result<(), DeliverError> {
        let Some((at, acknowledgement)) = waiting.pop_front() else { return Ok(()) };
        match acknowledgement.await {
            Ok(_) => Ok(()),
            Err(error) => self.blame(at, &error, rejected),
        }
    }

    /// Rejects a row that is to blame, or gives the whole batch up for now.
    fn blame(&self, at: usize, error: &PublishError, rejected: &mut Vec<(usize, String)>) -> Result<(), DeliverError> {
        match fault_of(error, self.chooses_subjects()) {
            RowFault::OfRow(why) => rejected.push((at, why)),
            RowFault::OfServer(why) => return Err(DeliverError::retry(why)),
        }
        Ok(())
    }

    async fn to_listeners(&self, client: &Client, batch: &[Row]) -> Result<Delivered, DeliverError> {
        let mut rejected = Vec::new();
        for (at, row) in batch.iter().enumerate() {
            let subject = match self.subject(row) {
                Ok(subject) => subject,
                Err(why) => {
                    rejected.push((at, why));
                    continue;
                }
            };
            if row.payload.len() > client.server_info().max_payload {
                rejected.push((at, "it is longer than the server takes".to_owned()));
                continue;
            }
            let published = client.publish_with_headers(subject, header_map(row), row.payload.clone()).await;
            published.map_err(|error| DeliverError::retry(words_of(&error)))?;
        }
        // The server reads in order: an answer to what comes last says that it has read everything before. Nobody is there to answer.
        match client.request(client.new_inbox(), bytes::Bytes::new()).await {
            Err(error) if error.kind() != RequestErrorKind::NoResponders => Err(DeliverError::retry(words_of(&error))),
            _ if rejected.is_empty() => Ok(Delivered::All),
            _ => Ok(Delivered::Some { rejected }),
        }
    }

    /// Whether the subject depends on the message: then a subject that no stream has is the message's fault.
    fn chooses_subjects(&self) -> bool {
        self.settings.subject.source().contains("{{")
    }

    fn subject(&self, row: &Row) -> Result<String, String> {
        let subject = self.settings.subject.render_text(&values_of(row))?;
        let is_token = |token: &str| !token.is_empty() && token != "*" && token != ">";
        let is_text = !subject.contains(|c: char| c.is_whitespace() || c.is_control());
        if is_text && subject.split('.').all(is_token) {
            return Ok(subject);
        }
        Err(format!("{subject:?} is no subject that can be published to"))
    }
}

fn fault_of(error: &PublishError, chooses_subjects: bool) -> RowFault {
    let words = words_of(error);
    let api = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<async_nats::jetstream::Error>());
    let is_too_long = api.is_some_and(|error| error.error_code().0 == STREAM_MESSAGE_TOO_LONG);
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => RowFault::OfRow(words),
        PublishErrorKind::StreamNotFound if chooses_subjects => RowFault::OfRow(words),
        _ if is_too_long => RowFault::OfRow(words),
        _ => RowFault::OfServer(words),
    }
}

/// The row's headers, with nothing in them that the protocol has no way to say.
fn header_map(row: &Row) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers_of(row) {
        let name: String = name.chars().map(|c| if c.is_ascii_graphic() && c != ':' { c } else { '_' }).collect();
        let value: String = value.chars().map(|c| if c == '\r' || c == '\n' { ' ' } else { c }).collect();
        // An empty name is what is left to refuse.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            map.append(name, value);
        }
    }
    map
}

#[cfg(test)]
mod tests;
