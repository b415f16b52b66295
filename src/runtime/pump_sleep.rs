//! How a pump sleeps while its executor has other tasks: inside the executor, until its plane's eventfd is signalled.
//!
//! Alone, a pump sleeps in the entry into the kernel that sends (`Plane::flush_and_wait`), which blocks the thread and so
//! everything else on it. While there is a [`Guest`], it sleeps here instead: the executor reads the eventfd like a file, so
//! timers, disk and other tasks of the shard go on meanwhile, and the thread blocks only when none of them has anything to
//! do either. The read is never cancelled: glommio leaks a pending task that is dropped, so whoever wants the pump wakes it
//! through its `PlaneHandle`. See `docs/decisions/2026-11-25-sleeping.md`.
//!
//! A pump that is busy for long lets the guests run by the same way: [`PumpSleep::breathe`].

use glommio::io::BufferedFile;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd};
use std::rc::Rc;
use std::time::Duration;

/// The executors' preempt timer: practically never.
///
/// glommio 0.9.0 (fixed upstream, not released) loses a wake-up when the timer fires between its look for completions and the first task queue: then
/// `run_task_queues` returns "nothing ran", and the executor parks on top of a task that is ready to run, until
/// something else wakes it. With a timer of 2 ms and more shards than cores that took seconds to happen. A pump has its
/// executor to itself and needs no preemption. See `docs/decisions/2026-11-22-preempt-timer.md`.
pub const PREEMPT_TIMER: Duration = Duration::from_secs(24 * 3600);

/// An eventfd that a task can wait for.
pub struct PumpSleep {
    reading: BufferedFile,
    writing: File,
    guests: Rc<Cell<usize>>,
}

/// A task of a pump's executor besides the pump: while it exists, it is given its turns. Whoever becomes one wakes the pump,
/// or does it from within the pump's own turn.
pub struct Guest(Rc<Cell<usize>>);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl PumpSleep {
    /// Of `eventfd`, which must be a blocking one. Within a glommio executor only.
    ///
    /// # Errors
    /// No descriptor is left to duplicate it: glommio closes what it reads.
    pub fn new(eventfd: BorrowedFd<'_>) -> io::Result<Self> {
        let writing = File::from(eventfd.try_clone_to_owned()?);
        let own = eventfd.try_clone_to_owned()?.into_raw_fd();
        // SAFETY: the duplicate is handed over; nobody else owns or closes it.
        Ok(Self { reading: unsafe { BufferedFile::from_raw_fd(own) }, writing, guests: Rc::default() })
    }

    /// For a task that is about to join the executor.
    pub fn guest(&self) -> Guest {
        self.guests.set(self.guests.get() + 1);
        Guest(Rc::clone(&self.guests))
    }

    /// Whether the executor has nobody but the pump.
    pub fn is_alone(&self) -> bool {
        self.guests.get() == 0
    }

    /// Sleeps until the eventfd was signalled since the last sleep ended. Call it between `Plane::prepare_sleep` and
    /// `Plane::awake`.
    ///
    /// # Errors
    /// The executor's own ring is beyond repair.
    pub async fn sleep(&self) -> io::Result<()> {
        let count = self.reading.read_at(0, size_of::<u64>()).await.map_err(io::Error::from)?;
        debug_assert_eq!(count.len(), size_of::<u64>(), "an eventfd is read whole");
        Ok(())
    }

    /// Lets the executor finish I/O and run its other tasks once, without sleeping: a read that is satisfied at once
    /// still takes a whole turn of the executor. Some microseconds; a busy pump does it every millisecond.
    ///
    /// # Errors
    /// As `sleep`.
    pub async fn breathe(&self) -> io::Result<()> {
        (&self.writing).write_all(&1_u64.to_ne_bytes())?;
        self.sleep().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{Plane, PlaneConfig};
    use glommio::LocalExecutorBuilder;

    #[test]
    fn a_busy_pump_lets_timers_and_tasks_of_its_executor_run() {
        let executor = LocalExecutorBuilder::default().io_memory(1 << 16).make().unwrap();
        executor.run(async {
            let plane = Plane::new(PlaneConfig { sockets_max: 16, buffers: 16, ..PlaneConfig::default() }).unwrap();
            let sleep = PumpSleep::new(plane.eventfd()).unwrap();
            let others = Rc::new(Cell::new(0));
            let theirs = others.clone();
            let other = glommio::spawn_local(async move {
                for _ in 0..10 {
                    glommio::timer::sleep(Duration::from_micros(200)).await;
                    theirs.set(theirs.get() + 1);
                }
            });
            let begin = std::time::Instant::now();
            while others.get() < 10 {
                assert!(begin.elapsed() < Duration::from_secs(10), "the timer task starves");
                sleep.breathe().await.unwrap();
            }
            other.await;
        });
    }

    #[test]
    fn guests_are_counted_as_they_come_and_go() {
        LocalExecutorBuilder::default().io_memory(1 << 16).make().unwrap().run(async {
            let plane = Plane::new(PlaneConfig { sockets_max: 16, buffers: 16, ..PlaneConfig::default() }).unwrap();
            let sleep = PumpSleep::new(plane.eventfd()).unwrap();
            assert!(sleep.is_alone());
            let (one, other) = (sleep.guest(), sleep.guest());
            drop(one);
            assert!(!sleep.is_alone());
            drop(other);
            assert!(sleep.is_alone());
        });
    }

    #[test]
    fn a_pump_sleeps_until_it_is_woken_while_its_executor_goes_on() {
        let executor = LocalExecutorBuilder::default().io_memory(1 << 16).make().unwrap();
        executor.run(async {
            let mut plane = Plane::new(PlaneConfig { sockets_max: 16, buffers: 16, ..PlaneConfig::default() }).unwrap();
            let sleep = PumpSleep::new(plane.eventfd()).unwrap();
            for _ in 0..50 {
                let others = Rc::new(Cell::new(0));
                let (theirs, handle) = (others.clone(), plane.handle());
                let other = glommio::spawn_local(async move {
                    for _ in 0..3 {
                        glommio::timer::sleep(Duration::from_micros(100)).await;
                        theirs.set(theirs.get() + 1);
                    }
                    std::thread::spawn(move || handle.wake()).join().unwrap();
                });
                assert!(plane.prepare_sleep());
                sleep.sleep().await.unwrap();
                plane.awake();
                assert_eq!(others.get(), 3);
                other.await;
            }
        });
    }
}
