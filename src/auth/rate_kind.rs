//! What rates of clients count.

/// What a rate counts, in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RateKind {
    /// Messages from a client.
    Publish,
    /// Bytes of those: topic, properties and payload.
    PublishBytes,
    /// Messages to a client.
    Delivery,
    /// Bytes of those.
    DeliveryBytes,
}

impl RateKind {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// Each, in the order of its number.
    pub const ALL: [Self; Self::COUNT] = [Self::Publish, Self::PublishBytes, Self::Delivery, Self::DeliveryBytes];

    /// Whether it counts bytes.
    pub const fn is_bytes(self) -> bool {
        matches!(self, Self::PublishBytes | Self::DeliveryBytes)
    }

    /// The key of the file.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Publish => "publish_rate",
            Self::PublishBytes => "publish_rate_bytes",
            Self::Delivery => "delivery_rate",
            Self::DeliveryBytes => "delivery_rate_bytes",
        }
    }
}
