//! A disk of sectors: what was written and not called durable may be there, or not, sector by sector, when the power goes.
//!
//! Owns: files of stable bytes, the writes that are under way, and every fault that a disk can have. Everything comes from
//! the dice that are passed in. The store sees it as a [`Medium`].

use std::collections::{BTreeMap, BTreeSet};

use dunlin::store::format::{LogId, StoreFile};
use dunlin::store::{Medium, MediumError};

use crate::dice::Dice;

/// What a disk writes as a whole, if it writes it.
pub(crate) const SECTOR_BYTES: usize = 512;

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk {
    files: BTreeMap<StoreFile, Vec<u8>>,
    under_way: Vec<UnderWay>,
    unreadable: BTreeSet<(StoreFile, u64)>,
    unopenable: BTreeSet<StoreFile>,
    /// By log, files as they were before the last change of names, which is not durable yet.
    unsynced: BTreeMap<LogId, FilesBefore>,
    /// Files whose names nobody has ever synced: a canary.
    #[allow(dead_code, reason = "one of the suites that have these disks has no such canary")]
    pub(crate) forgotten: BTreeSet<StoreFile>,
    /// Files that there is room for; beyond it no file can be made.
    pub(crate) files_max: Option<usize>,
    /// How many reads were asked for.
    pub(crate) reads: u64,
}

/// What files had in them; `None` for one that was not there.
type FilesBefore = Vec<(StoreFile, Option<Vec<u8>>)>;

#[derive(Clone, Debug)]
struct UnderWay {
    file: StoreFile,
    offset: u64,
    bytes: Vec<u8>,
}

impl SimDisk {
    /// Makes a file of zeros, durable at once. `false`: the disk is full.
    pub(crate) fn create(&mut self, file: StoreFile, len: u64) -> bool {
        if self.files_max.is_some_and(|max| self.files.len() >= max) && !self.files.contains_key(&file) {
            return false;
        }
        self.files.insert(file, vec![0; len as usize]);
        true
    }

    /// Makes a file of these bytes, or replaces it as a whole, durable at once.
    pub(crate) fn put(&mut self, file: StoreFile, bytes: Vec<u8>) {
        self.files.insert(file, bytes);
    }

    /// Whether there is a file.
    pub(crate) fn has(&self, file: StoreFile) -> bool {
        self.files.contains_key(&file)
    }

    /// Gives a file another name, as recycling does: its bytes stay.
    pub(crate) fn rename(&mut self, from: StoreFile, to: StoreFile) {
        let bytes = self.files.remove(&from).expect("the file is there");
        self.files.insert(to, bytes);
    }

    /// Deletes a file.
    pub(crate) fn remove(&mut self, file: StoreFile) {
        self.files.remove(&file);
    }

    /// Changes names of a log's files, durably no sooner than [`Self::sync_names`] or the next such change: whoever makes that has made this one durable.
    #[allow(dead_code, reason = "one of the suites that have these disks changes names durably alone")]
    pub(crate) fn change_names(&mut self, log: LogId, files: &[StoreFile], change: impl FnOnce(&mut Self)) {
        let before = files.iter().map(|file| (*file, self.files.get(file).cloned())).collect();
        change(self);
        self.unsynced.insert(log, before);
    }

    /// The folder of a log is synced.
    #[allow(dead_code, reason = "as above")]
    pub(crate) fn sync_names(&mut self, log: LogId) {
        self.unsynced.remove(&log);
    }

    /// All files.
    pub(crate) fn names(&self) -> impl Iterator<Item = StoreFile> + '_ {
        self.files.keys().copied()
    }

    /// Begins a write. It is readable at once and durable when it is completed.
    pub(crate) fn write(&mut self, file: StoreFile, offset: u64, bytes: &[u8]) {
        assert!(offset.is_multiple_of(4096) && bytes.len().is_multiple_of(4096), "not whole blocks");
        let len = self.files[&file].len() as u64;
        assert!(
            offset + bytes.len() as u64 <= len,
            "{file} has {len} bytes, and the write goes to {offset} + {}",
            bytes.len()
        );
        self.under_way.push(UnderWay { file, offset, bytes: bytes.to_vec() });
    }

    /// The writes that are under way are done and durable.
    pub(crate) fn complete(&mut self) {
        for UnderWay { file, offset, bytes } in std::mem::take(&mut self.under_way) {
            self.store(file, offset, &bytes);
        }
    }

    /// The same of one log alone.
    pub(crate) fn complete_of(&mut self, log: LogId) {
        for UnderWay { file, offset, bytes } in std::mem::take(&mut self.under_way) {
            if file.log() == Some(log) {
                self.store(file, offset, &bytes);
            } else {
                self.under_way.push(UnderWay { file, offset, bytes });
            }
        }
    }

    /// The power goes: of what was under way each sector may have been written, and a change of names that was not synced may not have been.
    pub(crate) fn cut_power(&mut self, dice: &mut Dice) {
        for UnderWay { file, offset, bytes } in std::mem::take(&mut self.under_way) {
            // Mostly a mixture; sometimes all or nothing.
            let keep = [0, 1, 2, 4][dice.below(4) as usize];
            for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                if dice.below(4) < keep {
                    self.store(file, offset + (index * SECTOR_BYTES) as u64, sector);
                }
            }
        }
        for (file, before) in std::mem::take(&mut self.unsynced).into_values().filter(|_| dice.below(2) == 0).flatten()
        {
            match before {
                Some(bytes) => _ = self.files.insert(file, bytes),
                None => _ = self.files.remove(&file),
            }
        }
        for file in std::mem::take(&mut self.forgotten) {
            if dice.below(2) == 0 {
                self.files.remove(&file);
            }
        }
    }

    /// One bit of a file changes by itself.
    pub(crate) fn flip(&mut self, file: StoreFile, bit: u64) {
        let bytes = self.files.get_mut(&file).expect("the file is there");
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    }

    /// The write under way goes somewhere else, and nobody is told.
    pub(crate) fn misdirect(&mut self, to: u64) {
        if let Some(write) = self.under_way.last_mut() {
            let len = self.files[&write.file].len() as u64;
            if to + write.bytes.len() as u64 <= len {
                write.offset = to;
            }
        }
    }

    /// The same of the write of one log.
    pub(crate) fn misdirect_of(&mut self, log: LogId, to: u64) {
        let len_of = |file| self.files[&file].len() as u64;
        if let Some(write) = self.under_way.iter_mut().find(|write| write.file.log() == Some(log))
            && to + write.bytes.len() as u64 <= len_of(write.file)
        {
            write.offset = to;
        }
    }

    /// The write under way never happens, and nobody is told.
    pub(crate) fn lose(&mut self) {
        self.under_way.pop();
    }

    /// A block that cannot be read from now on.
    pub(crate) fn break_block(&mut self, file: StoreFile, block: u64) {
        self.unreadable.insert((file, block));
    }

    /// A file that cannot be opened from now on.
    #[allow(dead_code, reason = "one of the suites that have these disks damages other things")]
    pub(crate) fn break_file(&mut self, file: StoreFile) {
        self.unopenable.insert(file);
    }

    /// What stands in a file that is stable.
    pub(crate) fn bytes(&self, file: StoreFile) -> &[u8] {
        &self.files[&file]
    }

    /// All bytes of a file, to be changed.
    pub(crate) fn bytes_mut(&mut self, file: StoreFile) -> &mut Vec<u8> {
        self.files.get_mut(&file).expect("the file is there")
    }

    fn store(&mut self, file: StoreFile, offset: u64, bytes: &[u8]) {
        if let Some(stable) = self.files.get_mut(&file) {
            stable[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
    }
}

impl Medium for SimDisk {
    fn files(&mut self, log: LogId) -> Result<Vec<StoreFile>, MediumError> {
        Ok(self.files.keys().copied().filter(|file| file.log() == Some(log)).rev().collect())
    }

    fn len(&mut self, file: StoreFile) -> Result<u64, MediumError> {
        if self.unopenable.contains(&file) {
            return Err(MediumError::Unreadable { file, offset: 0 });
        }
        let bytes = self.files.get(&file);
        bytes.map(|bytes| bytes.len() as u64).ok_or_else(|| MediumError::Failed(format!("no {file}")))
    }

    fn read(&mut self, file: StoreFile, offset: u64, into: &mut [u8]) -> Result<usize, MediumError> {
        self.reads += 1;
        self.len(file)?;
        let last = (offset + into.len() as u64).div_ceil(4096);
        if self.unreadable.range((file, offset / 4096)..(file, last)).next().is_some() {
            return Err(MediumError::Unreadable { file, offset });
        }
        let rest = self.files[&file].get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}
