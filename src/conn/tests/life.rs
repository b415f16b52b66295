//! What shows that a client is alive: packets, and what has come of one, if it is enough.

use super::*;

/// A PUBLISH of 60,000 bytes.
fn large() -> Vec<u8> {
    let mut packet = vec![0x30, 0xe0, 0xd4, 0x03, 0, 1, b't'];
    packet.resize(60_004, b'x');
    packet
}

/// A client with a keep alive of two seconds.
fn hasty(stage: &mut Stage) -> ConnectionId {
    let mut connect = connect_as("hasty", ShardId(0));
    connect[11] = 2;
    let id = stage.accept();
    stage.receive(id, &connect, false);
    stage.operations();
    assert_eq!(stage.flush(), [(id, CONNACK.to_vec())]);
    id
}

impl Stage {
    /// Time passes for the shard as well.
    fn pass_ms_of_shard(&mut self, ms: u64) {
        self.pass_ms(ms);
        let transport = self.connections.counters().clone();
        let turn = &mut Turn { now: self.now, fx: &mut self.fx };
        self.shard.handle(turn, crate::shard::Input::Tick { transport: &transport });
        self.connections.apply(&self.fx);
        self.fx.clear();
    }

    fn keep_alive_timeouts(&self) -> u64 {
        self.shard.counters().closes[CloseReason::KeepAliveTimeout as usize]
    }
}

#[test]
fn a_packet_that_takes_longer_than_the_keep_alive_is_read_to_its_end() {
    let mut stage = Stage::new();
    let id = hasty(&mut stage);
    for piece in large().chunks(6_001) {
        stage.receive(id, piece, true);
        stage.pass_ms_of_shard(800);
    }
    assert_eq!((stage.keep_alive_timeouts(), stage.shard.counters().publish_received), (0, 1));
    stage.pass_ms_of_shard(5_000);
    assert_eq!(stage.keep_alive_timeouts(), 1, "it says nothing more");
}

#[test]
fn a_packet_that_comes_byte_by_byte_shows_no_life() {
    let mut stage = Stage::new();
    let id = hasty(&mut stage);
    for byte in &large()[..6] {
        stage.receive(id, &[*byte], true);
        stage.pass_ms_of_shard(1_000);
    }
    assert_eq!(stage.keep_alive_timeouts(), 1);
}

#[test]
fn a_packet_that_has_stopped_growing_shows_no_life() {
    let mut stage = Stage::new();
    let id = hasty(&mut stage);
    stage.receive(id, &large()[..50_000], true);
    stage.pass_ms_of_shard(2_900);
    assert_eq!(stage.keep_alive_timeouts(), 0);
    stage.pass_ms_of_shard(1_200);
    assert_eq!(stage.keep_alive_timeouts(), 1);
}
