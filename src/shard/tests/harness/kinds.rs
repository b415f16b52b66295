//! What a message between shards is, in a word: as `Debug` names it.

use crate::shard::MeshMessage;

pub(super) const fn kind(message: &MeshMessage) -> &'static str {
    match message {
        MeshMessage::Publish { .. } => "Publish",
        MeshMessage::Barrier { .. } => "Barrier",
        MeshMessage::Stored { .. } => "Stored",
        MeshMessage::Interest { .. } => "Interest",
        MeshMessage::Applied { .. } => "Applied",
        MeshMessage::RetainedDeleted { .. } => "RetainedDeleted",
        MeshMessage::GroupRoom { .. } => "GroupRoom",
        MeshMessage::LogRoom { .. } => "LogRoom",
        MeshMessage::Report(_) => "Report",
        MeshMessage::View(_) => "View",
        MeshMessage::PeerInterest { .. } => "PeerInterest",
        MeshMessage::PeerApplied { .. } => "PeerApplied",
        MeshMessage::PeerRoom { .. } => "PeerRoom",
        MeshMessage::PeerStored { .. } => "PeerStored",
        MeshMessage::TellInterest { .. } => "TellInterest",
        MeshMessage::ToldInterest { .. } => "ToldInterest",
        MeshMessage::ForgetSlot { .. } => "ForgetSlot",
        MeshMessage::SlotForgotten { .. } => "SlotForgotten",
        MeshMessage::Synced => "Synced",
        MeshMessage::Counted => "Counted",
    }
}
