//! What the doctor knows: of the machine, and of what is wanted of it. Values only: how they are found is the matter of `read`.

/// What is wanted.
#[derive(Clone, Debug)]
pub(super) struct DoctorNeed {
    pub(super) clients: u64,
    /// Those that the configuration lets in, where there is one.
    pub(super) connections_max: Option<u64>,
    pub(super) shards: u64,
    /// Whether clients come in TLS.
    pub(super) has_tls: bool,
    /// Locked memory that the process asks for, with and without the right to lock any.
    pub(super) memlock_bytes: (u64, u64),
    /// Ports of this broker, for what others may take.
    pub(super) ports: Vec<u16>,
    /// What the log's files and what is left to others take of the disk; `None` with `--storage memory`.
    pub(super) disk_bytes: Option<u64>,
}

/// What there is. What cannot be read is `None`.
#[derive(Clone, Debug, Default)]
pub(super) struct MachineFacts {
    pub(super) kernel: (u32, u32),
    /// The way io_uring does not work, with what mends it.
    pub(super) ring_fault: Option<(String, String)>,
    pub(super) io_uring_disabled: Option<u64>,
    /// The unit whose limits on open files and locked memory these are; none: those of this process.
    pub(super) unit: Option<String>,
    /// The hard limit, up to which the broker raises its own.
    pub(super) open_files: u64,
    pub(super) nr_open: Option<u64>,
    pub(super) file_max: Option<u64>,
    pub(super) memlock_bytes: u64,
    /// Whether that limit does not apply (`CAP_IPC_LOCK`).
    pub(super) may_lock: bool,
    pub(super) somaxconn: Option<u64>,
    pub(super) syn_backlog: Option<u64>,
    pub(super) port_range: Option<(u16, u16)>,
    /// As the kernel writes them: numbers and ranges.
    pub(super) reserved_ports: String,
    /// Connections that are followed, and how many may be.
    pub(super) conntrack: Option<(u64, u64)>,
    /// Pages that TCP may have: without care, under pressure, at most.
    pub(super) tcp_mem_pages: Option<[u64; 3]>,
    /// In all, and what is free or can be freed.
    pub(super) memory_bytes: Option<(u64, u64)>,
    /// What the cgroup may have.
    pub(super) memory_max_bytes: Option<u64>,
    /// In all, and in use.
    pub(super) swap_bytes: Option<(u64, u64)>,
    pub(super) huge_pages: Option<String>,
    pub(super) overcommit: Option<u64>,
    pub(super) clock_is_synchronized: Option<bool>,
    pub(super) governor: Option<String>,
    pub(super) disk: Option<DiskFacts>,
    pub(super) certificates: Vec<CertificateFacts>,
    pub(super) ports: Vec<PortFacts>,
    /// What is wrong with the configuration.
    pub(super) configuration: Vec<String>,
}

/// The file system of the data directory.
#[derive(Clone, Debug, Default)]
pub(super) struct DiskFacts {
    /// The directory.
    pub(super) path: String,
    /// Whether it is there already.
    pub(super) is_made: bool,
    /// Why the broker could not have its files there.
    pub(super) fault: Option<DiskFault>,
    pub(super) file_system: String,
    pub(super) free_bytes: u64,
    /// What is there already of a broker's files.
    pub(super) used_bytes: u64,
    /// Microseconds of a write that is made durable: median and worst.
    pub(super) sync_us: Option<(u64, u64)>,
    /// Why there are none.
    pub(super) sync_fault: Option<String>,
}

/// Why a data directory cannot be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DiskFault {
    /// Nothing says where it is: no setting, no `$HOME`.
    Nowhere,
    /// This is in its place, or in that of a directory above it, and is none.
    InTheWay(String),
    /// A file system of the kernel's own tables, which keeps nothing.
    KernelTables,
    /// This user may not write to this directory, which is it or the nearest above it.
    Forbidden { directory: String, error: String },
}

/// The server's own in a file, which comes first there.
#[derive(Clone, Debug)]
pub(super) struct CertificateFacts {
    pub(super) path: String,
    /// Days until it ends, or what is wrong with the file.
    pub(super) days_left: Result<i64, String>,
}

/// An address to listen at.
#[derive(Clone, Debug)]
pub(super) struct PortFacts {
    pub(super) address: String,
    /// Whether it is one of UDP.
    pub(super) has_datagrams: bool,
    pub(super) state: PortState,
}

/// Whether a port can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PortState {
    Free,
    /// Somebody listens there.
    Taken {
        /// The process, and what it is called; `None` where this user cannot see that.
        by: Option<(u32, String)>,
    },
    /// Below 1024, and this user may not.
    Forbidden,
    Other(String),
}
