//! The machine under the run: what it is, what it spends, and whether it suffices.
//!
//! Owns: reading `/proc` (and a broker's metrics address), and the checks before a run. Always holds: reading never
//! fails a run; what cannot be read is absent from the report, not zero. Leaves to `report`: how it is shown.

pub mod describe;
pub mod preflight;
pub mod prometheus;
pub mod record;
pub mod sample;
