//! What completions mean: the next thing that happened, for the caller.

use super::datagram::DatagramSockets;
use super::event::{EndCause, SocketEvent};
use super::one::Completion;
use super::pending::Pending;
use super::plane::Plane;
use super::user_data::{Op, connection_of, payload_of};
use crate::ids::{SocketId, Ticket};
use io_uring::cqueue;

impl Plane {
    /// The next thing that happened, `None` when all is told: then queue what follows from it and `submit`.
    pub fn next_event(&mut self) -> Option<SocketEvent> {
        loop {
            let completion = self.rings.completed.pop_front()?;
            let user_data = completion.user_data;
            let event = match Op::of(user_data) {
                Op::Receive => Some(self.on_receive(completion)),
                Op::Accept => self.listeners.on_accept(&mut self.rings, completion),
                Op::AcceptPause => {
                    self.listeners.on_rested(payload_of(user_data) as usize);
                    None
                }
                Op::SendRest => Some(self.on_sent(completion)),
                Op::WriteDurable | Op::WriteBeforeSync | Op::SyncBehindWrite => Some(self.on_written(completion)),
                Op::HandOver => Some(self.on_handed_over(completion)),
                Op::Finish => Some(SocketEvent::Finished { connection: connection_of(user_data) }),
                Op::Adopted => Some(self.on_adopted(completion)),
                Op::Connect => Some(on_connected(completion)),
                Op::Woken => {
                    self.wakes.disarm();
                    None
                }
                Op::Timeout => {
                    self.timeout.disarm();
                    Some(SocketEvent::Timeout)
                }
                Op::WakeOther => {
                    self.wakes.wake_by_eventfd(payload_of(user_data) as usize);
                    None
                }
                Op::ReceiveDatagrams => {
                    let event = self.datagrams.on_received(&mut self.rings, completion);
                    self.turn_counts.receives += u32::from(matches!(event, Some(SocketEvent::Datagram { .. })));
                    event
                }
                Op::SendDatagram => Some(DatagramSockets::on_not_sent(&mut self.rings, completion)),
                // `Send` is taken out as completions are reaped, `Install` where it is waited for.
                Op::Send | Op::Ignored | Op::Install | Op::WokenByOther => None,
            };
            if event.is_some() {
                return event;
            }
        }
    }

    fn on_receive(&mut self, completion: Completion) -> SocketEvent {
        let connection = connection_of(completion.user_data);
        match (self.rings.take_buffer(completion), completion.result) {
            (Some(buffer), 1..) => {
                self.turn_counts.receives += 1;
                if !cqueue::more(completion.flags) {
                    self.closing.receive_ended(connection);
                }
                SocketEvent::Received { connection, buffer, more: cqueue::more(completion.flags) }
            }
            (buffer, result) => {
                if let Some(buffer) = buffer {
                    self.rings.give_back(buffer);
                }
                self.closing.receive_ended(connection);
                let cause = EndCause::of(result);
                self.rings.counters.out_of_buffers += u64::from(cause == EndCause::OutOfBuffers);
                SocketEvent::ReceiveEnded { connection, cause }
            }
        }
    }

    fn on_sent(&mut self, completion: Completion) -> SocketEvent {
        let Pending::Send { connection, bytes } = self.pending.remove(payload_of(completion.user_data)) else {
            unreachable!("the number of a send names a send");
        };
        let sent = completion.value() as usize;
        let error = match completion.result {
            result if result < 0 => Some(-result),
            // The kernel went on until there was an error, reported what had gone out, and kept the error.
            _ if sent < bytes.len() => Some(libc::EPIPE),
            _ => None,
        };
        SocketEvent::Sent { connection, bytes, sent, error }
    }

    fn on_handed_over(&mut self, completion: Completion) -> SocketEvent {
        let Pending::HandOver { ticket, socket } = self.pending.remove(payload_of(completion.user_data)) else {
            unreachable!("the number of a transfer names one");
        };
        if completion.result < 0 {
            return SocketEvent::HandOverFailed { ticket, socket, errno: -completion.result };
        }
        self.rings.free_slot(socket);
        SocketEvent::HandedOver { ticket }
    }

    fn on_adopted(&mut self, completion: Completion) -> SocketEvent {
        let index = usize::from(completion.ring);
        let ring = &mut self.rings.all[index];
        ring.open += 1;
        if ring.room() <= ring.reserve() {
            self.rings.choose_adopting();
        }
        let socket = SocketId::new(index, completion.value());
        SocketEvent::Adopted { ticket: Ticket::new(payload_of(completion.user_data)), socket }
    }
}

fn on_connected(completion: Completion) -> SocketEvent {
    let error = (completion.result < 0).then_some(-completion.result);
    SocketEvent::Connected { connection: connection_of(completion.user_data), error }
}
