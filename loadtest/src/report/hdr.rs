//! The distributions in the formats that the tools of `HdrHistogram` read.
//!
//! A name that ends in `.hgrm` gets the percentile distribution of the delivery latency, as the plotter takes it. Any
//! other gets an interval log with every distribution under its tag. Values are nanoseconds in the log and milliseconds in
//! the distribution.

use std::{
    fmt::Write as _,
    path::Path,
    time::{Duration, SystemTime},
};

use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriterBuilder, Tag},
    },
};

use super::{loop_words, pipeline_words, timings};
use crate::outcome::Outcome;

/// Of a histogram of three digits.
const SUB_BUCKETS: u32 = 2_048;

/// The content of a file of this name.
pub fn content(outcome: &Outcome, path: &Path) -> Result<Vec<u8>, String> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("hgrm")) {
        Ok(percentiles(outcome.timings.latency_intended.histogram()).into_bytes())
    } else {
        log(outcome)
    }
}

fn log(outcome: &Outcome) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let started = SystemTime::UNIX_EPOCH + Duration::from_millis(outcome.started_unix_ms);
    let lines =
        format!("loadtest {}: {} against {}; nanoseconds", env!("CARGO_PKG_VERSION"), outcome.name, outcome.target);
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment(&lines).add_comment(&loop_words(outcome));
    if let Some(words) = pipeline_words(outcome) {
        builder.add_comment(words);
    }
    let mut writer = builder
        .with_start_time(started)
        .with_max_value_divisor(1e6)
        .begin_log_with(&mut bytes, &mut serializer)
        .map_err(|error| format!("{error:?}"))?;
    for (name, timing) in timings(outcome) {
        let tag = name.replace(',', "").replace(' ', "-");
        let tag = Tag::new(&tag).ok_or_else(|| format!("{tag} is no tag"))?;
        writer
            .write_histogram(timing.histogram(), Duration::ZERO, Duration::from_secs_f64(outcome.duration_s), Some(tag))
            .map_err(|error| format!("{error:?}"))?;
    }
    drop(writer);
    Ok(bytes)
}

/// The table that `outputPercentileDistribution` of the Java library writes, in milliseconds.
fn percentiles(histogram: &Histogram<u64>) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut total = 0;
    for step in histogram.iter_quantiles(5) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / 1e6, step.quantile_iterated_to());
        let _ = write!(text, "{value:12.6} {quantile:1.12} {total:10}");
        let _ = if quantile < 1.0 { writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile)) } else { writeln!(text) };
    }
    let (mean, deviation) = (histogram.mean() / 1e6, histogram.stdev() / 1e6);
    let _ = writeln!(text, "#[Mean    = {mean:12.6}, StdDeviation   = {deviation:12.6}]");
    let _ =
        writeln!(text, "#[Max     = {:12.6}, Total count    = {:12}]", histogram.max() as f64 / 1e6, histogram.len());
    let _ = writeln!(text, "#[Buckets = {:12}, SubBuckets     = {:12}]", histogram.buckets(), SUB_BUCKETS);
    text
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    };

    use super::*;
    use crate::plan::Pipeline;
    use crate::report::sample;

    #[test]
    fn the_log_reads_back_with_every_distribution_under_its_tag() {
        let outcome = sample::outcome();
        let bytes = content(&outcome, Path::new("run.hlog")).unwrap();
        let mut tags = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            let LogEntry::Interval(interval) = entry.expect("every line is of the format") else { continue };
            let tag = interval.tag().expect("each has a tag").as_str().to_owned();
            let encoded =
                base64::Engine::decode(&base64::prelude::BASE64_STANDARD, interval.encoded_histogram()).unwrap();
            let read: Histogram<u64> = Deserializer::new().deserialize(&mut encoded.as_slice()).unwrap();
            if tag == "delivery" {
                assert_eq!(read.len(), outcome.timings.latency_intended.count());
                assert_eq!(read.value_at_quantile(0.99), outcome.timings.latency_intended.percentile_ns(99.0));
            }
            tags.push(tag);
        }
        assert_eq!(tags, ["delivery", "delivery-since-sent", "TCP-connect", "CONNACK"]);
    }

    #[test]
    fn the_log_says_which_loop_it_was_and_who_pipelined() {
        let mut outcome = sample::outcome();
        let comments = |outcome: &Outcome| {
            let text = String::from_utf8(content(outcome, Path::new("run.hlog")).unwrap()).unwrap();
            text.lines().filter(|line| line.starts_with('#')).collect::<Vec<_>>().join("\n")
        };
        assert!(comments(&outcome).contains(&loop_words(&outcome)));
        assert!(!comments(&outcome).contains("pipelined"));
        outcome.pipeline = Pipeline::On;
        assert!(comments(&outcome).contains("#pipelined: SUBSCRIBE was sent together"));
    }

    #[test]
    fn the_distribution_has_four_columns_that_rise() {
        let outcome = sample::outcome();
        let text = String::from_utf8(content(&outcome, Path::new("run.hgrm")).unwrap()).unwrap();
        assert!(text.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)\n\n"));
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|number| number.parse().unwrap()).collect())
            .collect();
        assert!(rows.len() > 20);
        assert!(rows.windows(2).all(|two| two[0][0] <= two[1][0] && two[0][1] <= two[1][1] && two[0][2] <= two[1][2]));
        let last = rows.last().unwrap();
        assert_eq!((last[1], last[2] as u64), (1.0, outcome.timings.latency_intended.count()));
        assert!(text.contains("#[Max     =     1.99"), "{text}");
    }
}
