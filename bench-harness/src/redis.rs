//! Redis beside the brokers where messages are kept on a disk: what an append-only file costs that is synced before anybody is answered
//! (`appendfsync always`).
//!
//! It speaks no MQTT. `redis-benchmark` appends values as long as the cells' messages to as many lists as there are sessions, from as
//! many connections as there are publishers, with as many under way together. How many were executed is Redis's own count; CPU time
//! and what was written are sampled as a broker's.

use crate::broker::{Broker, Configuration, Running, StartOrder};
use crate::cells::{self, Cell, Load, Placement, Storage};
use crate::measure::Setup;
use crate::results::{Figures, metric};
use crate::transport::Transport;
use crate::usage::{Detail, Sampler, unix_ms};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long it is loaded before it is measured.
const WARM_UP: Duration = Duration::from_millis(500);
/// From the first look to the measured seconds, and from these to the last look.
const MARGIN: Duration = Duration::from_millis(100);

/// Whether it can do what the cell does.
pub(crate) fn covers(cell: &Cell) -> bool {
    matches!(cell.load, Load::Durable { .. }) && cell.placement == Placement::OneCore
}

/// One round.
pub(crate) fn measure(broker: &Broker, cell: &Cell, setup: &Setup) -> Result<Figures, String> {
    let load = if setup.quick { cell.load.quick() } else { cell.load };
    let Load::Durable { in_flight } = load else { return Err(format!("{} is no load for Redis", cell.name)) };
    let cores = setup.broker_core.to_string();
    let order = StartOrder {
        configuration: Configuration::ForLoad(None),
        storage: Storage::Disk,
        transport: Transport::Tcp,
        certificates: None,
        passwords: None,
        cores: &cores,
        threads: 1,
    };
    let mut running = broker.start(order, setup.files(Storage::Disk))?;
    let measured = measure_running(&running, in_flight, setup);
    measured.map_err(|problem| running.death().map_or(problem, |death| format!("the broker died: {death}")))
}

fn measure_running(running: &Running, in_flight: u32, setup: &Setup) -> Result<Figures, String> {
    let sampler = Sampler::start(running.pid(), Detail::Disk);
    let mut load = Appending::start(running.address, in_flight, setup.generator_core)?;
    std::thread::sleep(WARM_UP.max(MARGIN));
    let (from, before) = (unix_ms(), executed(running.address)?);
    std::thread::sleep(Duration::from_secs_f64(setup.seconds));
    let (to, after) = (unix_ms(), executed(running.address)?);
    std::thread::sleep(MARGIN);
    load.death().map_or(Ok(()), Err)?;
    let usage = sampler.finish();
    let gone = || "it was gone before the measured seconds were over".to_owned();
    let cpu_s = usage.cpu_s_between(from, to).ok_or_else(gone)?;
    let bytes = usage.written_bytes_between(from, to).ok_or_else(gone)?;
    let (count, seconds) = (after - before, (to - from) / 1e3);
    if count <= 0.0 {
        return Err("nothing was appended".to_owned());
    }
    let mut figures = Figures::default();
    let values = [
        (metric::PER_SECOND, count / seconds),
        (metric::CPU_US, cpu_s * 1e6 / count),
        (metric::BROKER_SHARE, cpu_s / seconds),
        (metric::WRITTEN_BYTES, bytes / count),
        (metric::AMPLIFICATION, bytes / count / f64::from(cells::DURABLE_PAYLOAD)),
    ];
    figures.values.extend(values.map(|(name, value)| (name.to_owned(), value)));
    Ok(figures)
}

/// `redis-benchmark`, until it is dropped.
struct Appending(Child);

impl Appending {
    fn start(address: SocketAddr, in_flight: u32, core: usize) -> Result<Self, String> {
        let value = "x".repeat(cells::DURABLE_PAYLOAD as usize);
        let connections = cells::DURABLE_PUBLISHERS.to_string();
        let pipeline = (in_flight / cells::DURABLE_PUBLISHERS).max(1).to_string();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "taskset", "--cpu-list", &core.to_string(), "redis-benchmark"])
            .args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()])
            // Longer than any measured stage: it is ended.
            .args(["-c", &connections, "-P", &pipeline, "-r", &connections, "-n", "2000000000", "-q"])
            .args(["rpush", "list:__rand_int__", &value])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child.map(Self).map_err(|error| format!("setpriv (Debian package util-linux): {error}"))
    }

    fn death(&mut self) -> Option<String> {
        let status = self.0.try_wait().ok().flatten()?;
        Some(format!("redis-benchmark (Debian package redis-tools) ended: {status}"))
    }
}

impl Drop for Appending {
    fn drop(&mut self) {
        // What has ended already needs no signal.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many commands it has executed.
fn executed(address: SocketAddr) -> Result<f64, String> {
    let io = |error: std::io::Error| format!("Redis at {address}: {error}");
    let mut stream = TcpStream::connect(address).map_err(io)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(io)?;
    stream.write_all(b"INFO stats\r\n").map_err(io)?;
    for line in BufReader::new(stream).lines() {
        if let Some(count) = of_line(&line.map_err(io)?) {
            return Ok(count);
        }
    }
    Err(format!("Redis at {address} does not say what it has executed"))
}

fn of_line(line: &str) -> Option<f64> {
    line.strip_prefix("total_commands_processed:")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_count_is_read_and_no_other_line() {
        assert_eq!(of_line("total_commands_processed:1234567\r"), Some(1_234_567.0));
        assert_eq!(of_line("total_connections_received:5"), None);
    }

    #[test]
    fn it_takes_part_in_appends_on_one_core_alone() {
        let of = |name: &str| cells::selected(&[name.to_owned()]).expect("there").iter().all(covers);
        assert!(of("durable-64") && of("durable-10000"));
        assert!(!of("p2p-qos1-w8") && !of(cells::BESIDE) && !of("shards-2-durable-1000"));
    }
}
