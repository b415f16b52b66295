//! Names: what the caller calls a connection, what the plane calls a socket, and how both travel through the kernel.
//!
//! A submission carries 64 bits of user data that come back with its completion: 8 bits say which operation it was,
//! 56 bits are the caller's [`Token`], or a [`Ticket`], or the plane's own index. Nothing is looked up to read them.

/// A socket of one plane: which ring, and which slot of that ring's table of direct descriptors.
///
/// Valid from [`Event::Accepted`](super::Event::Accepted) or `Adopted` until `close`, `abort` or `hand_over`. The slot
/// is used again afterwards, so a connection forgets its `SocketId` when it calls one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(u32);

impl SocketId {
    const SLOT_BITS: u32 = 24;

    pub(super) const fn new(ring: usize, slot: u32) -> Self {
        debug_assert!(slot < 1 << Self::SLOT_BITS && ring < 256);
        Self((ring as u32) << Self::SLOT_BITS | slot)
    }

    pub(super) const fn ring(self) -> usize {
        (self.0 >> Self::SLOT_BITS) as usize
    }

    pub(super) const fn slot(self) -> u32 {
        self.0 & ((1 << Self::SLOT_BITS) - 1)
    }
}

/// The caller's name for a connection: a slot of its own table, and how many connections the slot has held.
///
/// The plane gives it back with every event and never looks inside. A completion that was on its way when a connection
/// was closed still arrives, under the old generation: the caller compares and ignores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// Index in the caller's table.
    pub slot: u32,
    generation: u32,
}

impl Token {
    /// Bits of a generation that fit beside slot and operation. It takes 16,777,216 connections in one slot while one
    /// completion is outstanding to take one for the other.
    pub const GENERATION_BITS: u32 = 24;

    /// Names the connection in `slot`; of `generation` the low 24 bits count.
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation: generation & ((1 << Self::GENERATION_BITS) - 1) }
    }

    /// The generation, 24 bits.
    pub const fn generation(self) -> u32 {
        self.generation
    }

    const fn pack(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    const fn unpack(bits: u64) -> Self {
        Self::new(bits as u32, (bits >> 32) as u32)
    }
}

/// Names one socket on its way between two planes: 56 bits that the source chooses so that no two sources choose the
/// same (its shard number and a counter), and that the target finds in the message about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// Of `bits` the low 56 count.
    pub const fn new(bits: u64) -> Self {
        Self(bits & PAYLOAD_MASK)
    }

    /// The 56 bits.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// Names a listener of one plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u8);

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
    /// Token.
    Receive = 3,
    /// Token. Posted only when the send was cut short or refused.
    Send = 4,
    /// Index of a `Pending`.
    SendRest = 5,
    /// Index of a `Pending`.
    HandOver = 7,
    /// Ticket; posted by another plane.
    Adopted = 8,
    /// Nothing.
    Timeout = 9,
    /// Token.
    Finish = 10,
    /// Token.
    Connect = 11,
    /// Nothing.
    Install = 12,
    /// Nothing.
    Woken = 13,
    /// Nothing; posted by another plane, to end a wait.
    Nudged = 14,
    /// Index of a neighbour. Posted only when it could not be nudged.
    Nudge = 15,
}

impl Op {
    pub(super) const fn with(self, payload: u64) -> u64 {
        (self as u64) << PAYLOAD_BITS | payload & PAYLOAD_MASK
    }

    pub(super) const fn of_token(self, token: Token) -> u64 {
        self.with(token.pack())
    }

    /// Only this module makes user data, so an unknown operation is a bug, and `Ignored` the harmless reading of it.
    pub(super) const fn of(user_data: u64) -> Self {
        match user_data >> PAYLOAD_BITS {
            1 => Self::Accept,
            2 => Self::AcceptPause,
            3 => Self::Receive,
            4 => Self::Send,
            5 => Self::SendRest,
            7 => Self::HandOver,
            8 => Self::Adopted,
            9 => Self::Timeout,
            10 => Self::Finish,
            11 => Self::Connect,
            12 => Self::Install,
            13 => Self::Woken,
            14 => Self::Nudged,
            15 => Self::Nudge,
            _ => Self::Ignored,
        }
    }
}

pub(super) const fn token_of(user_data: u64) -> Token {
    Token::unpack(user_data & PAYLOAD_MASK)
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
            let token = Token::new(slot, generation);
            for op in [Op::Accept, Op::Receive, Op::Send, Op::Timeout, Op::Ignored, Op::Adopted, Op::Connect, Op::Woken]
            {
                let user_data = op.of_token(token);
                assert_eq!((Op::of(user_data), token_of(user_data)), (op, token));
            }
        }
    }

    #[test]
    fn a_generation_wraps_and_leaves_the_operation_alone() {
        let token = Token::new(5, 0x0100_0001);
        assert_eq!(token.generation(), 1);
        assert_eq!(Op::of(Op::Send.of_token(token)), Op::Send);
    }

    #[test]
    fn a_socket_names_ring_and_slot() {
        let socket = SocketId::new(63, 0x00ab_cdef);
        assert_eq!((socket.ring(), socket.slot()), (63, 0x00ab_cdef));
    }
}
