//! OpenTelemetry: spans of sampled messages to a collector, in OTLP over HTTP.
//!
//! Owns: the thread that waits for the collector, and what has become of spans.
//! Always holds: there is one such thread where a collector is named, and else none. It keeps one request at a time, tries it
//! [`SPANS_EXPORT_TRIES`] times, and then counts its spans as lost; meanwhile the lane from the shards fills up to its bound. That a collector
//! takes nothing, and that it does again, is told once.
//! Leaves to others: what is sampled (`shard`), the lane (`net::spans`).
//!
//! Reading order: this file, `encode`, `wire`.

mod encode;
mod wire;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use prost::Message as _;
use ureq::Agent;

use self::encode::{SpanSource, encode};
use self::wire::ExportAnswer;
use crate::auth::http::HttpHeaders;
use crate::config::{Config, without_credentials};
use crate::http;
use crate::limits::{OTLP_ANSWER_MAX_BYTES, OTLP_FLUSH_MAX_MS, SPANS_EXPORT_MS, SPANS_EXPORT_TRIES, SPANS_PER_EXPORT};
use crate::net::spans::{self, EndedSpan};
use crate::shard::SpanSampling;
use crate::telemetry::log;

/// Spans that collectors have taken, and that they have not.
static TAKEN: AtomicU64 = AtomicU64::new(0);
static NOT_TAKEN: AtomicU64 = AtomicU64::new(0);
/// Told when the thread that sends has ended.
static RUNNING: Mutex<Option<Receiver<()>>> = Mutex::new(None);

/// What has become of spans so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpanCounts {
    /// A collector has them.
    pub(crate) taken: u64,
    /// There was no room for them, or for the messages that they would have been of.
    pub(crate) no_room: u64,
    /// The collector did not take them.
    pub(crate) not_taken: u64,
}

/// See [`SpanCounts`].
pub(crate) fn counts() -> SpanCounts {
    SpanCounts {
        taken: TAKEN.load(Ordering::Relaxed),
        no_room: spans::lost_total(),
        not_taken: NOT_TAKEN.load(Ordering::Relaxed),
    }
}

/// What is to be sampled, and who is to be told of it, when it holds: everything that can fail has been done.
pub(crate) struct SpansPlan(Option<PlannedExport>);

struct PlannedExport {
    sampling: SpanSampling,
    /// Has the thread begin; without a word it ends.
    begins: Sender<Receiver<EndedSpan>>,
    has_ended: Receiver<()>,
}

impl SpansPlan {
    /// As a configuration says; `random` makes keys. What holds now goes on.
    pub(crate) fn prepare(config: &Config, random: fn() -> u64) -> io::Result<Self> {
        let Some(url) = config.otlp.url() else { return Ok(Self(None)) };
        let timeout = Duration::from_secs(config.otlp.otlp_timeout_s.into());
        let below = config.otlp.otlp_sample_ratio.below();
        let collector = SpanCollector {
            agent: http::agent(&config.otlp_files.authorities, timeout, 1),
            headers: config.otlp_files.headers.clone(),
            source: SpanSource {
                service_name: config.otlp.otlp_service_name.clone(),
                node_name: config.settings.node_name.to_string(),
            },
            shown_url: without_credentials(&url),
            url,
        };
        let (begins, begun) = bounded::<Receiver<EndedSpan>>(1);
        let (told, has_ended) = bounded(0);
        std::thread::Builder::new().name("otlp".to_owned()).spawn(move || {
            let _told: Sender<()> = told; // with the thread's end
            if let Ok(from) = begun.recv() {
                SpanExporter { collector, from, fails: false }.run();
            }
        })?;
        let sampling = SpanSampling { below, keys: [random(), random()] };
        Ok(Self(Some(PlannedExport { sampling, begins, has_ended })))
    }

    /// It holds from now on. Who was told before gets what there is and ends.
    pub(crate) fn carry_out(self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(PlannedExport { sampling, begins, has_ended }) = self.0 else {
            spans::end();
            *running = None;
            return;
        };
        *running = Some(has_ended);
        // The thread waits for this.
        let _ = begins.send(spans::begin(sampling));
    }
}

/// Samples nothing more, and waits a while for the last spans to be taken.
pub(crate) fn finish() {
    spans::end();
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(has_ended) = running {
        let _ = has_ended.recv_timeout(Duration::from_millis(OTLP_FLUSH_MAX_MS));
    }
}

struct SpanExporter {
    collector: SpanCollector,
    from: Receiver<EndedSpan>,
    /// The last request was not taken.
    fails: bool,
}

/// Who is told, and how.
struct SpanCollector {
    agent: Agent,
    headers: Option<HttpHeaders>,
    source: SpanSource,
    url: String,
    /// Without what is nobody's business.
    shown_url: String,
}

/// Why a collector has not taken a request.
enum ExportRefusal {
    /// It may take it later.
    ForNow(String),
    /// It will not.
    ForGood(String),
}

impl SpanExporter {
    /// Until nobody gives it spans any more.
    fn run(mut self) {
        while let Some(batch) = self.next_batch() {
            let body = encode(&self.collector.source, &batch, unix_ns_at_zero());
            self.send(&body, batch.len() as u64);
        }
    }

    /// The spans that come within a while.
    fn next_batch(&self) -> Option<Vec<EndedSpan>> {
        let mut batch = vec![self.from.recv().ok()?];
        let until = Instant::now() + Duration::from_millis(SPANS_EXPORT_MS);
        while batch.len() < SPANS_PER_EXPORT {
            match self.from.recv_deadline(until) {
                Ok(span) => batch.push(span),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        Some(batch)
    }

    fn send(&mut self, body: &[u8], spans: u64) {
        let mut pause = Duration::from_secs(1);
        for tried in 1..=SPANS_EXPORT_TRIES {
            let text = match self.post(body) {
                Ok(rejected) => {
                    let rejected = rejected.min(spans);
                    TAKEN.fetch_add(spans - rejected, Ordering::Relaxed);
                    NOT_TAKEN.fetch_add(rejected, Ordering::Relaxed);
                    return self.note_taken();
                }
                Err(ExportRefusal::ForGood(text)) => {
                    self.note_failed(&text);
                    break;
                }
                Err(ExportRefusal::ForNow(text)) => text,
            };
            self.note_failed(&text);
            if tried < SPANS_EXPORT_TRIES {
                std::thread::sleep(pause);
                pause *= 2;
            }
        }
        NOT_TAKEN.fetch_add(spans, Ordering::Relaxed);
    }

    /// One request. Returns how many spans the collector has refused all the same.
    fn post(&mut self, body: &[u8]) -> Result<u64, ExportRefusal> {
        let for_now = |error: ureq::Error| ExportRefusal::ForNow(error.to_string());
        let mut request =
            self.collector.agent.post(&self.collector.url).header("Content-Type", "application/x-protobuf");
        for (name, value) in self.collector.headers.iter().flat_map(HttpHeaders::iter) {
            request = request.header(name, value);
        }
        let mut answer = request.send(body).map_err(for_now)?;
        let status = answer.status().as_u16();
        match status {
            200..=299 => {}
            429 | 502..=504 => return Err(ExportRefusal::ForNow(format!("it answers {status}"))),
            _ => return Err(ExportRefusal::ForGood(format!("it answers {status}"))),
        }
        // It has taken them, whatever else it says.
        let said = answer.body_mut().with_config().limit(OTLP_ANSWER_MAX_BYTES).read_to_vec().unwrap_or_default();
        let partial = ExportAnswer::decode(&*said).ok().and_then(|answer| answer.partial_success);
        let Some(partial) = partial.filter(|partial| partial.rejected_spans > 0) else { return Ok(0) };
        self.note_failed(&format!("it refuses {} spans: {}", partial.rejected_spans, partial.error_message));
        Ok(partial.rejected_spans.unsigned_abs())
    }

    fn note_failed(&mut self, error: &str) {
        if !std::mem::replace(&mut self.fails, true) {
            log::event::spans_not_taken(&self.collector.shown_url, error);
        }
    }

    fn note_taken(&mut self) {
        if std::mem::take(&mut self.fails) {
            log::event::spans_taken(&self.collector.shown_url);
        }
    }
}

/// The wall clock at the monotonic clock's zero, as they stand now.
fn unix_ns_at_zero() -> u64 {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (wall.as_nanos() as u64).saturating_sub(spans::mono_ns())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::ReasonCode;
    use crate::config::Invocation;
    use crate::ids::{Qos, ShardId};
    use crate::shard::{SampledMessage, Span, SpanEnd, SpanKind};

    #[test]
    fn what_was_prepared_and_is_not_carried_out_ends_and_leaves_what_holds() {
        let arguments = ["dunlin", "--otlp-endpoint", "http://127.0.0.1:9"].map(Into::into);
        let Ok(Invocation::Run(config)) = crate::config::load(arguments, []) else { panic!("it runs the broker") };
        let SpansPlan(planned) = SpansPlan::prepare(&config, || 7).expect("a thread can start");
        let PlannedExport { begins, has_ended, .. } = planned.expect("a collector is named");
        assert!(RUNNING.lock().unwrap_or_else(PoisonError::into_inner).is_none(), "nobody is told");
        assert!(has_ended.recv_timeout(Duration::from_millis(50)).is_err_and(|error| error.is_timeout()), "it waits");
        drop(begins);
        let ended = has_ended.recv_timeout(Duration::from_secs(10));
        assert!(ended.is_err_and(|error| error.is_disconnected()), "it has ended");
    }

    #[test]
    fn a_request_has_so_many_spans_and_no_more() {
        let message = Arc::new(SampledMessage {
            trace_id: [1; 16],
            receive_id: [2; 8],
            sent_by: None,
            trace_state: None,
            topic: "t".into(),
            payload_bytes: 0,
        });
        let span = Span {
            message,
            kind: SpanKind::Send,
            id: [3; 8],
            began_ns: 1,
            client_id: "c".into(),
            qos: Qos::AtMostOnce,
            end: SpanEnd::Code(ReasonCode::Success),
            shard: ShardId(0),
        };
        let (to, from) = crossbeam_channel::unbounded();
        let source = SpanSource { service_name: "s".to_owned(), node_name: "n".to_owned() };
        let collector = SpanCollector {
            agent: http::agent(&[], Duration::from_secs(1), 0),
            headers: None,
            source,
            url: String::new(),
            shown_url: String::new(),
        };
        let exporter = SpanExporter { collector, from, fails: false };
        let batch = |spans: usize| {
            (0..spans).for_each(|_| to.send(EndedSpan { span: Box::new(span.clone()), ended_ns: 2 }).unwrap());
            exporter.next_batch().unwrap().len()
        };
        assert_eq!((batch(SPANS_PER_EXPORT + 1), batch(0)), (SPANS_PER_EXPORT, 1));
        let began = Instant::now();
        assert_eq!(batch(3), 3);
        assert!(began.elapsed() >= Duration::from_millis(SPANS_EXPORT_MS), "others might have come");
    }
}
