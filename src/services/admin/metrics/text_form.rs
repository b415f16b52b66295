//! The older text form (0.0.4), made from the text of `OpenMetrics`: for programs that know no other, and for people.
//!
//! Always holds: the samples are the same ones, letter by letter.

use std::collections::HashMap;
use std::fmt::Write as _;

/// The same scrape in the older form: there a counter is named with its `_total`, an info is a gauge, and there are neither units nor an end.
pub(super) fn of(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let kinds = open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let kinds: HashMap<&str, &str> = kinds.collect();
    for line in open_metrics.lines() {
        let Some((word, name, rest)) = comment(line) else {
            if !line.starts_with('#') {
                let _ = writeln!(text, "{line}");
            }
            continue;
        };
        let suffix = match kinds.get(name) {
            Some(&"counter") => "_total",
            Some(&"info") => "_info",
            _ => "",
        };
        match word {
            "HELP" => drop(writeln!(text, "# HELP {name}{suffix} {rest}")),
            "TYPE" => {
                let kind = if rest == "info" { "gauge" } else { rest };
                let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
            }
            _ => {}
        }
    }
    text
}

/// The word, the metric and the rest of a comment that says something of a metric.
fn comment(line: &str) -> Option<(&str, &str, &str)> {
    let mut parts = line.strip_prefix("# ")?.splitn(3, ' ');
    Some((parts.next()?, parts.next()?, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_samples_and_nothing_else_changes() {
        let text = "# HELP a_seconds What a is.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total{b=\"#\"} 1.5\n\
                    # HELP build Which.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n\
                    # HELP h How long.\n# TYPE h histogram\nh_sum 0.0\nh_count 0\nh_bucket{le=\"+Inf\"} 0\n# EOF\n";
        let expected = "# HELP a_seconds_total What a is.\n# TYPE a_seconds_total counter\na_seconds_total{b=\"#\"} 1.5\n\
                        # HELP build_info Which.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n\
                        # HELP h How long.\n# TYPE h histogram\nh_sum 0.0\nh_count 0\nh_bucket{le=\"+Inf\"} 0\n";
        assert_eq!(of(text), expected);
    }
}
