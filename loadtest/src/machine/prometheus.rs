//! A broker's metrics address: Prometheus text over HTTP.
//!
//! Owns: fetching the page within a limit of time and size, and adding up one metric of it. Always holds: the page of a
//! broker that hangs or floods costs the sampler's thread two seconds and 4 MiB at most.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_secs(2);
/// More than any broker's page; a page beyond it is cut, and the metric may be missing from what is left.
const PAGE_BYTES_MAX: u64 = 4 << 20;

/// Where a broker's metrics are: `http://host:port/path`, or `host:port` for the usual path `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    authority: String,
    path: String,
}

impl Address {
    /// Reads an address, or says what one looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a metrics address: write host:port or http://host:port/metrics");
        if text.starts_with("https:") {
            return Err(format!("{text:?}: metrics are read over plain http only"));
        }
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let (authority, path) = rest.split_once('/').map_or((rest, "metrics"), |(authority, path)| (authority, path));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse::<u16>().map_err(|_| wrong())?),
            None if text.starts_with("http://") => (authority, 80),
            None => return Err(wrong()),
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(wrong());
        }
        Ok(Self { authority: format!("{host}:{port}"), path: format!("/{path}") })
    }

    /// Fetches the page.
    pub fn fetch(&self) -> std::io::Result<String> {
        let refused = |text: &str| std::io::Error::other(text.to_owned());
        let address = self.authority.to_socket_addrs()?.next().ok_or_else(|| refused("the name has no address"))?;
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        // Version 1.0, so that the answer ends with the connection and is never chunked.
        let request = format!("GET {} HTTP/1.0\r\nHost: {}\r\nAccept: text/plain\r\n\r\n", self.path, self.authority);
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(PAGE_BYTES_MAX).read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| refused("the answer is no HTTP"))?;
        let status = head.lines().next().unwrap_or_default();
        if status.split(' ').nth(1) == Some("200") { Ok(body.to_owned()) } else { Err(refused(status)) }
    }
}

/// Every counter and gauge of a page, each added up over its labels; at most `most` of them, and no buckets.
pub fn all(page: &str, most: usize) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let end = line.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(line.len());
        let name = &line[..end];
        if !name.is_empty() && !name.ends_with("_bucket") && sums.len() < most && !sums.contains_key(name) {
            sums.extend(sum(page, name).map(|value| (name.to_owned(), value)));
        }
    }
    sums
}

/// The sum of a metric over all its labels; `None` where the page has none.
pub fn sum(page: &str, metric: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        let rest = match rest.chars().next()? {
            // A label's value may hold blanks, braces too: the value stands behind the last brace.
            '{' => rest.rsplit_once('}')?.1,
            c if c.is_whitespace() => rest,
            _ => return None,
        };
        rest.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP process_cpu_seconds_total CPU\n# TYPE process_cpu_seconds_total counter\n\
        process_cpu_seconds_total 12.5\nprocess_resident_memory_bytes 1.5e+07\n\
        x_total{shard=\"0\",why=\"a } b\"} 3\nx_total{shard=\"1\"} 4 1700000000\nx_total_more 100\n";

    #[test]
    fn a_metric_is_added_up_over_its_labels() {
        assert_eq!(sum(PAGE, "process_cpu_seconds_total"), Some(12.5));
        assert_eq!(sum(PAGE, "process_resident_memory_bytes"), Some(15_000_000.0));
        assert_eq!(sum(PAGE, "x_total"), Some(7.0));
        assert_eq!(sum(PAGE, "absent"), None);
        let all = all(PAGE, 3);
        assert_eq!((all.len(), all["x_total"]), (3, 7.0));
    }

    #[test]
    fn addresses_are_read() {
        for (text, authority, path) in [
            ("127.0.0.1:18083", "127.0.0.1:18083", "/metrics"),
            ("http://broker:9100/", "broker:9100", "/"),
            ("http://broker/a/b", "broker:80", "/a/b"),
            ("[::1]:18083", "[::1]:18083", "/metrics"),
        ] {
            let address = Address { authority: authority.to_owned(), path: path.to_owned() };
            assert_eq!(Address::parse(text), Ok(address), "{text}");
        }
        for text in ["", "broker", "broker:x", ":80", "https://broker/metrics"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    /// A server that answers one request with `answer`.
    fn serve(answer: &'static str) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            assert!(request.starts_with(b"GET /metrics HTTP/1.0\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn a_page_is_fetched_and_a_refusal_is_told() {
        let address = serve("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nup 1\n");
        assert_eq!(Address::parse(&address).unwrap().fetch().unwrap(), "up 1\n");
        let address = serve("HTTP/1.1 404 Not Found\r\n\r\n");
        assert_eq!(Address::parse(&address).unwrap().fetch().unwrap_err().to_string(), "HTTP/1.1 404 Not Found");
    }
}
