//! Tables and plots from a results file, at the marked places of a document.
//!
//! Owns nothing but the way from values to text: what is shown is what the file holds. A place without a marker is not
//! written, so the document decides what it shows; a marker that nothing is known for is an error.

mod chart;
mod curves;
mod markers;
mod tables;

use crate::cli::ReportOptions;
use crate::results::Results;

/// Writes the plots, and the marked places of the document.
pub fn write(options: &ReportOptions) -> Result<(), String> {
    let results = Results::read(&options.results)?;
    if results.measurements.is_empty() {
        return Err(format!("{}: nothing is measured yet", options.results.display()));
    }
    let said = |path: &std::path::Path, error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(&options.plots).map_err(|error| said(&options.plots, error))?;
    let mut places = tables::all(&results);
    for curve in curves::all(&results) {
        if curve.lines.is_empty() {
            places.push((curve.name, tables::NOTHING.to_owned()));
            continue;
        }
        let path = options.plots.join(format!("{}.svg", curve.name));
        std::fs::write(&path, chart::svg(&curve)).map_err(|error| said(&path, error))?;
        let link = format!("![{}]({})\n\n{}", curve.title, path.display(), curve.table());
        places.push((curve.name.clone(), link));
    }
    if let Some(dots) = curves::headline(&results) {
        let path = options.plots.join("one-core.svg");
        std::fs::write(&path, chart::dots(&dots)).map_err(|error| said(&path, error))?;
        for (_, table) in places.iter_mut().filter(|(name, _)| name == "one-core") {
            *table = format!("![{}]({})\n\n{table}", dots.title, path.display());
        }
    }
    let old = std::fs::read_to_string(&options.document).map_err(|error| said(&options.document, error))?;
    let new = markers::fill(&old, &places).map_err(|problem| format!("{}: {problem}", options.document.display()))?;
    std::fs::write(&options.document, new).map_err(|error| said(&options.document, error))
}
