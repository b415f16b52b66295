//! The run's own recorder: once a second what generator, broker and kernel spend, put into the outcome at the end.
//!
//! Always holds: it has a thread of its own, because a broker's metrics page may take its time and a run must not wait for
//! it; what was not read is absent.

use std::{
    collections::BTreeMap,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    prometheus,
    sample::{self, Broker, Kernel, Process},
};
use crate::outcome::{BrokerUsage, KernelMemory, Outcome, Second};

const PERIOD: Duration = Duration::from_secs(1);
/// In the first seconds, which may be all there are. A broker's own page is not asked so often.
const SHORT_PERIOD: Duration = Duration::from_millis(100);
const SHORT_S: f64 = 3.2;
/// A reading that came so much later than a second's end is of that second still.
const SLACK_S: f64 = 0.02;
/// The time over which CPU is counted for a tenth: the kernel counts in hundredths of a second.
const TENTH_WINDOW_S: f64 = 0.3;
/// A broker's page may have many; a report is no copy of it.
const METRICS_MAX: usize = 300;

/// Records until it is stopped.
#[derive(Debug)]
pub struct Recorder {
    stop: Sender<()>,
    thread: JoinHandle<Record>,
}

/// What was read, in the order of time.
#[derive(Clone, Debug, Default)]
pub struct Record {
    samples: Vec<Sample>,
    broker: Option<Broker>,
    metrics: BTreeMap<String, f64>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Seconds since the recorder began, which is the moment before the run does.
    at_s: f64,
    generator: Option<Process>,
    broker: Option<Process>,
    kernel: Option<Kernel>,
}

impl Recorder {
    /// Begins to record. `None`: the system gives no thread, and the report goes without.
    pub fn start(broker: Option<Broker>) -> Option<Self> {
        let (stop, stopped) = mpsc::channel();
        // The first reading is before the first connection, so it is taken here.
        let began = Instant::now();
        let mut record = Record { samples: vec![Sample::take(began, broker.as_ref())], broker, ..Record::default() };
        let thread = std::thread::Builder::new().name("recorder".to_owned()).spawn(move || {
            let is_quick = !matches!(record.broker, Some(Broker::Metrics(_)));
            let period = || if is_quick && began.elapsed().as_secs_f64() < SHORT_S { SHORT_PERIOD } else { PERIOD };
            while stopped.recv_timeout(period()) == Err(RecvTimeoutError::Timeout) {
                record.samples.push(Sample::take(began, record.broker.as_ref()));
            }
            record.samples.push(Sample::take(began, record.broker.as_ref()));
            if let Some(Broker::Metrics(address)) = &record.broker {
                let page = address.fetch().unwrap_or_default();
                record.metrics = prometheus::all(&page, METRICS_MAX);
            }
            record
        });
        Some(Self { stop, thread: thread.ok()? })
    }

    /// Ends recording.
    pub fn finish(self) -> Record {
        let _ = self.stop.send(());
        self.thread.join().unwrap_or_default()
    }
}

impl Sample {
    fn take(began: Instant, broker: Option<&Broker>) -> Self {
        Self {
            at_s: began.elapsed().as_secs_f64(),
            generator: sample::process("self"),
            broker: broker.and_then(Broker::sample),
            kernel: sample::kernel(),
        }
    }
}

impl Record {
    /// Puts what was recorded into the outcome of the run.
    pub fn fill(&self, outcome: &mut Outcome) {
        outcome.series.iter_mut().for_each(|second| self.fill_second(second, 1.0));
        outcome.tenths.iter_mut().for_each(|tenth| self.fill_second(tenth, TENTH_WINDOW_S));
        outcome.kernel = self.kernel();
        if self.broker.is_some() {
            outcome.broker = self.broker_usage(outcome);
        }
    }

    /// `window_s`: the time before its end over which CPU is counted.
    fn fill_second(&self, second: &mut Second, window_s: f64) {
        let at = second.at_s;
        // What was read after it, at the end of the run above all, may be of something else.
        let before = self.samples.iter().rev().find(|sample| sample.at_s <= at + SLACK_S);
        let Some(sample) = before.or(self.samples.first()).filter(|sample| (sample.at_s - at).abs() < 1.5) else {
            return;
        };
        second.generator_rss_bytes = sample.generator.map(|process| process.rss_bytes);
        second.broker_rss_bytes = sample.broker.map(|process| process.rss_bytes);
        second.slab_bytes = sample.kernel.map(|kernel| kernel.slab_bytes + kernel.slab_cache_bytes);
        second.tcp_buffer_bytes = sample.kernel.map(|kernel| kernel.tcp_buffer_bytes);
        let from = (at - window_s).max(0.0);
        let spent = self.broker_cpu_s(at).zip(self.broker_cpu_s(from)).map(|(end, begin)| (end - begin).max(0.0));
        second.broker_cores = spent.map(|spent| spent / (at - from).max(0.01));
    }

    /// Seconds of CPU that the broker had spent by then, between two readings in proportion.
    fn broker_cpu_s(&self, at_s: f64) -> Option<f64> {
        let cpu = |sample: &Sample| sample.broker.map(|process| (sample.at_s, process.cpu_s));
        let before = self.samples.iter().filter(|sample| sample.at_s <= at_s).filter_map(cpu).next_back();
        let after = self.samples.iter().filter(|sample| sample.at_s > at_s).find_map(cpu);
        match (before, after) {
            (Some((from_s, from)), Some((to_s, to))) => Some(from + (to - from) * (at_s - from_s) / (to_s - from_s)),
            (one, other) => one.or(other).map(|(_, cpu_s)| cpu_s),
        }
    }

    fn broker_usage(&self, outcome: &Outcome) -> Option<BrokerUsage> {
        let mut seen = self.samples.iter().filter_map(|sample| sample.broker);
        let first = seen.next()?;
        let last = seen.next_back().unwrap_or(first);
        let measured = outcome.stages.iter().filter(|stage| stage.measured).filter_map(|stage| {
            Some(self.broker_cpu_s(stage.ended_ms / 1e3)? - self.broker_cpu_s(stage.started_ms / 1e3)?)
        });
        Some(BrokerUsage {
            pid: match self.broker {
                Some(Broker::Pid(pid)) => Some(pid),
                _ => None,
            },
            cpu_s: last.cpu_s - first.cpu_s,
            cpu_measured_s: measured.sum(),
            rss_start_bytes: first.rss_bytes,
            rss_peak_bytes: self.samples.iter().filter_map(|sample| sample.broker).map(|p| p.rss_bytes).max()?,
            metrics: self.metrics.clone(),
        })
    }

    fn kernel(&self) -> Option<KernelMemory> {
        let slab = |kernel: Kernel| kernel.slab_bytes + kernel.slab_cache_bytes;
        let kernels = || self.samples.iter().filter_map(|sample| sample.kernel);
        let first = kernels().next()?;
        Some(KernelMemory {
            slab_start_bytes: slab(first),
            slab_peak_bytes: kernels().map(slab).max()?,
            tcp_start_bytes: first.tcp_buffer_bytes,
            tcp_peak_bytes: kernels().map(|kernel| kernel.tcp_buffer_bytes).max()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample as outcomes;

    fn record() -> Record {
        let process =
            |at: u32| Some(Process { cpu_s: 10.0 + f64::from(at) * 0.5, rss_bytes: 1_000 * u64::from(at + 1) });
        let kernel =
            |at: u32| Some(Kernel { slab_bytes: 100 * u64::from(at), slab_cache_bytes: 7, ..Kernel::default() });
        let samples = (0..4)
            .map(|at| Sample { at_s: f64::from(at), generator: process(at), broker: process(at), kernel: kernel(at) })
            .collect();
        Record { samples, broker: Some(Broker::Pid(7)), metrics: BTreeMap::new() }
    }

    #[test]
    fn what_was_recorded_goes_to_its_second_and_its_stage() {
        let mut outcome = outcomes::outcome();
        record().fill(&mut outcome);
        let second = outcome.series[1];
        assert_eq!((second.broker_rss_bytes, second.slab_bytes), (Some(3_000), Some(207)));
        assert_eq!(second.broker_cores, Some(0.5));
        let broker = outcome.broker.unwrap();
        assert_eq!((broker.pid, broker.rss_start_bytes, broker.rss_peak_bytes), (Some(7), 1_000, 4_000));
        // 1.5 s over the run; the measured stage is its last two seconds.
        assert_eq!((broker.cpu_s, broker.cpu_measured_s), (1.5, 1.0));
        let kernel = outcome.kernel.unwrap();
        assert_eq!((kernel.slab_start_bytes, kernel.slab_peak_bytes), (7, 307));
    }

    #[test]
    fn between_two_readings_cpu_time_is_in_proportion() {
        let record = record();
        for (at_s, cpu_s) in [(0.0, 10.0), (0.5, 10.25), (2.0, 11.0), (9.0, 11.5)] {
            assert_eq!(record.broker_cpu_s(at_s), Some(cpu_s));
        }
        assert_eq!(Record::default().broker_cpu_s(1.0), None);
    }

    #[test]
    fn a_recorder_reads_at_its_start_and_its_end() {
        let recorder = Recorder::start(Some(Broker::Pid(std::process::id()))).unwrap();
        let record = recorder.finish();
        assert!(record.samples.len() >= 2);
        assert!(record.samples.iter().all(|sample| sample.broker.is_some() && sample.kernel.is_some()));
    }
}
