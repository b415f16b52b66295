//! The run as a Prometheus page while it goes on: who scrapes a broker sees beside its figures what loads it.
//!
//! Owns: the page, and the thread that serves it. Always holds: the engine never waits for who asks; a request is bounded in
//! size and time; counters only grow, and are those of the seconds that have ended. Leaves to others: the final report, which
//! alone has percentiles of the whole run and the verdict.

use std::{
    fmt::Write as _,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    engine::{Progress, Watcher},
    outcome::{Second, Traffic},
};

/// Longer is no request of a scraper's.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// A scraper that takes longer is let go.
const PATIENCE: Duration = Duration::from_secs(2);

/// A page that is served, and what it shows.
#[derive(Clone, Debug)]
pub struct Exporter {
    page: Arc<Mutex<Page>>,
    address: SocketAddr,
}

#[derive(Debug, Default)]
struct Page {
    name: String,
    stage: String,
    clients: u64,
    second: Second,
    total: Traffic,
    established: u64,
    failed: u64,
    lost: u64,
}

impl Exporter {
    /// Begins to serve. The thread ends with the process.
    pub fn start(listen: &str, name: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let page = Arc::new(Mutex::new(Page { name: name.to_owned(), ..Page::default() }));
        let shown = Arc::clone(&page);
        std::thread::Builder::new().name("exporter".to_owned()).spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let text = shown.lock().unwrap_or_else(PoisonError::into_inner).text();
                // Whoever asked and went away is no concern of the run.
                drop(answer(stream, &text));
            }
        })?;
        Ok(Self { page, address })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    fn change(&self, change: impl FnOnce(&mut Page)) {
        change(&mut self.page.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Shows the page what it is told, and tells another watcher.
pub struct Shown<'a> {
    /// The page.
    pub exporter: Option<Exporter>,
    /// Who is told as well.
    pub next: &'a mut dyn Watcher,
}

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Shown").field("exporter", &self.exporter).finish_non_exhaustive()
    }
}

impl Watcher for Shown<'_> {
    fn handle_stage(&mut self, index: usize, name: &str) {
        if let Some(exporter) = &self.exporter {
            exporter.change(|page| name.clone_into(&mut page.stage));
        }
        self.next.handle_stage(index, name);
    }

    fn handle_second(&mut self, progress: &Progress<'_>) {
        if let Some(exporter) = &self.exporter {
            exporter.change(|page| page.add(progress));
        }
        self.next.handle_second(progress);
    }
}

/// A metric: its name, its kind, what it is, and its value on a page.
type Metric = (&'static str, &'static str, &'static str, fn(&Page) -> f64);

const METRICS: &[Metric] = &[
    ("loadtest_messages_sent_total", "counter", "PUBLISH packets sent.", |p| p.total.messages_sent as f64),
    ("loadtest_messages_received_total", "counter", "PUBLISH packets received.", |p| p.total.messages_received as f64),
    ("loadtest_messages_acknowledged_total", "counter", "PUBACK and PUBCOMP received.", |p| {
        p.total.messages_acknowledged as f64
    }),
    ("loadtest_bytes_sent_total", "counter", "Bytes sent.", |p| p.total.bytes_sent as f64),
    ("loadtest_bytes_received_total", "counter", "Bytes received.", |p| p.total.bytes_received as f64),
    ("loadtest_connections_established_total", "counter", "Connections that got a CONNACK.", |p| p.established as f64),
    ("loadtest_connections_failed_total", "counter", "Connections that were not made.", |p| p.failed as f64),
    ("loadtest_connections_lost_total", "counter", "Connections that ended without loadtest's doing.", |p| {
        p.lost as f64
    }),
    ("loadtest_clients", "gauge", "Clients of the run.", |p| p.clients as f64),
    ("loadtest_connections", "gauge", "Connections at the end of the last second.", |p| p.second.connected as f64),
    ("loadtest_deliveries_owed", "gauge", "Deliveries that are owed and have not come.", |p| p.second.owed as f64),
    ("loadtest_cpu_cores", "gauge", "CPU time of loadtest in the last second, in cores.", |p| p.second.generator_cores),
    ("loadtest_run_seconds", "gauge", "Time since the start of the run.", |p| p.second.at_s),
];

impl Page {
    fn add(&mut self, progress: &Progress<'_>) {
        self.second = *progress.second;
        progress.stage_name.clone_into(&mut self.stage);
        self.clients = progress.clients;
        self.total.add(&progress.second.traffic);
        self.established += progress.second.established;
        self.failed += progress.second.failed;
        self.lost += progress.second.lost;
    }

    /// The text format of Prometheus.
    fn text(&self) -> String {
        let mut out = String::new();
        for (name, kind, what, value) in METRICS {
            let _ = writeln!(out, "# HELP {name} {what}\n# TYPE {name} {kind}\n{name} {}", value(self));
        }
        // Without a delivery in the last second there is no latency: nothing is shown rather than zero.
        if self.second.max_ns > 0 {
            let name = "loadtest_latency_seconds";
            let what = "Latency from the intended time of what arrived in the last second.";
            let _ = writeln!(out, "# HELP {name} {what}\n# TYPE {name} gauge");
            for (quantile, ns) in [("0.5", self.second.p50_ns), ("0.99", self.second.p99_ns), ("1", self.second.max_ns)]
            {
                let _ = writeln!(out, "{name}{{quantile=\"{quantile}\"}} {}", ns as f64 / 1e9);
            }
        }
        let _ = writeln!(
            out,
            "# HELP loadtest_stage The stage that goes on.\n# TYPE loadtest_stage gauge\nloadtest_stage{{workload=\"{}\",stage=\"{}\"}} 1",
            escaped(&self.name),
            escaped(&self.stage)
        );
        out
    }
}

/// A label's value, as the format wants it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn answer(mut stream: TcpStream, page: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (mut request, mut chunk) = (Vec::new(), [0; 1024]);
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = stream.read(&mut chunk)?;
        if count == 0 || request.len() + count > REQUEST_BYTES_MAX {
            return Ok(());
        }
        request.extend_from_slice(&chunk[..count]);
    }
    let line = String::from_utf8_lossy(&request);
    let mut words = line.split_whitespace();
    let path = words.next().filter(|method| *method == "GET").and_then(|_| words.next());
    let (status, body) = match path.map(|path| path.split('?').next().unwrap_or_default()) {
        Some("/metrics") => ("200 OK", page),
        Some(_) => ("404 Not Found", "the page is /metrics\n"),
        None => ("405 Method Not Allowed", "GET /metrics\n"),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::Silent, machine::prometheus};

    #[test]
    fn the_page_shows_what_the_run_was_told_of() {
        let exporter = Exporter::start("127.0.0.1:0", "quick \"one\"").unwrap();
        let address = prometheus::Address::parse(&exporter.address().to_string()).unwrap();
        let page = address.fetch().unwrap();
        assert_eq!(prometheus::sum(&page, "loadtest_messages_sent_total"), Some(0.0));
        assert_eq!(prometheus::sum(&page, "loadtest_latency_seconds"), None, "{page}");
        let mut silent = Silent;
        let mut shown = Shown { exporter: Some(exporter), next: &mut silent };
        shown.handle_stage(1, "measure");
        for at in 1..=3_u32 {
            let second = Second {
                at_s: f64::from(at),
                connected: 7,
                established: 2,
                traffic: Traffic { messages_sent: 100, ..Traffic::default() },
                p50_ns: 1_000_000,
                p99_ns: 2_000_000,
                max_ns: 3_000_000,
                ..Second::default()
            };
            let (stage_name, clients) = ("measure", 9);
            shown.handle_second(&Progress { second: &second, stage: 1, stage_name, stage_done: None, clients });
        }
        let page = address.fetch().unwrap();
        for (metric, value) in [
            ("loadtest_messages_sent_total", 300.0),
            ("loadtest_connections_established_total", 6.0),
            ("loadtest_connections", 7.0),
            ("loadtest_clients", 9.0),
            ("loadtest_run_seconds", 3.0),
        ] {
            assert_eq!(prometheus::sum(&page, metric), Some(value), "{metric}");
        }
        assert!(page.contains("loadtest_latency_seconds{quantile=\"0.99\"} 0.002\n"), "{page}");
        assert!(page.contains("{workload=\"quick \\\"one\\\"\",stage=\"measure\"} 1\n"), "{page}");
    }

    #[test]
    fn another_page_is_not_there() {
        let exporter = Exporter::start("127.0.0.1:0", "x").unwrap();
        let other = prometheus::Address::parse(&format!("http://{}/other", exporter.address())).unwrap();
        assert_eq!(other.fetch().unwrap_err().to_string(), "HTTP/1.1 404 Not Found");
    }
}
