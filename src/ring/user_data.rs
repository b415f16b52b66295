//! What travels through the kernel with an operation.
//!
//! A submission carries 64 bits of user data that come back with its completion: 8 bits say which operation it was,
//! 56 bits are the caller's [`ConnectionId`], a ticket, or the plane's own index. Nothing is looked up to read them.

use crate::ids::ConnectionId;

const PAYLOAD_BITS: u32 = 56;
const PAYLOAD_MASK: u64 = (1 << PAYLOAD_BITS) - 1;

/// Which operation a completion belongs to, and with what in the other 56 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Op {
    /// Nobody waits for the outcome: close, cancel, socket options.
    Ignored = 0,
    /// Listener, and its place.
    Accept = 1,
    /// Listener.
    AcceptPause = 2,
    /// Connection.
    Receive = 3,
    /// Connection. Posted only when the send was cut short or refused.
    Send = 4,
    /// Number of a `Pending`.
    SendRest = 5,
    /// Datagram socket. Posted only when the send was refused.
    SendDatagram = 6,
    /// Number of a `Pending`.
    HandOver = 7,
    /// Ticket; posted by another plane.
    Adopted = 8,
    /// Nothing.
    Timeout = 9,
    /// Connection.
    Finish = 10,
    /// Connection.
    Connect = 11,
    /// Nothing.
    Install = 12,
    /// Nothing.
    Woken = 13,
    /// Nothing; posted by another plane, to end a wait.
    WokenByOther = 14,
    /// Index of another plane. Posted only when it could not be woken so.
    WakeOther = 15,
    /// Datagram socket.
    ReceiveDatagrams = 16,
    /// Number of a `Pending`.
    WriteDurable = 17,
    /// Number of a `Pending`. Posted only when the write in front of a sync failed or fell short; then nothing is posted for the sync.
    WriteBeforeSync = 18,
    /// Number of a `Pending`: the sync behind a write.
    SyncBehindWrite = 19,
}

impl Op {
    pub(super) const fn with(self, payload: u64) -> u64 {
        (self as u64) << PAYLOAD_BITS | payload & PAYLOAD_MASK
    }

    pub(super) const fn of_connection(self, connection: ConnectionId) -> u64 {
        self.with(connection.to_bits())
    }

    /// Only this module makes user data, so an unknown operation is a bug, and `Ignored` the harmless reading of it.
    pub(super) const fn of(user_data: u64) -> Self {
        match user_data >> PAYLOAD_BITS {
            1 => Self::Accept,
            2 => Self::AcceptPause,
            3 => Self::Receive,
            4 => Self::Send,
            5 => Self::SendRest,
            6 => Self::SendDatagram,
            7 => Self::HandOver,
            8 => Self::Adopted,
            9 => Self::Timeout,
            10 => Self::Finish,
            11 => Self::Connect,
            12 => Self::Install,
            13 => Self::Woken,
            14 => Self::WokenByOther,
            15 => Self::WakeOther,
            16 => Self::ReceiveDatagrams,
            17 => Self::WriteDurable,
            18 => Self::WriteBeforeSync,
            19 => Self::SyncBehindWrite,
            _ => Self::Ignored,
        }
    }
}

pub(super) const fn connection_of(user_data: u64) -> ConnectionId {
    ConnectionId::from_bits(user_data & PAYLOAD_MASK)
}

pub(super) const fn payload_of(user_data: u64) -> u64 {
    user_data & PAYLOAD_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_gives_back_operation_and_payload() {
        for (slot, generation) in [(0, 0), (u32::MAX, 0x00ff_ffff), (7, 0x0012_3456)] {
            let connection = ConnectionId::new(slot, generation);
            for op in [
                Op::SendDatagram,
                Op::ReceiveDatagrams,
                Op::Accept,
                Op::Receive,
                Op::Send,
                Op::Timeout,
                Op::Ignored,
                Op::Adopted,
                Op::Connect,
                Op::Woken,
                Op::WriteDurable,
                Op::WriteBeforeSync,
                Op::SyncBehindWrite,
            ] {
                let user_data = op.of_connection(connection);
                assert_eq!((Op::of(user_data), connection_of(user_data)), (op, connection));
            }
        }
    }

    #[test]
    fn a_generation_wraps_and_leaves_the_operation_alone() {
        let connection = ConnectionId::new(5, 0x0100_0001);
        assert_eq!(connection.generation(), 1);
        assert_eq!(Op::of(Op::Send.of_connection(connection)), Op::Send);
    }
}
