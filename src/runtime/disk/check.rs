//! `dunlin store check`: what is in a directory, and whether it is whole, in lines for people.

use std::io::{self, Write};

use super::space::space_of;
use super::survey::{Survey, SurveyError};
use crate::store::RecoveredLog;
use crate::store::format::FORMAT_VERSION;

/// What was found besides what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckVerdict {
    /// Every byte that counts is what was written.
    Whole,
    /// So many things are damaged.
    Damaged(u64),
}

/// Shows a directory, and says whether it is whole.
pub fn check(survey: &Survey, out: &mut dyn Write) -> Result<io::Result<CheckVerdict>, SurveyError> {
    let mut lost_messages = 0_u64;
    let mut messages = 0_u64;
    survey.for_each_message(|_, _, message| {
        messages += 1;
        lost_messages += u64::from(message.is_none());
    })?;
    Ok(show(survey, messages, lost_messages, out))
}

fn show(survey: &Survey, messages: u64, lost_messages: u64, out: &mut dyn Write) -> io::Result<CheckVerdict> {
    let manifest = &survey.manifest;
    writeln!(
        out,
        "{}: format {FORMAT_VERSION}, node {:?}, {} shard{}, generation {}, started {} times",
        survey.path().display(),
        manifest.node_name,
        manifest.shards,
        if manifest.shards == 1 { "" } else { "s" },
        manifest.generation,
        manifest.epoch,
    )?;
    if let Ok((free_bytes, kind)) = space_of(survey.path()) {
        writeln!(out, "  {} MB free on it", free_bytes / 1_000_000)?;
        if let Some(warning) = kind.warning() {
            writeln!(out, "  warning: {warning}")?;
        }
    }
    let mut damaged = 0;
    if let Some(text) = &survey.lost_manifest {
        writeln!(out, "DAMAGED: {text}")?;
        damaged += 1;
    }
    for log in &survey.logs {
        damaged += show_log(log, out)?;
    }
    let sum = |of: &dyn Fn(&RecoveredLog) -> usize| survey.logs.iter().map(of).sum::<usize>();
    let deliveries = |log: &RecoveredLog| log.state.sessions().map(|(_, session)| session.deliveries.len()).sum();
    let subscriptions = |log: &RecoveredLog| log.state.sessions().map(|(_, session)| session.subscriptions.len()).sum();
    let retained = |log: &RecoveredLog| log.state.retained.values().filter(|found| found.message.is_some()).count();
    writeln!(
        out,
        "together: {} sessions, {} subscriptions, {} messages queued or in flight, {} retained, {messages} bodies",
        sum(&|log| log.state.sessions_len()),
        sum(&subscriptions),
        sum(&deliveries),
        sum(&retained),
    )?;
    if lost_messages > 0 {
        writeln!(out, "DAMAGED: the bytes of {lost_messages} messages are lost")?;
        damaged += 1;
    }
    if damaged == 0 {
        writeln!(out, "everything is whole")?;
        return Ok(CheckVerdict::Whole);
    }
    writeln!(out, "{damaged} {} damaged; the rest is whole", if damaged == 1 { "thing is" } else { "things are" })?;
    Ok(CheckVerdict::Damaged(damaged))
}

/// Shows one log; returns how many things are damaged in it.
fn show_log(log: &RecoveredLog, out: &mut dyn Write) -> io::Result<u64> {
    let RecoveredLog { log: name, state, scan, checkpoint, replayed_from, refused } = log;
    write!(
        out,
        "{name}: {} segments with {} records up to {}, ",
        scan.segments.len(),
        scan.records,
        scan.end.position
    )?;
    match checkpoint {
        Some(number) => writeln!(out, "checkpoint {number} up to {replayed_from}")?,
        None => writeln!(out, "no checkpoint")?,
    }
    if scan.is_torn {
        writeln!(out, "  the last write was under way when the power went, and was never acknowledged")?;
    }
    if scan.incomplete > 0 {
        writeln!(out, "  {} writes belong to a change that was never completed, nor acknowledged", scan.incomplete)?;
    }
    let mut damaged = 0;
    for (number, error) in refused {
        writeln!(out, "  DAMAGED: checkpoint {number}: {error}")?;
        damaged += 1;
    }
    for found in &scan.damage {
        writeln!(
            out,
            "  DAMAGED: records {} to {} are lost, in segment {} from block {} on",
            found.first,
            found.next - 1,
            found.segment.0,
            found.block
        )?;
        damaged += 1;
    }
    for (numbers, what) in [
        (&scan.missing, "is not there, and what was in it is lost"),
        (&scan.unreadable, "cannot be read, and what was in it is lost"),
        (&scan.cut_off, "is shorter than it was made"),
    ] {
        for number in numbers {
            writeln!(out, "  DAMAGED: segment {} {what}", number.0)?;
            damaged += 1;
        }
    }
    if state.unmatched > 0 {
        writeln!(out, "  DAMAGED: {} records refer to what is lost", state.unmatched)?;
        damaged += 1;
    }
    Ok(damaged)
}
