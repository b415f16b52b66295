//! Plots of dots: a row for each cell, a dot for each broker, over a logarithmic axis.
//!
//! What always holds: who was measured in a row is in it, with a dot where it has a figure and with a cross in a column of
//! its own where it failed.

use super::canvas::{Axis, GRID, Palette, Tone, WIDTH, Words, cross, head, label, text};
use super::curves::{Dots, DotsRow};
use crate::floor;
use std::fmt::Write as _;

const ROW: f64 = 46.0;
/// Between two lines of a legend.
const LEGEND_LINE: f64 = 24.0;
/// Between two crosses, and how wide the column of them is.
const CROSS: f64 = 16.0;
const FAILED_WIDTH: f64 = 74.0;

/// The picture.
pub(super) fn svg(dots: &Dots, palette: &Palette) -> String {
    let names = names(dots);
    let has_failed = dots.rows.iter().any(|row| !row.failed.is_empty());
    let legend_bottom = legend_places(&names).last().map_or(68.0, |place| place.1);
    let (left, top) = (290.0, legend_bottom + 34.0);
    let right = if has_failed { WIDTH - 24.0 - FAILED_WIDTH } else { WIDTH - 30.0 };
    let bottom = top + ROW * dots.rows.len() as f64;
    let height = bottom + 54.0;
    let spreads = dots.rows.iter().flat_map(|row| row.brokers.iter().map(|one| one.1));
    let values: Vec<f64> = spreads.flat_map(|spread| [spread.min, spread.max]).collect();
    let x = Axis::over(values.iter().copied(), true, left, right);
    let mut out = head(height, &dots.title, &dots.conditions);
    for (name, place) in names.iter().zip(legend_places(&names)) {
        mark(&mut out, name, palette.colour(name), place);
        text(
            &mut out,
            (place.0 + 13.0, place.1 + 4.0),
            Words { anchor: "start", tone: Tone::Strong, text: words(name) },
        );
    }
    for tick in x.ticks() {
        let at = x.at(tick);
        let _ = writeln!(out, r#"<path d="M{at:.1} {top}V{bottom}" stroke="{GRID}"/>"#);
        text(&mut out, (at, bottom + 18.0), Words { anchor: "middle", tone: Tone::Faint, text: &label(tick) });
    }
    if has_failed {
        text(&mut out, (right + 20.0, top - 8.0), Words { anchor: "start", tone: Tone::Faint, text: "failed" });
    }
    for (at, row) in dots.rows.iter().enumerate() {
        let middle = top + ROW * (at as f64 + 0.5);
        if at > 0 {
            let edge = middle - ROW / 2.0;
            let _ = writeln!(out, r#"<path d="M16 {edge:.1}H{:.1}" stroke="{GRID}"/>"#, WIDTH - 16.0);
        }
        draw_row(&mut out, row, palette, (&x, middle));
    }
    text(
        &mut out,
        (f64::midpoint(left, right), height - 12.0),
        Words { anchor: "middle", tone: Tone::Strong, text: &dots.x_label },
    );
    out + "</svg>\n"
}

fn draw_row(out: &mut String, row: &DotsRow, palette: &Palette, (x, middle): (&Axis, f64)) {
    let (first, second) = two_lines(&row.title);
    text(
        out,
        (16.0, middle + if second.is_empty() { 4.0 } else { -4.0 }),
        Words { anchor: "start", tone: Tone::Strong, text: first },
    );
    text(out, (16.0, middle + 13.0), Words { anchor: "start", tone: Tone::Faint, text: second });
    let medians: Vec<(&str, f64)> = row.brokers.iter().map(|(name, one)| (name.as_str(), x.at(one.median))).collect();
    let mut order: Vec<_> = row.brokers.iter().zip(shifts(&medians)).collect();
    // dunlin last, so that it lies on top; the floor's stroke below all.
    order.sort_by_key(|((name, _), _)| (name == "dunlin", name != floor::NAME));
    for ((name, spread), shift) in order {
        let (colour, y) = (palette.colour(name), middle + shift);
        let (low, high, place) = (x.at(spread.min), x.at(spread.max), x.at(spread.median));
        let _ = writeln!(
            out,
            r#"<path d="M{low:.1} {y:.1}H{high:.1}" stroke="{colour}" stroke-width="2.5" opacity="0.55"/>"#
        );
        mark(out, name, colour, (place, y));
    }
    for (at, (name, why)) in row.failed.iter().enumerate() {
        let place = (x.to + 20.0 + CROSS * at as f64, middle - 4.5);
        cross(out, place, palette.colour(name), &format!("{name} failed: {why}"));
    }
}

/// How far each dot stands above or below its row's middle, so that they can be told apart. dunlin comes first and stays in the
/// middle; the floor is no dot.
fn shifts(medians: &[(&str, f64)]) -> Vec<f64> {
    const APART: f64 = 11.0;
    let mut placed: Vec<(f64, f64)> = Vec::new();
    let shift = |(name, x): &(&str, f64)| {
        if *name == floor::NAME {
            return 0.0;
        }
        let is_free = |y: f64| placed.iter().all(|other| (other.0 - x).hypot(other.1 - y) >= APART);
        let y = [0.0, -9.0, 9.0, -15.0, 15.0].into_iter().find(|y| is_free(*y)).unwrap_or_default();
        placed.push((*x, y));
        y
    };
    medians.iter().map(shift).collect()
}

/// A dot; the floor is a stroke, because it is no broker.
fn mark(out: &mut String, name: &str, colour: &str, (x, y): (f64, f64)) {
    let _ = match name {
        floor::NAME => {
            writeln!(out, r#"<path d="M{x:.1} {:.1}V{:.1}" stroke="{colour}" stroke-width="2.5"/>"#, y - 11.0, y + 11.0)
        }
        "dunlin" => {
            writeln!(
                out,
                r#"<circle cx="{x:.1}" cy="{y:.1}" r="8" fill="{colour}" stroke="white" stroke-width="1.5"/>"#
            )
        }
        _ => writeln!(out, r#"<circle cx="{x:.1}" cy="{y:.1}" r="5.5" fill="{colour}" stroke="white"/>"#),
    };
}

/// Everybody who is in some row, in the order of appearance.
fn names(dots: &Dots) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for row in &dots.rows {
        for name in row.brokers.iter().map(|one| &one.0).chain(row.failed.iter().map(|one| &one.0)) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    // The floor is no broker: it comes last.
    names.sort_by_key(|name| *name == floor::NAME);
    names
}

/// A name in the legend.
fn words(name: &str) -> &str {
    if name == floor::NAME { "bare relay, no broker: passes the same bytes on" } else { name }
}

/// Where the legend's marks stand: in as many lines as the names need.
fn legend_places(names: &[&str]) -> Vec<(f64, f64)> {
    const FIRST: (f64, f64) = (24.0, 68.0);
    let (mut x, mut y) = FIRST;
    let place = |name: &&str| {
        let width = 40.0 + 7.6 * words(name).len() as f64;
        if x + width > WIDTH {
            (x, y) = (FIRST.0, y + LEGEND_LINE);
        }
        let place = (x, y);
        x += width;
        place
    };
    names.iter().map(place).collect()
}

/// A title's beginning, and what follows its first comma.
fn two_lines(title: &str) -> (&str, &str) {
    // "1 to 1,000" and "100,000 filters" have commas that separate digits.
    title.split_once(", ").unwrap_or((title, ""))
}

#[cfg(test)]
mod tests {
    use super::super::canvas::coordinates;
    use super::*;
    use crate::stats::Spread;

    fn drawn(rows: Vec<DotsRow>) -> String {
        let word = |text: &str| text.to_owned();
        let dots = Dots { title: word("t"), conditions: word("c"), x_label: word("x"), rows };
        let palette = Palette::new(names(&dots).into_iter().map(str::to_owned));
        svg(&dots, &palette)
    }

    fn row(brokers: &[&str], failed: &[&str]) -> DotsRow {
        let spread = Spread { median: 2.0, min: 1.0, max: 3.0, rounds: 3 };
        DotsRow {
            title: "a cell, of a kind".to_owned(),
            brokers: brokers.iter().map(|name| ((*name).to_owned(), spread)).collect(),
            failed: failed.iter().map(|name| ((*name).to_owned(), "7 lost".to_owned())).collect(),
        }
    }

    #[test]
    fn a_legend_of_many_brokers_takes_the_lines_that_it_needs() {
        let brokers = [&crate::broker::BUILT_IN[..], &["flashmq", "nanomq", "vernemq", "relay"]].concat();
        for count in 1..=brokers.len() {
            let svg = drawn(vec![row(&brokers[..count], &[])]);
            for name in &brokers[..count] {
                let (before, _) = svg.split_once(&format!(">{}</text>", words(name))).expect("it is in the legend");
                let tag = before.rsplit_once('<').expect("text has a tag").1;
                let x = coordinates(tag, "x")[0];
                assert!(x + 7.6 * words(name).len() as f64 <= WIDTH, "{name} of {count} begins at {x}");
            }
            let height = coordinates(&svg, "height")[0];
            assert!(coordinates(&svg, "cy").iter().all(|y| *y < height - 54.0), "{count}: {svg}");
        }
    }

    #[test]
    fn three_dots_at_one_value_can_be_told_apart() {
        let svg = drawn(vec![row(&["dunlin", "mosquitto", "nats"], &[])]);
        let of_row = |attribute| coordinates(&svg, attribute).into_iter().skip(3).collect::<Vec<f64>>();
        let places: Vec<(f64, f64)> = of_row("cx").into_iter().zip(of_row("cy")).collect();
        assert_eq!(places.len(), 3, "{svg}");
        for (at, one) in places.iter().enumerate() {
            let rest = &places[at + 1..];
            assert!(rest.iter().all(|other| (one.0 - other.0).hypot(one.1 - other.1) > 8.0), "{places:?}");
        }
    }

    #[test]
    fn a_broker_that_failed_in_a_row_has_a_cross_and_no_dot_there() {
        let svg = drawn(vec![row(&["dunlin", "mosquitto"], &["nats"]), row(&["dunlin"], &["nats", "mosquitto"])]);
        for (name, crosses) in [("nats", 2), ("mosquitto", 1), ("dunlin", 0)] {
            assert_eq!(svg.matches(&format!("<title>{name} failed: 7 lost</title>")).count(), crosses, "{name}");
            assert!(svg.contains(&format!(">{name}</text>")), "{name} is in the legend");
        }
        assert_eq!(svg.matches("<circle").count(), 3 + 3, "a dot for each figure, and one each in the legend");
        assert!(!drawn(vec![row(&["dunlin"], &[])]).contains(">failed<"), "no column for nobody");
    }
}
