//! Bytes that nobody wrote by accident: they fit their checksums and mean something else.

use dunlin::store::format::{BatchHeader, PageHeader, StoreFile};
use dunlin::store::{join_logs, read_message, recover_log};

use crate::for_each_seed;
use crate::model::Shard;
use crate::state::{checkpoint, live};
use crate::world::{LOG, NODE, World};

const BLOCK: usize = 4096;

/// Gives every batch and page that begins at a block a checksum that fits.
fn seal(bytes: &mut [u8]) {
    for block in 0..bytes.len() / BLOCK {
        let here = &mut bytes[block * BLOCK..];
        if let Ok(header) = BatchHeader::read(here)
            && let Some(batch) = here.get_mut(..header.len as usize)
        {
            header.seal(batch);
        } else if let Ok(header) = PageHeader::read(here)
            && let Some(page) = here.get_mut(..header.len as usize)
        {
            header.seal(page);
        }
    }
}

#[test]
fn a_directory_that_was_tampered_with_is_read_without_harm() {
    for_each_seed(1_000, |seed| {
        let (mut world, mut shard) = (World::new(seed), Shard::default());
        if world.dice.once_in(2) {
            checkpoint(&mut world, &mut shard, 1);
        }
        live(&mut world, &mut shard, 60, &mut std::collections::BTreeMap::new());
        world.flush();
        let files: Vec<StoreFile> = world.disk.names().collect();
        for _ in 0..=world.dice.below(30) {
            let file = files[world.dice.below(files.len() as u64) as usize];
            let len = world.disk.bytes(file).len() as u64;
            // Most bytes are padding: where something stands it begins at a block.
            let at = world.dice.below(len / BLOCK as u64) * BLOCK as u64 + world.dice.below(200);
            let value = [0, 1, 0x7f, 0x80, 0xff, world.dice.next() as u8][world.dice.below(6) as usize];
            world.disk.bytes_mut(file)[at as usize] = value;
        }
        for file in &files {
            seal(world.disk.bytes_mut(*file));
        }
        let mut logs = [recover_log(&mut world.disk, NODE, LOG).expect("the disk can be read")];
        join_logs(&mut logs);
        for (id, wanted) in logs[0].state.messages.iter() {
            assert!(wanted > 0);
            let _ = read_message(&mut world.disk, LOG, &logs[0].state, id).expect("the disk can be read");
        }
        let count = logs[0].state.sessions().count();
        assert_eq!(logs[0].state.sessions_len(), count);
    });
}
