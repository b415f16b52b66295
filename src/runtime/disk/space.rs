//! How much room a file system has, and which kind it is.

use std::path::Path;

use super::error::DirectoryError;

/// What a durable write costs, and whether a file that is filled has its room for good, depends on the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS. It may share blocks between files, and a filled one then has no room for good.
    Xfs,
    /// btrfs: every write goes to new blocks, so a full disk fails writes into files that are there.
    Btrfs,
    /// ZFS, as btrfs.
    Zfs,
    /// In memory: nothing survives the machine.
    Tmpfs,
    /// A container's layers, on something else.
    Overlay,
    /// Over a network: a lock and a sync are what the server makes of them.
    Network,
    /// Another one, by the number that the system gives.
    Other(u64),
}

impl FileSystem {
    /// What an operator should know; `None` where all is as it should be.
    pub const fn warning(self) -> Option<&'static str> {
        match self {
            Self::Ext | Self::Xfs | Self::Other(_) => None,
            Self::Btrfs => {
                Some("btrfs writes every block anew: a full disk stops the log at once, and writes cost more")
            }
            Self::Zfs => Some("ZFS writes every block anew: a full disk stops the log at once, and writes cost more"),
            Self::Tmpfs => Some("tmpfs is memory: nothing in it survives the machine"),
            Self::Overlay => {
                Some("overlayfs is a container's own layer: it goes when the container goes; mount a volume")
            }
            Self::Network => Some("a network file system: locks and syncs are what its server makes of them"),
        }
    }

    const fn of(magic: u64) -> Self {
        match magic {
            0xef53 => Self::Ext,
            0x5846_5342 => Self::Xfs,
            0x9123_683e => Self::Btrfs,
            0x2fc1_2fc1 => Self::Zfs,
            0x0102_1994 | 0x8584_58f6 => Self::Tmpfs,
            0x794c_7630 => Self::Overlay,
            0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x0102_1997 | 0x00c3_6400 => Self::Network,
            other => Self::Other(other),
        }
    }
}

/// Bytes that this process can still write below `path`, and the kind of file system.
pub fn space_of(path: &Path) -> Result<(u64, FileSystem), DirectoryError> {
    let found = rustix::fs::statfs(path).map_err(|errno| DirectoryError::of(path, errno.into()))?;
    let free_bytes = found.f_bavail.saturating_mul(found.f_bsize.unsigned_abs());
    Ok((free_bytes, FileSystem::of(found.f_type.unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_of_a_path_has_a_kind_and_some_room() {
        let (free, kind) = space_of(Path::new("/")).unwrap();
        assert!(free > 0, "{kind:?}");
        assert_eq!(space_of(Path::new("/proc")).unwrap().1, FileSystem::Other(0x9fa0));
        assert!(space_of(Path::new("/no/such/path")).is_err());
        assert_eq!(FileSystem::of(0x9123_683e).warning().map(|text| text.starts_with("btrfs")), Some(true));
    }
}
