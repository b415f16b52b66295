//! While it runs: a line every second, and on a terminal a bar that says how far it is.
//!
//! Writes to standard error, so that standard output has the summary alone.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use crate::{
    engine::{Progress, Watcher},
    outcome::Second,
    units::{grouped, show_span},
};

const BAR_CELLS: usize = 24;
/// The header comes again after so many lines.
const LINES_A_PAGE: usize = 20;

/// Shows progress. Made for the length of one run.
#[derive(Debug)]
pub struct Console {
    is_quiet: bool,
    is_terminal: bool,
    lines: usize,
    /// The end of the last second that was shown.
    shown_s: f64,
    stage_began: Instant,
    is_bar_drawn: bool,
    stop: Arc<AtomicBool>,
    is_stop_told: bool,
}

impl Console {
    /// One that shows nothing if it is to be quiet. `stop` is the flag that an interrupt sets.
    pub fn new(is_quiet: bool, stop: Arc<AtomicBool>) -> Self {
        Self {
            is_quiet,
            is_terminal: io::stderr().is_terminal(),
            lines: 0,
            shown_s: 0.0,
            stage_began: Instant::now(),
            is_bar_drawn: false,
            stop,
            is_stop_told: false,
        }
    }

    /// A line that is not of the table.
    pub fn tell(&mut self, text: &str) {
        if !self.is_quiet {
            self.print(text);
        }
    }

    /// Takes the bar away.
    pub fn finish(&mut self) {
        if self.is_bar_drawn {
            self.is_bar_drawn = false;
            drop(write!(io::stderr(), "\r\x1b[2K"));
        }
    }

    /// Nobody reading it is no reason to stop.
    fn print(&mut self, text: &str) {
        self.finish();
        drop(writeln!(io::stderr(), "{text}"));
    }

    fn draw_bar(&mut self, progress: &Progress<'_>) {
        let Some(done) = progress.stage_done else { return };
        let took_s = self.stage_began.elapsed().as_secs_f64();
        drop(write!(io::stderr(), "\r\x1b[2K{}", bar(progress.stage_name, done, took_s)));
        self.is_bar_drawn = true;
    }
}

impl Watcher for Console {
    fn handle_stage(&mut self, _: usize, _: &str) {
        self.stage_began = Instant::now();
    }

    fn handle_second(&mut self, progress: &Progress<'_>) {
        if self.is_quiet {
            return;
        }
        if self.lines.is_multiple_of(LINES_A_PAGE) {
            self.print(&header());
        }
        self.lines += 1;
        if self.stop.load(Ordering::SeqCst) && !self.is_stop_told {
            self.is_stop_told = true;
            self.print("stopping: what is on its way is waited for; once more exits at once");
        }
        let took_s = progress.second.at_s - std::mem::replace(&mut self.shown_s, progress.second.at_s);
        self.print(&row(progress.stage_name, progress.second, took_s));
        if self.is_terminal {
            self.draw_bar(progress);
        }
    }
}

fn header() -> String {
    format!(
        "{:>6}  {:<12} {:>10} {:>10} {:>10} {:>9} {:>9} {:>9} {:>8} {:>5}",
        "time", "stage", "connected", "sent/s", "recv/s", "p50", "p99", "max", "owed", "CPU"
    )
}

/// `took_s`: the last second of a run is shorter than one.
fn row(stage: &str, second: &Second, took_s: f64) -> String {
    let rate = |count: u64| grouped((count as f64 / took_s.max(0.001)).round() as u64);
    let span = |ns: u64| if second.max_ns == 0 { "-".to_owned() } else { show_span(ns) };
    let stage: String = stage.chars().take(12).collect();
    format!(
        "{:>5.1}s  {:<12} {:>10} {:>10} {:>10} {:>9} {:>9} {:>9} {:>8} {:>5.2}",
        second.at_s,
        stage,
        grouped(second.connected),
        rate(second.traffic.messages_sent),
        rate(second.traffic.messages_received),
        span(second.p50_ns),
        span(second.p99_ns),
        span(second.max_ns),
        grouped(second.owed),
        second.generator_cores
    )
}

fn bar(stage: &str, done: f64, took_s: f64) -> String {
    let done = done.clamp(0.0, 1.0);
    let full = (done * BAR_CELLS as f64) as usize;
    let cells = format!("{}{}", "█".repeat(full), "░".repeat(BAR_CELLS - full));
    let left = if (0.02..0.995).contains(&done) {
        format!(", {} left", show_span((took_s * (1.0 - done) / done * 1e9) as u64))
    } else {
        String::new()
    };
    format!("{stage}  {cells}  {:.0} %{left}", done * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn rows_stand_under_the_header() {
        let row = row("measure", &sample::outcome().series[1], 1.0);
        assert_eq!(row.chars().count(), header().chars().count(), "\n{}\n{row}", header());
        assert!(row.contains("1.00 ms   1.90 ms   1.99 ms"), "{row}");
    }

    #[test]
    fn the_bar_says_how_much_is_left() {
        assert_eq!(
            bar("connect", 0.5, 3.0),
            format!("connect  {}{}  50 %, 3.00 s left", "█".repeat(12), "░".repeat(12))
        );
        assert_eq!(bar("x", 1.7, 3.0), format!("x  {}  100 %", "█".repeat(24)));
    }
}
