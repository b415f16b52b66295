//! What disks do besides what they are asked for: bits change, writes go elsewhere, blocks cannot be read, writes fail, and all of it takes long.
//!
//! Always holds: a fault is noted where it hits, so that what is told to be lost can be held against it.

use dunlin::store::format::StoreFile;

use crate::canary::Canary;
use crate::disks::SEGMENT_BYTES;
use crate::oracle::Check;
use crate::world::World;

/// Steps from one fault to the next of its kind.
const ROT_EVERY: usize = 8_000;
const STALL_EVERY: usize = 1_500;
const FAIL_EVERY: usize = 10_000;
const CHECKPOINT_EVERY: usize = 600;
/// Steps that a stall takes.
const STALL_STEPS: usize = 800;

impl World {
    /// Something may be wrong with the disk from now on.
    pub(crate) fn disks_misbehave(&mut self) -> Check {
        let (plan_rots, step, count) = (self.plan.rots, self.trace.step, self.shards.len());
        let Some(disks) = &mut self.disks else { return Ok(()) };
        let shard = disks.rng.below(count);
        if disks.rng.below(CHECKPOINT_EVERY) == 0 && disks.checkpoint(shard)? {
            self.oracle.stats.checkpoints += 1;
        }
        if disks.rng.below(STALL_EVERY) == 0 {
            disks.logs[shard].stalled_until = step + disks.rng.between(1, STALL_STEPS) as u64;
        }
        let fails = disks.rng.below(FAIL_EVERY) == 0 && disks.fail_write(shard);
        if fails {
            self.trace.note(&format!("the disk refuses a write of shard {shard}"));
            self.oracle.stats.refused_writes += 1;
            return self.crash(count);
        }
        let disks = self.disks.as_mut().expect("just seen");
        if plan_rots && disks.rng.below(ROT_EVERY) == 0 {
            let what = disks.rng.below(4);
            self.rot(what, shard);
        }
        Ok(())
    }

    fn rot(&mut self, what: usize, shard: usize) {
        let disks = self.disks.as_mut().expect("the caller has seen them");
        let Some((log, batch)) = disks.disk.1.borrow().pick(&mut disks.rng) else { return };
        let file = StoreFile::Segment(log, batch.segment);
        // Where something stands, mostly: the end of a batch is padding.
        let at = batch.offset + disks.rng.below(batch.bytes.min(600) as usize) as u64;
        match what {
            0 | 1 => {
                let bit = disks.rng.below(8) as u64;
                disks.disk.0.borrow_mut().flip(file, at * 8 + bit);
                disks.disk.1.borrow_mut().hit(log, batch.segment, at, 1);
                self.trace.note(&format!("a bit of {file} changes at byte {at}"));
            }
            2 => {
                let block = at / 4_096;
                disks.disk.0.borrow_mut().break_block(file, block);
                disks.disk.1.borrow_mut().hit(log, batch.segment, block * 4_096, 4_096);
                self.trace.note(&format!("block {block} of {file} cannot be read any more"));
            }
            _ => {
                let own = disks.logs[shard].log;
                let Some(write) = &disks.logs[shard].under_way else { return };
                let (from, bytes) = (write.offset, write.range.len() as u64);
                let fits = batch.offset + bytes <= SEGMENT_BYTES;
                if own != log || write.segment != batch.segment || write.begins.is_some() || !fits {
                    return;
                }
                disks.disk.0.borrow_mut().misdirect_of(own, batch.offset);
                let segment = batch.segment;
                disks.misdirected = Some((own, segment, from, bytes));
                disks.disk.1.borrow_mut().hit(own, segment, batch.offset, bytes);
                self.trace.note(&format!("a write to {file} goes to byte {} and not to {from}", batch.offset));
            }
        }
        disks.is_hit = true;
        self.oracle.stats.faults += 1;
        if self.cage.canary == Canary::TruncateOnRot {
            disks.truncates = Some((log, batch));
        }
    }
}
