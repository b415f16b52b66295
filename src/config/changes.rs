//! What a configuration that was read again changes.
//!
//! Always holds: each change is told by a name, with what was and what is.
//! Leaves to others: finding them (`reload`, and each kind of table).

/// One setting that is another than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// As the file has it.
    pub name: String,
    /// What it was, as a flag would have it.
    pub old: String,
    /// What it is now.
    pub new: String,
}

/// What reading the configuration again has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In effect from now on.
    pub now: Vec<Changed>,
    /// Left as it was until the broker starts again.
    pub at_start: Vec<Changed>,
}
