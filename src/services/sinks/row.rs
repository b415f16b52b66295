//! One message on its way to a target, already transformed.
//!
//! Always holds: a row that is delivered again, because its target or the broker has failed in between, has the same id again.
//! Leaves to others: where it came from and who acknowledges it (`worker`), what is made of it (the targets).

use bytes::Bytes;

use crate::ids::Qos;

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The same again when it is delivered again; another one for every other message.
    pub(crate) id: u128,
    /// As it was published.
    pub(crate) topic: String,
    /// What the target gets: the transformed payload, the envelope, or the payload as it was.
    pub(crate) payload: Bytes,
    /// The payload as it was published, for templates and for dead letters.
    pub(crate) original: Bytes,
    /// Of `payload`: `application/json`, or what the publisher says of a raw one.
    pub(crate) content_type: Option<String>,
    /// Of this delivery.
    pub(crate) qos: Qos,
    /// Whether it is a retained message.
    pub(crate) retain: bool,
    /// When it came to the sink's queue, in milliseconds since 1970.
    pub(crate) received_ms: u64,
    /// Who published it, where that is known.
    pub(crate) client_id: Option<String>,
    /// What that client was let in as.
    pub(crate) user: Option<String>,
    /// Where an answer is expected.
    pub(crate) response_topic: Option<String>,
    /// What the answer is to carry.
    pub(crate) correlation_data: Option<Bytes>,
    /// In their order; a name may stand twice.
    pub(crate) user_properties: Vec<(String, String)>,
    /// Rows of one key stay in order: what `order_by` says, or none.
    pub(crate) key: Option<Bytes>,
}

impl Row {
    /// Bytes that it counts for in a batch.
    pub(crate) fn len_bytes(&self) -> usize {
        let properties: usize = self.user_properties.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.topic.len() + self.payload.len() + properties
    }

    /// Bytes of memory that it takes, near enough: where a template has made something else of a payload, both are held.
    pub(crate) fn held_bytes(&self) -> usize {
        let is_same = self.original.as_ptr() == self.payload.as_ptr() && self.original.len() == self.payload.len();
        let original = if is_same { 0 } else { self.original.len() };
        let others = [&self.correlation_data, &self.key].into_iter().flatten().map(Bytes::len).sum::<usize>();
        let texts = [&self.content_type, &self.response_topic].into_iter().flatten().map(String::len).sum::<usize>();
        size_of::<Self>() + self.len_bytes() + original + others + texts
    }
}
