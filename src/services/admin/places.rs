//! Which connections to the admin server there may be at a time, and who makes way when all places are taken.
//!
//! Always holds: no more are counted than there are places. A connection on which no request is under way makes way for a new one: the oldest
//! of whoever has most of them, so that one that says nothing, or nothing more, locks nobody out, and a flood from one address ends its own.
//! Where every connection has a request under way, one of whoever has more than half of the places makes way for somebody else.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use tokio::sync::Notify;

use super::origin::AdminPeer;

/// The places of one socket.
#[derive(Clone)]
pub(super) struct AdminPlaces(Arc<Mutex<TakenPlaces>>);

struct TakenPlaces {
    max: usize,
    /// In the order in which they came.
    places: Vec<TakenPlace>,
    last: u64,
}

struct TakenPlace {
    number: u64,
    owner: PlaceOwner,
    shared: Arc<SharedPlace>,
}

/// Who has a place, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum PlaceOwner {
    Address(IpAddr),
    User(u32),
}

#[derive(Default)]
struct SharedPlace {
    /// Requests that are under way, answers that are being sent among them.
    requests: AtomicU32,
    make_way: Notify,
}

/// A place, for as long as it is there.
pub(super) struct AdminPlace {
    number: u64,
    taken: AdminPlaces,
    shared: Arc<SharedPlace>,
}

impl AdminPlaces {
    pub(super) fn new(max: usize) -> Self {
        Self(Arc::new(Mutex::new(TakenPlaces { max, places: Vec::new(), last: 0 })))
    }

    /// A place for a new connection. None where all are taken by requests under way.
    pub(super) fn take(&self, peer: AdminPeer) -> Option<AdminPlace> {
        let owner = match peer {
            AdminPeer::Network(address) => PlaceOwner::Address(address.ip().to_canonical()),
            AdminPeer::Local { user_id, .. } => PlaceOwner::User(user_id),
        };
        let mut taken = self.lock();
        if taken.places.len() >= taken.max {
            let makes_way = taken.idle().or_else(|| taken.greedy(owner))?;
            let TakenPlace { shared, .. } = taken.places.remove(makes_way);
            shared.make_way.notify_one();
        }
        taken.last += 1;
        let (number, shared) = (taken.last, Arc::<SharedPlace>::default());
        taken.places.push(TakenPlace { number, owner, shared: Arc::clone(&shared) });
        drop(taken);
        Some(AdminPlace { number, taken: self.clone(), shared })
    }

    fn lock(&self) -> MutexGuard<'_, TakenPlaces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TakenPlaces {
    /// Where the one stands that makes way.
    fn idle(&self) -> Option<usize> {
        let is_idle = |place: &TakenPlace| place.shared.requests.load(Ordering::Relaxed) == 0;
        let counts = self.counts(is_idle);
        let most = *counts.values().max()?;
        self.places.iter().position(|place| is_idle(place) && counts[&place.owner] == most)
    }

    /// Likewise where none is idle.
    fn greedy(&self, newcomer: PlaceOwner) -> Option<usize> {
        let counts = self.counts(|_| true);
        let is_greedy = |place: &TakenPlace| place.owner != newcomer && counts[&place.owner] > self.max / 2;
        self.places.iter().position(is_greedy)
    }

    /// How many of these each has.
    fn counts(&self, which: impl Fn(&TakenPlace) -> bool) -> HashMap<PlaceOwner, usize> {
        let mut counts = HashMap::new();
        for place in self.places.iter().filter(|place| which(place)) {
            *counts.entry(place.owner).or_default() += 1;
        }
        counts
    }
}

impl AdminPlace {
    /// When somebody else needs the place.
    pub(super) async fn must_make_way(&self) {
        self.shared.make_way.notified().await;
    }

    /// A request whose head has come.
    pub(super) fn request(&self) -> Arc<AdminRequest> {
        Arc::new(AdminRequest { place: Arc::clone(&self.shared), is_under_way: AtomicBool::new(false) })
    }
}

impl Drop for AdminPlace {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.places.retain(|place| place.number != self.number);
    }
}

/// A request: under way once it has come whole, until its answer has been handed over to the connection.
pub(super) struct AdminRequest {
    place: Arc<SharedPlace>,
    is_under_way: AtomicBool,
}

impl AdminRequest {
    /// It has come whole, or is answered before that.
    fn begin(&self) {
        if !self.is_under_way.swap(true, Ordering::Relaxed) {
            self.place.requests.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for AdminRequest {
    fn drop(&mut self) {
        if self.is_under_way.load(Ordering::Relaxed) {
            self.place.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The body of a request, or that of its answer.
pub(super) struct CountedBody<B> {
    body: B,
    request: Arc<AdminRequest>,
}

impl CountedBody<Incoming> {
    pub(super) fn asked(body: Incoming, request: Arc<AdminRequest>) -> Self {
        let body = Self { body, request };
        body.note_end();
        body
    }
}

impl CountedBody<Body> {
    pub(super) fn answered(body: Body, request: Arc<AdminRequest>) -> Self {
        request.begin();
        Self { body, request }
    }
}

impl<B: HttpBody> CountedBody<B> {
    fn note_end(&self) {
        if self.body.is_end_stream() {
            self.request.begin();
        }
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for CountedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) {
            self.request.begin();
        }
        self.note_end();
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: [u8; 4]) -> AdminPeer {
        AdminPeer::Network((address, 9).into())
    }

    /// Whether somebody else needs it.
    fn makes_way(place: &AdminPlace) -> bool {
        let waits = std::pin::pin!(place.must_make_way());
        waits.poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    /// A request that has come whole.
    fn ask(place: &AdminPlace) -> CountedBody<Body> {
        CountedBody::answered(Body::empty(), place.request())
    }

    #[test]
    fn the_oldest_idle_one_of_whoever_has_most_makes_way() {
        let places = AdminPlaces::new(5);
        let probe = places.take(from([192, 0, 2, 1])).unwrap();
        let flood: Vec<AdminPlace> = (0..4).map(|_| places.take(from([192, 0, 2, 9])).unwrap()).collect();
        let (answer, head) = (ask(&flood[0]), flood[1].request());
        let last = places.take(from([192, 0, 2, 9])).unwrap();
        let gone: Vec<bool> = [&probe, &flood[0], &flood[1], &flood[2], &flood[3], &last].map(makes_way).into();
        assert_eq!(gone, [false, false, true, false, false, false], "a head alone holds no place, an answer does");
        assert_eq!(places.lock().places.len(), 5);
        drop((flood, answer, head));
        assert_eq!(places.lock().places.len(), 2, "the one that made way is not taken off twice");
    }

    #[test]
    fn nobody_comes_in_while_all_are_being_answered_unless_somebody_has_more_than_half() {
        let places = AdminPlaces::new(4);
        let taken = [1, 1, 2, 2].map(|number| places.take(from([192, 0, 2, number])).unwrap());
        let mut answers: Vec<_> = taken.iter().map(ask).collect();
        let local = AdminPeer::Local { user_id: 7, is_trusted: true };
        assert!(places.take(local).is_none());
        // One answer has ended.
        drop(answers.pop());
        let third = places.take(from([192, 0, 2, 1])).unwrap();
        assert!(makes_way(&taken[3]) && !makes_way(&taken[0]));
        let _answer = ask(&third);
        assert!(places.take(from([192, 0, 2, 1])).is_none(), "it has more than half itself");
        assert!(places.take(local).is_some() && makes_way(&taken[0]));
    }
}
