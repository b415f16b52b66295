//! A broker that is full: who holds a place, and who is let in.

use crate::broker::{Broker, Client};

const FULL: u8 = 3;
const TEN: &str = "[node]\nmax_connections = 10\n";

#[test]
fn after_ten_of_ten_have_left_the_next_is_never_refused() {
    let broker = Broker::start("ten", TEN);
    for round in 0..30 {
        // Their ids put them on both shards.
        let mut clients: Vec<Client> = (b'a'..=b'j').map(|id| Client::connect(&broker, id)).collect();
        if round % 2 == 0 {
            for client in &mut clients {
                client.send(&[0xe0, 0]);
            }
        }
        drop(clients);
        assert_eq!(Client::open(&broker.addresses[0]).say_connect(b'k'), 0, "in round {round}");
        // Some have just left: there may be ten again, and not one more.
        let mut clients: Vec<Client> = (b'l'..=b'u').map(|id| Client::connect(&broker, id)).collect();
        clients.iter_mut().for_each(Client::ping);
        assert_eq!(Client::open(&broker.addresses[0]).say_connect(b'v'), FULL, "in round {round}");
        drop(clients);
    }
}

#[test]
fn neither_who_was_refused_and_stays_nor_who_says_nothing_holds_a_place() {
    let broker = Broker::start("stay", TEN);
    let silent: Vec<Client> = (0..20).map(|_| Client::open(&broker.addresses[0])).collect();
    let mut clients: Vec<Client> = (b'a'..=b'j').map(|id| Client::connect(&broker, id)).collect();
    let mut refused: Vec<Client> = (0..9).map(|_| Client::open(&broker.addresses[0])).collect();
    for (id, client) in (b'A'..).zip(&mut refused) {
        assert_eq!(client.say_connect(id), FULL);
    }
    // They have read it and do not close.
    clients.drain(..9).for_each(drop);
    let mut later: Vec<Client> = (b'k'..=b's').map(|id| Client::connect(&broker, id)).collect();
    later.iter_mut().chain(&mut clients).for_each(Client::ping);
    drop((silent, refused));
}

#[test]
fn a_client_takes_its_own_place_over_when_all_are_taken() {
    let broker = Broker::start("over", TEN);
    let mut clients: Vec<Client> = (b'a'..=b'j').map(|id| Client::connect(&broker, id)).collect();
    for id in b'a'..=b'j' {
        let begun = std::time::Instant::now();
        let again = Client::connect(&broker, id);
        assert!(begun.elapsed() < std::time::Duration::from_secs(5));
        clients[usize::from(id - b'a')].closed();
        clients[usize::from(id - b'a')] = again;
    }
    clients.iter_mut().for_each(Client::ping);
    assert_eq!(Client::open(&broker.addresses[0]).say_connect(b'k'), FULL);
}
