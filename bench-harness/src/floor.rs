//! The floor under every broker: `benches/relay`, which moves the same bytes and knows nothing of MQTT.
//!
//! Only pairs with `QoS` 0 on one core have a floor. In the closed loop the relay brings its own load, which takes less of the
//! other core than `loadtest`; at a fixed rate it is loaded as the brokers are, so that its latency may be compared with theirs.

use crate::broker::Broker;
use crate::cells::{Cell, Load, Placement, Section};
use crate::measure::Setup;
use crate::results::{Figures, metric};
use crate::scenario::Pace;
use std::path::Path;
use std::process::{Command, Stdio};

/// As tables and results name it.
pub(crate) const NAME: &str = "relay";

/// Whether the relay can do what the cell does.
pub(crate) fn covers(cell: &Cell) -> bool {
    let is_shown = matches!(cell.section, Section::OneCore | Section::Latency);
    is_shown && cell.placement == Placement::OneCore && matches!(cell.load, Load::Pairs { qos: 0, .. })
}

/// One round of the built `relay` benchmark.
pub(crate) fn measure(program: &Path, cell: &Cell, setup: &Setup) -> Result<Figures, String> {
    let load = if setup.quick { cell.load.quick() } else { cell.load };
    match load {
        Load::Pairs { pairs, pace: Pace::Window(window), .. } => measure_alone(program, pairs, window, setup),
        _ => setup.measure(cell, &Broker::relay(program), None),
    }
}

fn measure_alone(program: &Path, pairs: u32, window: u32, setup: &Setup) -> Result<Figures, String> {
    let output = Command::new(program)
        .args(["--bench", "--rounds", "1", "--seconds", &setup.seconds.to_string()])
        .args(["--pairs", &pairs.to_string(), "--in-flight", &window.to_string()])
        .args(["--core", &setup.broker_core.to_string(), "--load-core", &setup.generator_core.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figures = parse(&text).filter(|_| output.status.success());
    figures.ok_or_else(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("the relay said nothing of use: {}", errors.lines().last().unwrap_or_default())
    })
}

/// Reads the line `W in flight  relay  C us CPU a message (..)  N messages/s  median latency L us ..`.
fn parse(text: &str) -> Option<Figures> {
    let line = text.lines().find(|line| line.contains(" in flight ") && line.contains(NAME))?;
    let before = |unit: &str| line.split(unit).next()?.split_whitespace().last()?.parse::<f64>().ok();
    let mut figures = Figures::default();
    for (name, unit) in [(metric::CPU_US, " us CPU"), (metric::PER_SECOND, " messages/s")] {
        figures.values.insert(name.to_owned(), before(unit)?);
    }
    let latency = line.split("median latency").nth(1)?.split_whitespace().next()?.parse().ok()?;
    figures.values.insert(metric::P50_US.to_owned(), latency);
    Some(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relays_own_line_is_read() {
        let text = "500 pairs, 64-byte payloads in 73-byte messages, median of 1 rounds of 2 s, in turns\n\
                    \x20 1 in flight  relay    13.90 us CPU a message (11.40-15.20)    71942 messages/s  \
                    median latency   6950 us  1.00 floors\n";
        let figures = parse(text).expect("figures");
        assert_eq!(figures.values[metric::CPU_US], 13.9);
        assert_eq!(figures.values[metric::PER_SECOND], 71_942.0);
        assert_eq!(figures.values[metric::P50_US], 6_950.0);
        assert_eq!(parse("thread 'main' panicked"), None);
    }
}
