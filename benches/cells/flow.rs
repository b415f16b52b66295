//! Closed loops: every publisher has so many messages on their way, and sends the next when one has arrived wherever it
//! must and is acknowledged. Every info is checked for its place in the order.

use super::fleet::{Fleet, Hello, News, publish};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What a closed loop looks like.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) publishers: u32,
    pub(super) topology: Topology,
    pub(super) qos: u8,
    pub(super) in_flight: u32,
}

/// Who subscribes to what.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Topology {
    /// A subscriber for each publisher.
    Pairs,
    /// So many subscribers to the same topic.
    Out(u32),
    /// One subscriber, to everything.
    In,
    /// So many filters, most of them with `+`, spread over 1,000 connections; four match each message.
    Wildcards(u32),
}

/// One running loop.
pub(super) struct Flow {
    shape: Shape,
    fleet: Fleet,
    publishers: Vec<Publisher>,
    /// Publisher by connection.
    owner: Vec<u32>,
    /// Of each connection, the number that must come next, where there is one publisher.
    next: Vec<u32>,
    news: Vec<News>,
    delivered: u64,
    stopping: bool,
}

#[derive(Default)]
struct Publisher {
    connection: u32,
    sent: u32,
    acknowledged: u32,
    /// Messages that have arrived everywhere.
    complete: u32,
    /// Arrivals of the messages after those.
    arrivals: VecDeque<u32>,
}

impl Flow {
    /// Connects everybody; all subscriptions are in place on return.
    pub(super) fn connect(address: SocketAddr, shape: Shape) -> Self {
        let mut fleet = Fleet::new(address);
        let mut next = Vec::new();
        for (number, filters) in subscriptions(shape).into_iter().enumerate() {
            let client_id = format!("subscriber-{number}");
            fleet.connect(Hello { client_id: &client_id, clean: true }, &filters);
            next.push(0);
        }
        let mut owner = vec![u32::MAX; next.len()];
        let mut publishers = Vec::new();
        for number in 0..shape.publishers {
            let client_id = format!("publisher-{number}");
            let connection = fleet.connect(Hello { client_id: &client_id, clean: true }, &[]);
            owner.push(number);
            publishers.push(Publisher { connection, ..Publisher::default() });
        }
        Self { shape, fleet, publishers, owner, next, news: Vec::new(), delivered: 0, stopping: false }
    }

    /// Runs for a while; returns how many messages were delivered.
    pub(super) fn run(&mut self, length: Duration) -> u64 {
        let begin = Instant::now();
        let before = self.delivered;
        self.stopping = false;
        for number in 0..self.publishers.len() {
            self.refill(number);
        }
        while begin.elapsed() < length {
            self.turn();
        }
        self.delivered - before
    }

    /// Waits until everything has arrived, so that another broker has the machine for itself.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        while self.publishers.iter().any(|publisher| self.on_their_way(publisher) > 0) {
            self.turn();
        }
    }

    pub(super) fn disconnect(self) {
        self.fleet.disconnect();
    }

    fn turn(&mut self) {
        let mut news = std::mem::take(&mut self.news);
        self.fleet.turn(&mut news);
        for item in news.drain(..) {
            match item {
                News::Arrived { at, publisher, number } => self.arrived(at, publisher as usize, number),
                News::Acknowledged { at } => {
                    let publisher = self.owner[at as usize] as usize;
                    self.publishers[publisher].acknowledged += 1;
                    self.refill(publisher);
                }
                News::Subscribed => unreachable!("everybody has subscribed before"),
            }
        }
        self.news = news;
    }

    fn arrived(&mut self, at: u32, publisher: usize, number: u32) {
        self.delivered += 1;
        let hits = self.hits();
        if self.publishers.len() == 1 {
            assert_eq!(self.next[at as usize], number, "a message is lost, doubled or out of order");
            self.next[at as usize] += 1;
        }
        let of = &mut self.publishers[publisher];
        let place = number.checked_sub(of.complete).expect("a message came once more than it should") as usize;
        assert!(place < of.arrivals.len(), "a message came that was not sent");
        assert!(hits > 1 || place == 0, "a message is lost or out of order");
        of.arrivals[place] += 1;
        assert!(of.arrivals[place] <= hits, "a message came once more than it should");
        while of.arrivals.front() == Some(&hits) {
            of.arrivals.pop_front();
            of.complete += 1;
        }
        self.refill(publisher);
    }

    fn hits(&self) -> u32 {
        match self.shape.topology {
            Topology::Pairs | Topology::In => 1,
            Topology::Out(subscribers) => subscribers,
            Topology::Wildcards(_) => 4,
        }
    }

    fn on_their_way(&self, publisher: &Publisher) -> u32 {
        let settled = if self.shape.qos == 0 { u32::MAX } else { publisher.acknowledged };
        publisher.sent - publisher.complete.min(settled)
    }

    fn refill(&mut self, number: usize) {
        while !self.stopping && self.on_their_way(&self.publishers[number]) < self.shape.in_flight {
            let (shape, publisher) = (self.shape, &mut self.publishers[number]);
            let topic = topic(shape, number as u32, publisher.sent);
            self.fleet.send(publisher.connection, |out| {
                publish(&topic, shape.qos, false, number as u32, publisher.sent, out);
            });
            publisher.sent += 1;
            publisher.arrivals.push_back(0);
        }
    }
}

fn topic(shape: Shape, publisher: u32, message: u32) -> String {
    match shape.topology {
        Topology::Pairs => format!("p/{publisher}"),
        Topology::Out(_) => "out".to_owned(),
        Topology::In => format!("in/{publisher}"),
        Topology::Wildcards(filters) => {
            let n = (publisher + message * 7_919) % (filters / 4);
            format!("site/{}/device-{n}/value/{}", n / 100, n % 100)
        }
    }
}

/// The filters of each subscriber.
fn subscriptions(shape: Shape) -> Vec<Vec<(String, u8)>> {
    let one = |filter: String| vec![(filter, shape.qos)];
    match shape.topology {
        Topology::Pairs => (0..shape.publishers).map(|number| one(format!("p/{number}"))).collect(),
        Topology::Out(subscribers) => (0..subscribers).map(|_| one("out".to_owned())).collect(),
        Topology::In => vec![one("in/#".to_owned())],
        Topology::Wildcards(filters) => {
            let mut subscribers = vec![Vec::new(); 1_000];
            for n in 0..filters / 4 {
                let kinds = [
                    format!("site/{}/+/value/{}", n / 100, n % 100),
                    format!("site/{}/device-{n}/#", n / 100),
                    format!("site/+/device-{n}/#"),
                    format!("+/{}/device-{n}/value/+", n / 100),
                ];
                for (kind, filter) in kinds.into_iter().enumerate() {
                    subscribers[n as usize % 250 + kind * 250].push((filter, shape.qos));
                }
            }
            subscribers
        }
    }
}
