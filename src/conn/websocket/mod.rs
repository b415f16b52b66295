//! WebSocket (RFC 6455), the server's side of it, as far as MQTT needs it [MQTT-6.0.0-1].
//!
//! Owns: the request that opens it and its answer, frames in and out, and what closes it.
//! Always holds: binary frames are one stream of bytes, whatever their borders [MQTT-6.0.0-2], unmasked where they lie; nothing is
//! kept of a frame but a head or a control frame that is not whole; nothing is allocated for a length that was announced. What
//! breaks the rules ends the connection with the code that RFC 6455 has for it.
//! Leaves to others: when bytes come and go (`conn`), what they mean (`codec`), TLS below it. No extension is agreed to.
//!
//! Reading order: `upgrade` (the request), `answer` (what it is told), `head` and `frames` (bytes in), `close`, `layer`
//! (all of it for one connection).

mod answer;
mod close;
mod frames;
mod head;
mod key;
mod layer;
#[cfg(test)]
mod model_tests;
mod upgrade;

pub use answer::UpgradeAnswer;
pub use close::CloseCode;
pub use frames::{ControlPayload, Deframer, Piece};
pub use head::{Opcode, Violation, write_head};
pub(super) use layer::WebSocketLayer;
pub use upgrade::{Subprotocol, UpgradeGrant, UpgradeRefusal, UpgradeRequest, UpgradeRules};
