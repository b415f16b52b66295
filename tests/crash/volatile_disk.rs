//! A disk whose power can be cut: what it was told to keep (a sync) it has, of the rest each sector is there or not.
//!
//! It is a file of FUSE's behind a loop device, with ext4 on it. That takes a mount namespace of the test's own ([`in_own_mounts`]) and `/dev/fuse`.
//! Always holds: once the power is cut nothing more is written, read or synced, so that nobody can acknowledge anything for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::fuse::{FuseMount, OneFile};
use crate::small_disk::{in_own_mounts, left_out, run};

const SECTOR_BYTES: usize = 512;
const EIO: i32 = 5;

#[derive(Default)]
struct Sectors {
    stable: Vec<u8>,
    unsynced: BTreeMap<u64, [u8; SECTOR_BYTES]>,
    is_off: bool,
    ignores_syncs: bool,
    /// How fast it writes; as fast as can be where nobody says.
    bytes_per_s: Option<u64>,
}

impl Sectors {
    fn keep_all(&mut self) {
        self.keep(|| true);
    }

    fn keep(&mut self, mut is_kept: impl FnMut() -> bool) {
        for (sector, bytes) in std::mem::take(&mut self.unsynced) {
            if is_kept() {
                self.stable[sector as usize * SECTOR_BYTES..][..SECTOR_BYTES].copy_from_slice(&bytes);
            }
        }
    }
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Sectors>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Sectors> {
        self.0.lock().expect("nobody panics with it")
    }

    fn powered(&self) -> Result<MutexGuard<'_, Sectors>, i32> {
        Ok(self.lock()).and_then(|disk| if disk.is_off { Err(EIO) } else { Ok(disk) })
    }
}

impl OneFile for Shared {
    fn len(&mut self) -> u64 {
        self.lock().stable.len() as u64
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, i32> {
        let disk = self.powered()?;
        let from = (offset as usize).min(disk.stable.len());
        let len = into.len().min(disk.stable.len() - from);
        into[..len].copy_from_slice(&disk.stable[from..from + len]);
        let sectors = (from / SECTOR_BYTES) as u64..(from + len).div_ceil(SECTOR_BYTES) as u64;
        for (sector, bytes) in disk.unsynced.range(sectors) {
            let at = *sector as usize * SECTOR_BYTES;
            let (begin, end) = (at.max(from), (at + SECTOR_BYTES).min(from + len));
            into[begin - from..end - from].copy_from_slice(&bytes[begin - at..end - at]);
        }
        Ok(len)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), i32> {
        if let Some(bytes_per_s) = self.lock().bytes_per_s {
            std::thread::sleep(Duration::from_nanos(bytes.len() as u64 * 1_000_000_000 / bytes_per_s));
        }
        let mut disk = self.powered()?;
        let (sectors, rest) = bytes.as_chunks();
        assert!(offset.is_multiple_of(SECTOR_BYTES as u64) && rest.is_empty(), "not whole sectors");
        disk.unsynced.extend((offset / SECTOR_BYTES as u64..).zip(sectors.iter().copied()));
        Ok(())
    }

    fn sync(&mut self) -> Result<(), i32> {
        let mut disk = self.powered()?;
        if !disk.ignores_syncs {
            disk.keep_all();
        }
        Ok(())
    }
}

/// See the module's text.
pub(crate) struct VolatileDisk {
    path: PathBuf,
    disk: Shared,
    /// Where its file is; `None` while the power is off.
    mount: Option<FuseMount>,
}

/// Runs a test in which such disks can be made, or says that it was left out.
pub(crate) fn with_volatile_disks(name: &str, test: impl FnOnce()) {
    if fs::metadata("/dev/fuse").is_err() {
        left_out(&format!("no /dev/fuse: {name}"));
    } else if !in_own_mounts(name, test) {
        left_out(&format!("no mount namespace (not root?): {name}"));
    }
}

impl VolatileDisk {
    /// An empty disk, mounted at `path`.
    pub(crate) fn new(path: &Path, bytes: u64) -> Self {
        let image = path.with_extension("image");
        fs::create_dir_all(path).expect("a folder to mount at");
        fs::File::create(&image).and_then(|file| file.set_len(bytes)).expect("an image");
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image));
        let stable = fs::read(&image).expect("it was made above");
        fs::remove_file(&image).expect("it was made above");
        let disk = Shared(Arc::new(Mutex::new(Sectors { stable, ..Sectors::default() })));
        let mut made = Self { path: path.to_owned(), disk, mount: None };
        made.power_on();
        made
    }

    fn device_folder(&self) -> PathBuf {
        self.path.with_extension("device")
    }

    /// From now on it says that it has kept what it has not.
    pub(crate) fn ignore_syncs(&self) {
        self.disk.lock().ignores_syncs = true;
    }

    /// From now on it writes so much in a second.
    pub(crate) fn slow_down(&self, bytes_per_s: u64) {
        self.disk.lock().bytes_per_s = Some(bytes_per_s);
    }

    /// The power goes. Of what was not synced each sector is there if `is_kept` says so.
    pub(crate) fn cut_power(&self, is_kept: impl FnMut() -> bool) {
        let mut disk = self.disk.lock();
        disk.is_off = true;
        disk.keep(is_kept);
    }

    /// The power is back, and the file system as it is found then.
    pub(crate) fn power_on(&mut self) {
        self.unmount();
        let folder = self.device_folder();
        fs::create_dir_all(&folder).expect("a folder to mount at");
        {
            let mut disk = self.disk.lock();
            (disk.is_off, disk.ignores_syncs) = (false, false);
        }
        self.mount = Some(FuseMount::new(&folder, self.disk.clone()).expect("root may mount"));
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(folder.join(FuseMount::FILE)).arg(&self.path));
    }

    fn unmount(&mut self) {
        if let Some(mount) = self.mount.take() {
            self.disk.lock().bytes_per_s = None;
            // What a disk without power refuses is no matter.
            let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
            drop(mount);
        }
    }
}

impl Drop for VolatileDisk {
    fn drop(&mut self) {
        self.unmount();
        let _ = fs::remove_dir(self.device_folder());
    }
}
