//! How long a client may be silent, by the clock on the wall.

use std::time::{Duration, Instant};

use crate::broker::{Broker, Client};

/// One and a half seconds, and a quarter more for the broker's timers. The least of several tells what the broker does; the others may
/// have waited for a processor.
#[test]
fn a_keep_alive_of_a_second_ends_soon_after_a_second_and_a_half() {
    let broker = Broker::start("keep-alive", "[node]\nsys_interval = \"off\"\n");
    let waited: Vec<Duration> = std::thread::scope(|scope| {
        let wait = |id: u8| {
            let mut client = Client::open(&broker.addresses[0]);
            let begun = Instant::now();
            client.send(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 1, 0, 1, id]);
            assert_eq!(client.receive::<4>(), [0x20, 2, 0, 0]);
            client.closed();
            begun.elapsed()
        };
        let threads: Vec<_> = (b'a'..b'k').map(|id| scope.spawn(move || wait(id))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it is closed")).collect()
    });
    let (least, most) = (waited.iter().min().expect("ten"), waited.iter().max().expect("ten"));
    assert!(*least >= Duration::from_millis(1_500) && *least <= Duration::from_millis(1_800), "{waited:?}");
    assert!(*most < Duration::from_secs(6), "{waited:?}");
}
