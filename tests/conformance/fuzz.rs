//! The two-party fuzzer: one hostile peer that sends what comes to its mind, one control client that must be served.
//!
//! `CONFORMANCE_FUZZ_ROUNDS` sets how many connections the hostile peer makes in each setting, `CONFORMANCE_FUZZ_SEED` where
//! it begins. A failure names the seed of its round; `scripts/fuzz` goes on for as long as one lets it.

use std::collections::VecDeque;

use crate::client::Client;
use crate::packets::{Connect, Publish, V5, VERSIONS, Version, Will, one_of_each, prop, subscribe};
use crate::world::{World, everywhere};

/// A small generator of random numbers (`SplitMix64`): one seed, one sequence.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
    fn byte(&mut self) -> u8 {
        const LIKED: [u8; 8] = [0x00, 0x01, 0x7F, 0x80, 0xFF, b'/', b'#', b'+'];
        if self.below(2) == 0 { LIKED[self.below(LIKED.len())] } else { self.next() as u8 }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// A CONNECT with something of everything.
fn rich_connect(version: Version, id: &str) -> Vec<u8> {
    let mut will = Will::new("fuzz/will", "w").qos(1);
    let mut connect = Connect::new(version, id).user("u").password("p").keep_alive(5);
    if version == V5 {
        will = will.delay(1).prop(prop::user("k", "v"));
        connect = connect.expiry(1).prop(prop::receive_maximum(3)).prop(prop::topic_alias_maximum(2));
    }
    connect.will(will).encode()
}

/// Changes, cuts, repeats or joins bytes.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            return bytes.push(random.byte());
        }
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] = random.byte(),
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, random.byte()),
            4 => drop(bytes.remove(at)),
            _ => {
                let piece = bytes[at..(at + random.below(16)).min(bytes.len())].to_vec();
                bytes.extend(piece);
            }
        }
    }
}

/// Connections that the hostile peer keeps open, most of them in the middle of something.
const HELD: usize = 8;

/// The hostile peer: what it does next follows from the seed of the round.
struct Hostile<'w> {
    w: &'w World,
    held: VecDeque<Client>,
}

impl Hostile<'_> {
    /// One more connection.
    fn round(&mut self, seed: u64) {
        let mut random = Random(seed);
        let version = VERSIONS[random.below(3)];
        let mut peer = self.w.open(version, "hostile");
        let mut connect = rich_connect(version, &format!("fuzz{}", random.below(4)));
        if random.below(4) == 0 {
            mutate(&mut random, &mut connect);
        }
        peer.send(connect);
        match random.below(8) {
            0 => flood(&mut random, &mut peer),
            // Hears everything, the control client included, acknowledges nothing and reads nothing.
            1 => peer.send(subscribe(version, 1, &[], &[("#", 2), ("$SYS/#", 2), ("$share/fuzz/#", 1)])),
            2 => peer.send((0..random.below(400)).map(|_| random.byte()).collect::<Vec<u8>>()),
            _ => mutated(&mut random, &mut peer),
        }
        match random.below(4) {
            0 => self.held.push_back(peer),
            1 => peer.read_idly(),
            _ => peer.cut_off(),
        }
        if self.held.len() > HELD {
            self.held.pop_front();
        }
    }
}

/// Packets of every kind, most of them damaged.
fn mutated(random: &mut Random, peer: &mut Client) {
    let kinds = one_of_each(peer.version, "fuzz/topic");
    for _ in 0..random.below(12) {
        let mut packet = kinds[random.below(kinds.len())].1.clone();
        if random.below(3) > 0 {
            mutate(random, &mut packet);
        }
        peer.send(packet);
    }
}

/// One packet over and over, as fast as it goes.
fn flood(random: &mut Random, peer: &mut Client) {
    let kinds = one_of_each(peer.version, "fuzz/topic");
    let packet = &kinds[random.below(kinds.len())].1;
    peer.send_quietly(&packet.repeat(1 + random.below(300)));
}

// covers: [MQTT-4.13.1-1] (5.0)
// covers: [MQTT-4.8.0-1] (3.1.1)
#[test]
fn a_hostile_peer_never_keeps_a_control_client_from_being_served() {
    let rounds = number("CONFORMANCE_FUZZ_ROUNDS", 300);
    let first = number("CONFORMANCE_FUZZ_SEED", 1);
    everywhere(|w| {
        let mut control = w.client(V5, "control");
        let topic = w.topic("control");
        control.subscribe(&topic, 2);
        let mut hostile = Hostile { w, held: VecDeque::new() };
        for seed in first..first + rounds {
            hostile.round(seed);
            if seed % 10 == 0 {
                let text = format!("seed {seed}");
                control.deliver(Publish::new(&topic, &text).qos(1 + (seed / 10 % 2) as u8));
                let publish = control.expect_payload(&text);
                control.acknowledge(&publish);
            }
        }
        control.ping();
    });
}
