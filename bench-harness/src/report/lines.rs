//! Plots of lines: one for each broker, its name at its end.
//!
//! What always holds: a name stands where its line ends, so a line that ends early has its name there and not beside
//! another's last point, with the reason below it; a point that failed between others has a cross on the axis; who has no line at
//! all is named below the plot.

use super::canvas::{Axis, FAINT, GRID, Palette, Tone, WIDTH, Words, cross, escaped, head, label, text};
use super::curves::{Curve, Line};
use std::fmt::Write as _;

const HEIGHT: f64 = 404.0;
/// Between the baselines of two names, or of a name and its reason.
const ROOM: f64 = 15.0;
/// More than what a letter of a name takes, and one of a reason.
const LETTER: f64 = 7.5;
const SMALL_LETTER: f64 = 6.0;
/// Before the reason of a line that ends early.
const STOPS: &str = "stops: ";

/// A curve's picture.
pub(super) fn svg(curve: &Curve, palette: &Palette) -> String {
    let (left, right, top, bottom) = (76.0, WIDTH - 205.0, 74.0, HEIGHT - 66.0);
    let points = || curve.lines.iter().flat_map(|line| &line.points);
    // A few whole numbers need no axis from zero, but room at both ends.
    let mut x = Axis::over(points().map(|point| point.0), curve.log.0, left, right);
    if !curve.log.0 {
        (x.low, x.high) = (0.5, points().map(|point| point.0).fold(0.0, f64::max) + 0.5);
    }
    let y = Axis::over(points().flat_map(|point| [point.1.min, point.1.max]), curve.log.1, bottom, top);
    let mut out = head(HEIGHT, &curve.title, &curve.conditions);
    for tick in y.ticks() {
        let at = y.at(tick);
        let _ = writeln!(out, r#"<path d="M{left} {at:.1}H{right}" stroke="{GRID}"/>"#);
        text(&mut out, (left - 8.0, at + 4.0), Words { anchor: "end", tone: Tone::Faint, text: &label(tick) });
    }
    let mut xs: Vec<f64> = if curve.log.0 { x.ticks() } else { points().map(|point| point.0).collect() };
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    for tick in xs {
        let at = x.at(tick);
        let _ = writeln!(out, r#"<path d="M{at:.1} {bottom}v5" stroke="{FAINT}"/>"#);
        text(&mut out, (at, bottom + 20.0), Words { anchor: "middle", tone: Tone::Faint, text: &label(tick) });
    }
    let _ = writeln!(out, r#"<path d="M{left} {bottom}H{right}" stroke="{FAINT}"/>"#);
    text(
        &mut out,
        (f64::midpoint(left, right), bottom + 38.0),
        Words { anchor: "middle", tone: Tone::Strong, text: &curve.x_label },
    );
    text(&mut out, (16.0, 62.0), Words { anchor: "start", tone: Tone::Strong, text: &curve.y_label });
    if !curve.missing.is_empty() {
        let words = format!("\u{d7} failed, no line: {}", curve.missing.join(", "));
        text(&mut out, (16.0, HEIGHT - 9.0), Words { anchor: "start", tone: Tone::Faint, text: &words });
    }
    // dunlin last, so that it lies on top.
    let mut order: Vec<&Line> = curve.lines.iter().collect();
    order.sort_by_key(|line| line.name == "dunlin");
    for line in order {
        draw_line(&mut out, line, palette.colour(&line.name), (&x, &y));
    }
    for name in names(curve, &x, &y) {
        draw_name(&mut out, &name, palette.colour(&name.line.name));
    }
    out + "</svg>\n"
}

fn draw_line(out: &mut String, line: &Line, colour: &str, (x, y): (&Axis, &Axis)) {
    let width = if line.name == "dunlin" { 3.0 } else { 1.8 };
    let mut path = String::new();
    for (at, (value, spread)) in line.points.iter().enumerate() {
        let _ = write!(path, "{}{:.1} {:.1}", if at == 0 { 'M' } else { 'L' }, x.at(*value), y.at(spread.median));
    }
    let _ = writeln!(
        out,
        r#"<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"/>"#
    );
    for (value, why) in &line.gaps {
        cross(out, (x.at(*value) - 4.5, y.at(y.low) - 4.5), colour, &format!("{} failed: {why}", line.name));
    }
    for (value, spread) in &line.points {
        let (at, low, high) = (x.at(*value), y.at(spread.min), y.at(spread.max));
        let _ = writeln!(out, r#"<path d="M{at:.1} {low:.1}V{high:.1}" stroke="{colour}" stroke-width="1.2"/>"#);
        let _ = writeln!(
            out,
            r#"<circle cx="{at:.1}" cy="{:.1}" r="{}" fill="{colour}"/>"#,
            y.at(spread.median),
            width + 0.8
        );
    }
}

/// A line's name, and where it stands.
struct Name<'a> {
    line: &'a Line,
    /// Below the name; lines that end side by side for one reason say it once.
    reason: Option<&'a str>,
    /// The line's last point.
    end: (f64, f64),
    /// The name's beginning.
    place: (f64, f64),
}

impl Name<'_> {
    fn width(&self) -> f64 {
        let reason = self.reason.map_or(0.0, |reason| SMALL_LETTER * (STOPS.len() + reason.chars().count()) as f64);
        reason.max(LETTER * self.line.name.chars().count() as f64)
    }

    fn height(&self) -> f64 {
        if self.reason.is_some() { 2.0 * ROOM } else { ROOM }
    }

    /// Whether two of them would lie on each other.
    fn covers(&self, other: &Self) -> bool {
        let apart = |from: f64, size: f64, to: f64, its_size: f64| from + size <= to || to + its_size <= from;
        !apart(self.place.0, self.width(), other.place.0, other.width())
            && !apart(self.place.1, self.height(), other.place.1, other.height())
    }
}

/// Each name beside the last point of its line, from bottom to top, moved up where it would cover another.
fn names<'a>(curve: &'a Curve, x: &Axis, y: &Axis) -> Vec<Name<'a>> {
    let mut names: Vec<Name<'a>> = Vec::new();
    for line in &curve.lines {
        if let Some((value, spread)) = line.points.last() {
            let end = (x.at(*value), y.at(spread.median));
            names.push(Name { line, reason: line.ends.as_deref(), end, place: (end.0 + 10.0, end.1) });
        }
    }
    names.sort_by(|a, b| b.end.1.total_cmp(&a.end.1));
    for at in 1..names.len() {
        let (below, rest) = names.split_at_mut(at);
        let name = &mut rest[0];
        // Said once where two of them end side by side.
        let is_beside = |other: &Name<'_>| (other.end.0 - name.end.0).hypot(other.end.1 - name.end.1) < 2.0 * ROOM;
        if below.iter().any(|other| is_beside(other) && other.line.ends == name.line.ends) {
            name.reason = None;
        }
        while let Some(other) = below.iter().find(|other| other.covers(name)) {
            name.place.1 = other.place.1 - name.height();
        }
    }
    names
}

fn draw_name(out: &mut String, name: &Name<'_>, colour: &str) {
    let ((end_x, end_y), (x, y)) = (name.end, name.place);
    if (y - end_y).abs() > 1.0 {
        let _ = writeln!(
            out,
            r#"<path d="M{:.1} {end_y:.1}L{:.1} {y:.1}" stroke="{colour}" stroke-width="0.8" stroke-dasharray="2 3"/>"#,
            end_x + 4.0,
            x - 1.0
        );
    }
    let weight = if name.line.name == "dunlin" { 700 } else { 400 };
    words(out, (x, y + 4.0), &name.line.name, &format!(r#"fill="{colour}" font-size="13" font-weight="{weight}""#));
    if let Some(reason) = name.reason {
        words(out, (x, y + 3.0 + ROOM), &format!("{STOPS}{reason}"), &format!(r#"fill="{FAINT}" font-size="11""#));
    }
}

/// With a white edge, so that a line behind the words does not strike them through.
fn words(out: &mut String, (x, y): (f64, f64), words: &str, style: &str) {
    let words = escaped(words);
    for edge in [r#" stroke="white" stroke-width="4" stroke-linejoin="round" aria-hidden="true""#, ""] {
        let _ = writeln!(out, r#"<text x="{x:.1}" y="{y:.1}" {style}{edge}>{words}</text>"#);
    }
}

#[cfg(test)]
mod tests {
    use super::super::canvas::coordinates;
    use super::*;
    use crate::stats::Spread;

    fn line(name: &str, factor: f64, points: usize) -> Line {
        let spread = |median: f64| Spread { median, min: median * 0.9, max: median * 1.2, rounds: 3 };
        let points = [1e3, 1e4, 1e5].into_iter().take(points).map(|x| (x, spread(x / 1e3 * factor))).collect();
        Line { name: name.to_owned(), points, ends: None, gaps: Vec::new() }
    }

    /// With both axes logarithmic.
    fn curve(lines: Vec<Line>) -> Curve {
        let word = |text: &str| text.to_owned();
        Curve {
            name: word("x"),
            title: word("a < b & c"),
            conditions: word("on Monday"),
            x_label: word("x"),
            y_label: word("y"),
            log: (true, true),
            lines,
            missing: vec![word("nats (200 lost)")],
        }
    }

    fn drawn(curve: &Curve) -> String {
        svg(curve, &Palette::new(curve.lines.iter().map(|line| line.name.clone())))
    }

    #[test]
    fn everything_lies_within_the_picture_whatever_the_axes() {
        for log in [(true, true), (true, false), (false, true), (false, false)] {
            let svg = drawn(&Curve { log, ..curve(vec![line("dunlin", 1.0, 3), line("mosquitto", 3.0, 3)]) });
            assert_eq!(svg.matches("<circle").count(), 6);
            assert!(
                svg.contains("a &lt; b &amp; c") && svg.contains("on Monday") && svg.trim_end().ends_with("</svg>")
            );
            assert!(svg.contains("failed, no line: nats (200 lost)"), "{svg}");
            for (attribute, most) in [("cx", WIDTH), ("cy", HEIGHT), ("x", WIDTH), ("y", HEIGHT)] {
                let found = coordinates(&svg, attribute);
                assert!(
                    !found.is_empty() && found.iter().all(|at| (0.0..=most).contains(at)),
                    "{log:?} {attribute} {found:?}"
                );
            }
        }
    }

    /// Where the text of these words begins.
    fn place(svg: &str, words: &str) -> (f64, f64) {
        let (before, _) = svg.split_once(&format!(">{words}</text>")).unwrap_or_else(|| panic!("no {words}: {svg}"));
        let tag = before.rsplit_once('<').expect("text has a tag").1;
        (coordinates(tag, "x")[0], coordinates(tag, "y")[0])
    }

    #[test]
    fn a_line_that_ends_early_has_its_name_and_its_reason_there() {
        let mut early = line("mosquitto", 3.0, 2);
        early.ends = Some("too few open files".to_owned());
        let svg = drawn(&curve(vec![line("dunlin", 1.0, 3), early]));
        let ends: Vec<f64> = coordinates(&svg, "cx").into_iter().take(2).collect();
        let (name, reason) = (place(&svg, "mosquitto"), place(&svg, "stops: too few open files"));
        assert!((name.0 - ends[1]).abs() < 12.0, "{name:?} is not where the line ends, {ends:?}");
        assert!(reason.0.total_cmp(&name.0).is_eq() && reason.1 > name.1, "{reason:?} is not below {name:?}");
        assert!(place(&svg, "dunlin").0 > name.0 + 100.0, "dunlin goes on");
    }

    #[test]
    fn a_point_that_failed_between_others_has_a_cross_on_the_axis() {
        let mut broken = line("mosquitto", 3.0, 3);
        let (x, _) = broken.points.remove(1);
        broken.gaps.push((x, "2 lost".to_owned()));
        let svg = drawn(&curve(vec![line("dunlin", 1.0, 3), broken]));
        assert_eq!(svg.matches("<title>mosquitto failed: 2 lost</title>").count(), 1, "{svg}");
        assert_eq!(svg.matches("<circle").count(), 5);
    }

    #[test]
    fn lines_that_end_together_for_one_reason_say_it_once() {
        let early = |name: &str, factor: f64| Line { ends: Some("too few files".to_owned()), ..line(name, factor, 2) };
        let svg = drawn(&curve(vec![line("dunlin", 1.0, 3), early("nats", 3.0), early("mosquitto", 3.3)]));
        // Each word is drawn twice, once as its own white edge.
        assert_eq!(svg.matches(">stops: too few files<").count(), 2, "{svg}");
        assert!(place(&svg, "mosquitto").1 < place(&svg, "nats").1);
    }

    #[test]
    fn names_of_lines_that_end_together_do_not_cover_each_other() {
        let names = ["dunlin", "mosquitto", "nats", "flashmq"];
        let lines = names.iter().zip([1.0, 1.01, 1.02, 1.03]).map(|(name, factor)| line(name, factor, 3));
        let svg = drawn(&curve(lines.collect()));
        let mut places: Vec<f64> = names.map(|name| place(&svg, name).1).to_vec();
        places.sort_by(f64::total_cmp);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= ROOM - 0.2), "{places:?}");
    }
}
