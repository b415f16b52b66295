//! One timeout of the first ring: the earliest that anybody wished for.

use super::rings::Rings;
use super::user_data::Op;
use io_uring::types::{TimeoutFlags, Timespec};
use io_uring::{opcode, squeue};

/// What was wished for, and what the kernel knows of it.
#[derive(Default)]
pub(super) struct Timeout {
    wanted: Option<u64>,
    pub(super) armed: Option<u64>,
    timespec: Timespec,
}

impl Timeout {
    /// The earliest wish counts.
    pub(super) fn wish(&mut self, at_mono_ns: u64) {
        self.wanted = Some(self.wanted.map_or(at_mono_ns, |wanted| wanted.min(at_mono_ns)));
    }

    /// It fired, or the kernel refused it.
    pub(super) const fn disarm(&mut self) {
        self.armed = None;
    }

    /// Queues the timeout that was wished for, if it is earlier than the one that is armed. The kernel must be entered
    /// before `self` moves.
    pub(super) fn arm(&mut self, rings: &mut Rings) {
        let Some(at) = self.wanted.take() else { return };
        if self.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        self.timespec = Timespec::new().sec(at / 1_000_000_000).nsec((at % 1_000_000_000) as u32);
        let user_data = Op::Timeout.with(0);
        let entry = if self.armed.is_some() {
            // Fails if the old one fires just now: then its completion comes, and the caller sets the next.
            opcode::TimeoutUpdate::new(user_data, &raw const self.timespec)
                .flags(TimeoutFlags::ABS)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(Op::Ignored.with(0))
        } else {
            opcode::Timeout::new(&raw const self.timespec).flags(TimeoutFlags::ABS).build().user_data(user_data)
        };
        self.armed = Some(at);
        // SAFETY: the kernel reads the timespec when it takes the entry, which every caller makes it do next while it
        // holds the plane in place.
        unsafe { rings.push(0, &entry) };
    }
}
