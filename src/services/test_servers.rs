//! Servers that the tests of targets and sources run: the same as those of the suites that know only the built binary.

#[path = "../../tests/support/foreign.rs"]
pub(crate) mod foreign;
#[path = "../../tests/support/ports.rs"]
pub(crate) mod ports;
