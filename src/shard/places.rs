//! Places for clients: how many are connected, of how many there may be.
//!
//! Owns: the counts that all shards of a process share, one of the whole broker and one of each listener.
//! Always holds: a client holds a place from the moment it is let in until its connection ends. Nobody else holds one: neither
//! who has not sent CONNECT, nor who was refused and reads its last words, nor a service of the broker's own.
//! Leaves to others: how many sockets there may be that hold no place (`conn`).

use std::sync::atomic::{AtomicU32, Ordering};

use crate::ids::INTERNAL_LISTENER;

/// See the module's text.
#[derive(Debug)]
pub struct Places {
    all: Limited,
    /// By the listener's index. One that is not listed has no limit of its own.
    listeners: Box<[Limited]>,
}

#[derive(Debug)]
struct Limited {
    taken: AtomicU32,
    max: AtomicU32,
}

impl Limited {
    const fn new(max: u32) -> Self {
        Self { taken: AtomicU32::new(0), max: AtomicU32::new(max) }
    }

    fn is_full(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.max.load(Ordering::Relaxed)
    }

    fn try_take(&self) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let one_more = |taken| (taken < max).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    fn take(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    fn free(&self) {
        let before = self.taken.fetch_sub(1, Ordering::Relaxed);
        debug_assert_ne!(before, 0, "a place is given back once");
    }
}

impl Places {
    /// `max` for the whole broker, and so many for each listener, by index.
    pub fn new(max: u32, listeners: impl IntoIterator<Item = u32>) -> Self {
        Self { all: Limited::new(max), listeners: listeners.into_iter().map(Limited::new).collect() }
    }

    /// As many as come.
    pub fn unlimited() -> Self {
        Self::new(u32::MAX, [])
    }

    /// A listener may have so many from now on. Who is connected stays.
    pub fn set_max(&self, listener: u8, max: u32) {
        if let Some(own) = self.listeners.get(usize::from(listener)) {
            own.max.store(max, Ordering::Relaxed);
        }
    }

    /// Whether [`Self::take`] would fail now.
    pub fn is_full(&self, listener: u8, replaces: Option<u8>) -> bool {
        if listener == INTERNAL_LISTENER {
            return false;
        }
        let of_listener = self.listeners.get(usize::from(listener)).is_some_and(Limited::is_full);
        of_listener && replaces != Some(listener) || self.all.is_full() && replaces.is_none()
    }

    /// Takes a place for a client that came by `listener`. One that takes over another connection gets in whenever that one
    /// did: its place is given back in the next moment. `replaces` is the listener that the other one came by.
    #[must_use]
    pub fn take(&self, listener: u8, replaces: Option<u8>) -> bool {
        if listener == INTERNAL_LISTENER {
            return true;
        }
        match replaces {
            Some(_) => self.all.take(),
            None if !self.all.try_take() => return false,
            None => {}
        }
        let Some(own) = self.listeners.get(usize::from(listener)) else { return true };
        if replaces == Some(listener) {
            own.take();
        } else if !own.try_take() {
            self.all.free();
            return false;
        }
        true
    }

    /// Gives a place back.
    pub fn free(&self, listener: u8) {
        if listener == INTERNAL_LISTENER {
            return;
        }
        self.all.free();
        if let Some(own) = self.listeners.get(usize::from(listener)) {
            own.free();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_takeover_gets_in_where_nobody_else_does() {
        let places = Places::new(2, [2, 1]);
        assert!(places.take(0, None) && places.take(1, None));
        assert!(places.is_full(0, None) && !places.take(0, None) && !places.take(1, None));
        // The same client again, by the same listener, and then by the one that is full.
        assert!(!places.is_full(0, Some(0)) && places.take(0, Some(0)));
        places.free(0);
        assert!(places.is_full(1, Some(0)) && !places.take(1, Some(0)), "the listener's own limit holds");
        assert!(places.take(0, Some(1)));
        places.free(1);
        assert!(places.is_full(0, None) && places.is_full(1, None), "both came by the first");
        places.free(0);
        assert!(!places.is_full(1, None) && places.take(1, None));
    }

    #[test]
    fn a_listener_may_have_more_and_fewer_than_before() {
        let places = Places::new(9, [1]);
        assert!(places.take(0, None) && !places.take(0, None));
        places.set_max(0, 2);
        assert!(places.take(0, None) && places.is_full(0, None));
        places.set_max(0, 1);
        assert!(places.is_full(0, None), "who is there stays");
        places.free(0);
        assert!(!places.take(0, None));
        places.free(0);
        assert!(places.take(0, None));
    }

    #[test]
    fn a_listener_that_is_full_takes_no_place_of_the_others() {
        let places = Places::new(2, [1, 2]);
        assert!(places.take(0, None));
        for _ in 0..10 {
            assert!(!places.take(0, None));
        }
        assert!(places.take(1, None) && !places.take(1, None));
        assert!(Places::unlimited().take(7, None));
    }
}
