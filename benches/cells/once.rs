//! What is measured once a round: idle clients, a sweep of retained messages, backlogs that come back.

use super::fleet::{Fleet, Hello, News, connect_packet, publish, subscribe_packet};
use super::process::Process;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Clients that connect, subscribe, stay silent, and leave.
pub(super) struct Idle {
    pub(super) cpu_us_connect: f64,
    pub(super) cpu_us_subscribe: f64,
    pub(super) cpu_us_leave: f64,
    pub(super) bytes: f64,
}

/// Clients that are on their way in at a time: a storm, in which the broker's accept queue never is empty for long.
const ARRIVING: u32 = 200;

/// Each client has a connection of its own and one subscription. `round` keeps their names apart from earlier ones.
pub(super) fn idle(address: SocketAddr, process: &Process, clients: u32, round: usize) -> Idle {
    let mut fleet = Fleet::new(address);
    let (rss, begin) = (process.resident_bytes(), process.cpu_ns());
    for first in (0..clients).step_by(ARRIVING as usize) {
        let numbers = first..clients.min(first + ARRIVING);
        let mut streams: Vec<_> = numbers.clone().map(|_| fleet.open()).collect();
        for (number, stream) in numbers.zip(&mut streams) {
            let client_id = format!("idle-{round:02}-{number:07}");
            stream.write_all(&connect_packet(Hello { client_id: &client_id, clean: true })).expect("a fresh socket");
        }
        for mut stream in streams {
            expect(&mut stream, &[0x20, 2, 0, 0]);
            fleet.add(stream);
        }
    }
    let connected = process.cpu_ns();
    for number in 0..clients {
        let filter = format!("fleet/{number:06}/cmd");
        fleet.send(number, |out| out.extend(subscribe_packet(&[(filter, 0)])));
    }
    wait(&mut fleet, clients, |news| matches!(news, News::Subscribed));
    std::thread::sleep(Duration::from_millis(300)); // what the broker puts off until it is idle
    let (subscribed, after) = (process.cpu_ns(), process.resident_bytes());
    fleet.disconnect();
    let left = process.cpu_ns();
    let each = |nanoseconds: u64| nanoseconds as f64 / 1e3 / f64::from(clients);
    Idle {
        cpu_us_connect: each(connected - begin),
        cpu_us_subscribe: each(subscribed - connected),
        cpu_us_leave: each(left - subscribed),
        bytes: (after as f64 - rss as f64) / f64::from(clients),
    }
}

fn expect(stream: &mut TcpStream, expected: &[u8]) {
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).expect("the broker answers");
    assert_eq!(answer, expected, "the broker refuses");
}

/// Milliseconds until `messages` retained messages have arrived at a new subscriber of `#`, and the broker's CPU
/// microseconds for each.
pub(super) fn retained(address: SocketAddr, process: &Process, messages: u32) -> (f64, f64) {
    let mut fleet = Fleet::new(address);
    let publisher = fleet.connect(Hello { client_id: "retainer", clean: true }, &[]);
    for number in 0..messages {
        let topic = format!("retained/{}/{}", number / 100, number % 100);
        fleet.send(publisher, |out| publish(&topic, 1, true, 0, number, out));
        if number % 1_000 == 999 {
            wait(&mut fleet, 1_000, |news| matches!(news, News::Acknowledged { .. }));
        }
    }
    let subscriber = fleet.connect(Hello { client_id: "sweeper", clean: true }, &[]);
    let (begin, cpu) = (Instant::now(), process.cpu_ns());
    fleet.send(subscriber, |out| out.extend(subscribe_packet(&[("#".to_owned(), 0)])));
    let mut seen = vec![false; messages as usize];
    wait(&mut fleet, messages, |news| match news {
        News::Arrived { number, .. } => !std::mem::replace(&mut seen[number as usize], true),
        _ => false,
    });
    let result = (begin.elapsed().as_secs_f64() * 1e3, (process.cpu_ns() - cpu) as f64 / 1e3 / f64::from(messages));
    fleet.disconnect();
    result
}

/// Milliseconds until `sessions` that return have each got the `each` messages that waited for them, and the broker's
/// CPU microseconds a message.
pub(super) fn backlog(address: SocketAddr, process: &Process, sessions: u32, each: u32) -> (f64, f64) {
    let name = |session: u32| format!("sleeper-{session}");
    let mut fleet = Fleet::new(address);
    for session in 0..sessions {
        fleet.connect(Hello { client_id: &name(session), clean: false }, &[(format!("sleep/{session}"), 1)]);
    }
    fleet.disconnect();
    let mut fleet = Fleet::new(address);
    let publisher = fleet.connect(Hello { client_id: "waker", clean: true }, &[]);
    for number in 0..each {
        for session in 0..sessions {
            fleet.send(publisher, |out| publish(&format!("sleep/{session}"), 1, false, session, number, out));
            if session % 500 == 499 {
                wait(&mut fleet, 500, |news| matches!(news, News::Acknowledged { .. }));
            }
        }
    }
    let streams: Vec<_> = (0..sessions).map(|_| fleet.open()).collect();
    let (begin, cpu) = (Instant::now(), process.cpu_ns());
    for (session, mut stream) in (0..).zip(streams) {
        stream.write_all(&connect_packet(Hello { client_id: &name(session), clean: false })).expect("a fresh socket");
        fleet.add(stream);
    }
    let mut next = vec![0; sessions as usize];
    wait(&mut fleet, sessions * each, |news| {
        let News::Arrived { publisher, number, .. } = news else { return false };
        assert_eq!(next[publisher as usize], number, "a message is lost, doubled or out of order");
        next[publisher as usize] += 1;
        true
    });
    let cpu_us = (process.cpu_ns() - cpu) as f64 / 1e3 / f64::from(sessions * each);
    let result = (begin.elapsed().as_secs_f64() * 1e3, cpu_us);
    fleet.flush();
    fleet.disconnect();
    // The sessions end, so that the next round finds none.
    let mut fleet = Fleet::new(address);
    for session in 0..sessions {
        fleet.connect(Hello { client_id: &name(session), clean: true }, &[]);
    }
    fleet.disconnect();
    result
}

/// Turns until `count` of the news are what `is_it` says.
fn wait(fleet: &mut Fleet, count: u32, mut is_it: impl FnMut(News) -> bool) {
    let (mut seen, mut news) = (0, Vec::new());
    while seen < count {
        fleet.turn(&mut news);
        seen += news.drain(..).filter(|&news| is_it(news)).count() as u32;
    }
}
