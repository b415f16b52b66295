//! Tables, plots and answers from a summary, at the marked places of documents.
//!
//! Owns nothing but the way from values to text: what is shown is what the summary holds. Two ways lead out, and they are
//! kept apart so that a run on somebody's machine changes no promise: `report` writes what was measured that day
//! (`docs/measurements/DATE.md` and its plots), `adopt` takes one such day over into PERFORMANCE.md, README.md and docs/CAPACITY.md. `check`
//! says what of it no longer agrees.

mod answers;
mod canvas;
mod curves;
mod dots;
mod durable;
mod lines;
mod markers;
mod tables;

use crate::cli::{self, AdoptOptions, CheckOptions, ReportOptions};
use crate::results::Results;
use crate::summary::Summary;
use std::path::{Path, PathBuf};

/// Where the days are kept, below the repository.
const MEASUREMENTS: &str = "docs/measurements";
/// One file a plot and day; pages link to them.
const PLOTS: &str = "docs/plots";
/// Documents that take over the figures of one day.
const ADOPTERS: [&str; 3] = ["PERFORMANCE.md", "README.md", "docs/CAPACITY.md"];
/// What a new day begins with.
const TEMPLATE: &str = include_str!("measurement.template");

/// A file as it should be: its path from the root of the repository, and its text.
type File = (PathBuf, String);

/// Writes a day's summary, its document and its plots.
pub(crate) fn write(options: &ReportOptions) -> Result<(), String> {
    let json = json_path(&options.date);
    if !options.redraw {
        let results = Results::read(&options.results)?;
        if results.measurements.is_empty() {
            return Err(format!("{}: nothing is measured yet", options.results.display()));
        }
        put(&options.root, &(json.clone(), Summary::of(&results).json()))?;
    }
    for file in day(&options.root, &options.date)? {
        put(&options.root, &file)?;
    }
    println!("{} holds what was measured", options.root.join(document_path(&options.date)).display());
    Ok(())
}

/// Takes a day's figures over.
pub(crate) fn adopt(options: &AdoptOptions) -> Result<(), String> {
    for file in adopted(&options.root, &options.date)? {
        put(&options.root, &file)?;
    }
    Ok(())
}

/// Whether every document says what its summary says; otherwise an error that names those which do not.
pub(crate) fn check(options: &CheckOptions) -> Result<(), String> {
    let root = &options.root;
    let mut files = adopted(root, &adopted_date(root)?)?;
    let dates = dates(root)?;
    for date in &dates {
        files.extend(day(root, date)?);
    }
    let differs = |(path, text): &&File| std::fs::read_to_string(root.join(path)).ok().as_ref() != Some(text);
    let stale: Vec<String> = files.iter().filter(differs).map(|(path, _)| path.display().to_string()).collect();
    if stale.is_empty() {
        println!("{} documents and plots agree with the summaries of {} days", files.len(), dates.len());
        return Ok(());
    }
    Err(format!(
        "not what docs/measurements says: {}\n`bench-harness report --redraw --date DATE` writes a day anew, `bench-harness \
         adopt --date DATE` PERFORMANCE.md, README.md and docs/CAPACITY.md",
        stale.join(", ")
    ))
}

fn json_path(date: &str) -> PathBuf {
    Path::new(MEASUREMENTS).join(format!("{date}.json"))
}

fn document_path(date: &str) -> PathBuf {
    Path::new(MEASUREMENTS).join(format!("{date}.md"))
}

/// The document and the plots of a day, from its summary.
fn day(root: &Path, date: &str) -> Result<Vec<File>, String> {
    let summary = Summary::read(&root.join(json_path(date)))?;
    let curves = curves::all(&summary);
    let index_names = curves.iter().flat_map(|curve| curve.lines.iter().map(|line| line.name.clone()));
    let palette = canvas::Palette::new(summary.names().into_iter().chain(index_names));
    let plot = |name: &str| Path::new(PLOTS).join(date).join(format!("{name}.svg"));
    // From the document's folder, which lies beside that of the plots.
    let link = |title: &str, name: &str| format!("![{title}](../plots/{date}/{name}.svg)\n\n");
    let mut places = tables::all(&summary);
    places.extend(durable::all(&summary));
    let mut files = Vec::new();
    for curve in curves {
        if curve.lines.is_empty() {
            places.push((curve.name, tables::NOTHING.to_owned()));
            continue;
        }
        files.push((plot(&curve.name), lines::svg(&curve, &palette)));
        places.push((curve.name.clone(), link(&curve.title, &curve.name) + &curve.table(&summary)));
    }
    if let Some(dots) = curves::headline(&summary) {
        files.push((plot("one-core"), dots::svg(&dots, &palette)));
        for (_, table) in places.iter_mut().filter(|(name, _)| name == "one-core") {
            *table = link(&dots.title, "one-core") + table;
        }
    }
    let path = document_path(date);
    let old = std::fs::read_to_string(root.join(&path)).unwrap_or_else(|_| TEMPLATE.replace("DATE", date));
    files.push((path.clone(), fill(&path, &old, &places)?));
    Ok(files)
}

/// The documents that take over a day's figures.
fn adopted(root: &Path, date: &str) -> Result<Vec<File>, String> {
    let summary = Summary::read(&root.join(json_path(date)))?;
    let mut places = answers::all(&summary, date);
    let headline = curves::headline(&summary).map(|dots| ("one-core".to_owned(), dots.title));
    let curves = curves::all(&summary).into_iter().filter(|curve| !curve.lines.is_empty());
    for (name, title) in headline.into_iter().chain(curves.map(|curve| (curve.name, curve.title))) {
        let path = Path::new(PLOTS).join(date).join(format!("{name}.svg"));
        places.push((format!("plot-{name}"), format!("![{title}]({})\n", path.display())));
    }
    let file = |name: &str| {
        let path = PathBuf::from(name);
        let old = std::fs::read_to_string(root.join(&path)).map_err(|error| format!("{name}: {error}"))?;
        let new = fill(&path, &old, &places)?;
        Ok((path, new))
    };
    ADOPTERS.into_iter().map(file).collect()
}

/// The day that the first adopter names.
fn adopted_date(root: &Path) -> Result<String, String> {
    let [first, ..] = ADOPTERS;
    let text = std::fs::read_to_string(root.join(first)).map_err(|error| format!("{first}: {error}"))?;
    let folder = format!("{MEASUREMENTS}/");
    let named = text.split(&folder).skip(1).filter_map(|rest| rest.split_once(".md"));
    let mut dates = named.filter_map(|(date, _)| cli::date(date).ok());
    dates.next().ok_or_else(|| format!("{first} names no file of {MEASUREMENTS}"))
}

/// All days that there are, in order.
fn dates(root: &Path) -> Result<Vec<String>, String> {
    let entries = std::fs::read_dir(root.join(MEASUREMENTS)).map_err(|error| format!("{MEASUREMENTS}: {error}"))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut dates: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect();
    dates.sort();
    Ok(dates)
}

fn fill(path: &Path, text: &str, places: &[(String, String)]) -> Result<String, String> {
    markers::fill(text, places).map_err(|problem| format!("{}: {problem}", path.display()))
}

fn put(root: &Path, (path, text): &File) -> Result<(), String> {
    let path = root.join(path);
    let folder = path.parent().unwrap_or(root);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|error| format!("{}: {error}", path.display()))
}
