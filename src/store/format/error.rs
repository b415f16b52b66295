//! Why bytes of a disk are not what they should be.

/// See the module's text. Nobody's fault that can be named: the bytes came from a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// They end before a value does.
    #[error("{0} is cut off")]
    Truncated(&'static str),
    /// A value that nothing of this version writes.
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// They were changed since they were written, or written elsewhere.
    #[error("the checksum of {0} does not fit")]
    Checksum(&'static str),
    /// They do not begin as they should: something else, or nothing, was written here.
    #[error("no {0} begins here")]
    NotFound(&'static str),
    /// A later dunlin wrote them.
    #[error("it has format {0}, and this dunlin knows formats up to {max}", max = super::FORMAT_VERSION)]
    Newer(u16),
}
