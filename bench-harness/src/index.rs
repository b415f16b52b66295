//! The subscription index's curve, match time against filters: from the built `trie` benchmark, whose table is read.

use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::{Command, Stdio};

/// One line of the benchmark's first table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct IndexPoint {
    /// What kind of filters.
    pub filters: String,
    /// How many of them.
    pub count: f64,
    /// How many subscribers a match finds.
    pub hits: u32,
    /// Median time of a match.
    pub ns_per_match: f64,
}

/// Runs the benchmark.
pub(crate) fn measure(program: &Path) -> Result<Vec<IndexPoint>, String> {
    let output = Command::new(program)
        .arg("--bench")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let points = parse(&String::from_utf8_lossy(&output.stdout));
    if !output.status.success() || points.is_empty() {
        return Err(format!("{}: {}, and no table", program.display(), output.status));
    }
    Ok(points)
}

/// The table ends with the first empty line. Its first column has blanks in it, so it is read from the right.
fn parse(text: &str) -> Vec<IndexPoint> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name @ .., count, hits, ns, _instructions] = words.as_slice() else { return None };
        Some(IndexPoint {
            filters: name.join(" "),
            count: count.parse().ok()?,
            hits: hits.parse().ok()?,
            ns_per_match: ns.parse().ok()?,
        })
    };
    text.lines().skip(1).take_while(|line| !line.trim().is_empty()).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_table_is_read_and_no_other() {
        let text = "filters                count  hits  ns/match  instructions\n\
                    exact                   1000     1        46             -\n\
                    mixed exact, +, #     100000     3       544          2153\n\
                    \n\
                    1000000 of kind        whose   bytes each\n";
        let points = parse(text);
        assert_eq!(points.len(), 2);
        assert_eq!(
            points[1],
            IndexPoint { filters: "mixed exact, +, #".to_owned(), count: 1e5, hits: 3, ns_per_match: 544.0 }
        );
    }
}
