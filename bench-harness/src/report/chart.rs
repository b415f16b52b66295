//! Plots as SVG, by hand: two kinds, both small enough that a library would be more code than they are.
//!
//! What always holds: dunlin has its own colour and the heavier stroke everywhere, a broker has the same colour in every
//! plot, each line is named at its end instead of in a legend, and the picture is readable on white and on black paper.

use super::curves::{Curve, Dots, Line};
use super::tables::number;
use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const FONT: &str = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif";
const INK: &str = "#1f2933";
const FAINT: &str = "#52606d";
const GRID: &str = "#e1e6eb";
/// Between two lines of a legend.
const LEGEND_LINE: f64 = 24.0;

/// The same for a broker everywhere. Told apart by people who confuse red and green, too.
fn colour(name: &str) -> &'static str {
    // Those that come by a script of their own.
    const OTHERS: [&str; 4] = ["#7a5195", "#a6761d", "#4d7c0f", "#0e7490"];
    match name {
        "dunlin" => "#d1350f",
        "mosquitto" => "#0072b2",
        "nats" => "#8a8f98",
        "rumqttd" => "#009e73",
        "rmqttd" => "#cc79a7",
        "aedes" => "#e69f00",
        "rabbitmq" => "#56b4e9",
        "relay" => "#1f2933",
        _ => OTHERS[name.bytes().map(usize::from).sum::<usize>() % OTHERS.len()],
    }
}

/// An axis: from values to places.
struct Axis {
    log: bool,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, log: bool, from: f64, to: f64) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if log {
            (10_f64.powf(least.max(1e-9).log10().floor()), 10_f64.powf(most.max(1e-9).log10().ceil()))
        } else {
            let step = step(most);
            (0.0, (most / step).ceil().max(1.0) * step)
        };
        let high = if high > low { high } else { low * 10.0 + 1.0 };
        Self { log, low, high, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + (self.to - self.from) * share
    }

    /// Values that get a line and a number.
    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let decades = (self.high / self.low).log10().round() as i32;
            let tick = |decade: i32, factor: f64| self.low * 10_f64.powi(decade) * factor;
            let factors: &[f64] = if decades <= 1 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let inner = (0..decades).flat_map(|decade| factors.iter().map(move |factor| tick(decade, *factor)));
            return inner.chain([self.high]).collect();
        }
        let step = step(self.high);
        (0..=(self.high / step).round() as u32).map(|count| f64::from(count) * step).collect()
    }
}

/// 1, 2 or 5 times a power of ten, so that four to eight steps make `most`.
fn step(most: f64) -> f64 {
    let raw = most.max(1e-9) / 5.0;
    let power = 10_f64.powf(raw.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= raw).unwrap_or(raw)
}

/// Lines.
pub fn svg(curve: &Curve) -> String {
    const HEIGHT: f64 = 400.0;
    let (left, right, top, bottom) = (76.0, WIDTH - 205.0, 52.0, HEIGHT - 54.0);
    let points = || curve.lines.iter().flat_map(|line| &line.points);
    // A few whole numbers need no axis from zero, but room at both ends.
    let mut x = Axis::over(points().map(|point| point.0), curve.log.0, left, right);
    if !curve.log.0 {
        (x.low, x.high) = (0.5, points().map(|point| point.0).fold(0.0, f64::max) + 0.5);
    }
    let y = Axis::over(points().flat_map(|point| [point.1.min, point.1.max]), curve.log.1, bottom, top);
    let mut out = head(HEIGHT, &curve.title);
    for tick in y.ticks() {
        let at = y.at(tick);
        let _ = writeln!(out, r#"<path d="M{left} {at:.1}H{right}" stroke="{GRID}"/>"#);
        text(&mut out, left - 8.0, at + 4.0, "end", FAINT, 12, &label(tick));
    }
    let mut xs: Vec<f64> = if curve.log.0 { x.ticks() } else { points().map(|point| point.0).collect() };
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    for tick in xs {
        let at = x.at(tick);
        let _ = writeln!(out, r#"<path d="M{at:.1} {bottom}v5" stroke="{FAINT}"/>"#);
        text(&mut out, at, bottom + 20.0, "middle", FAINT, 12, &label(tick));
    }
    let _ = writeln!(out, r#"<path d="M{left} {bottom}H{right}" stroke="{FAINT}"/>"#);
    text(&mut out, f64::midpoint(left, right), HEIGHT - 12.0, "middle", INK, 13, &curve.x_label);
    text(&mut out, 16.0, 43.0, "start", INK, 13, &curve.y_label);
    // dunlin last, so that it lies on top.
    let mut order: Vec<&Line> = curve.lines.iter().collect();
    order.sort_by_key(|line| line.name == "dunlin");
    for line in order {
        draw_line(&mut out, line, colour(&line.name), &x, &y);
    }
    name_lines(&mut out, curve, &x, &y);
    out + "</svg>\n"
}

fn draw_line(out: &mut String, line: &Line, colour: &str, x: &Axis, y: &Axis) {
    let width = if line.name == "dunlin" { 3.0 } else { 1.8 };
    let mut path = String::new();
    for (at, (value, spread)) in line.points.iter().enumerate() {
        let _ = write!(path, "{}{:.1} {:.1}", if at == 0 { 'M' } else { 'L' }, x.at(*value), y.at(spread.median));
    }
    let _ = writeln!(
        out,
        r#"<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"/>"#
    );
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

/// Each name beside the last point of its line, moved apart where they would overlap.
fn name_lines(out: &mut String, curve: &Curve, x: &Axis, y: &Axis) {
    const ROOM: f64 = 16.0;
    let mut names: Vec<(f64, f64, &Line)> = Vec::new();
    for line in &curve.lines {
        if let Some((value, spread)) = line.points.last() {
            names.push((y.at(spread.median), x.at(*value), line));
        }
    }
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut lowest = f64::NEG_INFINITY;
    let right = x.to + 14.0;
    for (at, end, line) in names {
        let place = at.max(lowest + ROOM);
        lowest = place;
        let colour = colour(&line.name);
        let _ = writeln!(
            out,
            r#"<path d="M{:.1} {at:.1}L{:.1} {place:.1}" stroke="{colour}" stroke-width="0.8" stroke-dasharray="2 3"/>"#,
            end + 5.0,
            right - 3.0
        );
        let weight = if line.name == "dunlin" { "700" } else { "400" };
        let _ = writeln!(
            out,
            r#"<text x="{right:.1}" y="{:.1}" fill="{colour}" font-size="13" font-weight="{weight}">{}</text>"#,
            place + 4.0,
            escaped(&line.name)
        );
    }
}

/// Rows of dots over a logarithmic axis.
pub fn dots(dots: &Dots) -> String {
    const ROW: f64 = 46.0;
    let names = names(dots);
    let legend_bottom = legend_places(&names).last().map_or(62.0, |place| place.1);
    let (left, right, top) = (290.0, WIDTH - 30.0, legend_bottom + 30.0);
    let bottom = top + ROW * dots.rows.len() as f64;
    let height = bottom + 54.0;
    let spreads = dots.rows.iter().flat_map(|row| row.1.iter().map(|one| one.1));
    let values: Vec<f64> = spreads.flat_map(|spread| [spread.min, spread.max]).collect();
    let x = Axis::over(values.iter().copied(), true, left, right);
    let mut out = head(height, &dots.title);
    legend(&mut out, &names);
    for tick in x.ticks() {
        let at = x.at(tick);
        let _ = writeln!(out, r#"<path d="M{at:.1} {top}V{bottom}" stroke="{GRID}"/>"#);
        text(&mut out, at, bottom + 18.0, "middle", FAINT, 12, &label(tick));
    }
    for (at, (title, brokers)) in dots.rows.iter().enumerate() {
        let middle = top + ROW * (at as f64 + 0.5);
        if at > 0 {
            let edge = middle - ROW / 2.0;
            let _ = writeln!(out, r#"<path d="M16 {edge:.1}H{right}" stroke="{GRID}"/>"#);
        }
        let (first, second) = two_lines(title);
        text(&mut out, 16.0, middle + if second.is_empty() { 4.0 } else { -4.0 }, "start", INK, 13, first);
        text(&mut out, 16.0, middle + 13.0, "start", FAINT, 12, second);
        let mut order: Vec<&(String, crate::stats::Spread)> = brokers.iter().collect();
        order.sort_by_key(|one| one.0 == "dunlin");
        for (name, spread) in order {
            let colour = colour(name);
            let (low, high, place) = (x.at(spread.min), x.at(spread.max), x.at(spread.median));
            let _ = writeln!(
                out,
                r#"<path d="M{low:.1} {middle:.1}H{high:.1}" stroke="{colour}" stroke-width="2.5" opacity="0.55"/>"#
            );
            mark(&mut out, name, colour, place, middle);
        }
    }
    text(&mut out, f64::midpoint(left, right), height - 12.0, "middle", INK, 13, &dots.x_label);
    out + "</svg>\n"
}

/// A dot; the floor is a stroke, because it is no broker.
fn mark(out: &mut String, name: &str, colour: &str, x: f64, y: f64) {
    let _ = match name {
        "relay" => {
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

/// Everybody who has a dot somewhere, in the order of appearance.
fn names(dots: &Dots) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in dots.rows.iter().flat_map(|row| &row.1) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

fn legend(out: &mut String, names: &[&str]) {
    for (name, (x, y)) in names.iter().zip(legend_places(names)) {
        mark(out, name, colour(name), x, y);
        text(out, x + 13.0, y + 4.0, "start", INK, 13, name);
    }
}

/// Where the legend's marks stand: in as many lines as the names need.
fn legend_places(names: &[&str]) -> Vec<(f64, f64)> {
    const FIRST: (f64, f64) = (24.0, 62.0);
    let (mut x, mut y) = FIRST;
    let place = |name: &&str| {
        let width = 40.0 + 7.6 * name.len() as f64;
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

fn head(height: f64, title: &str) -> String {
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="{FONT}" role="img">
<title>{0}</title>
<rect width="{WIDTH}" height="{height}" rx="8" fill="white"/>
<text x="16" y="24" fill="{INK}" font-size="15" font-weight="600">{0}</text>
"#,
        escaped(title)
    );
    out.reserve(8 << 10);
    out
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, colour: &str, size: u32, words: &str) {
    if !words.is_empty() {
        let words = escaped(words);
        let _ = writeln!(
            out,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{words}</text>"#
        );
    }
}

/// An axis's number, short.
fn label(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value >= 1e6 => format!("{}M", (value / 1e6 * 10.0).round() / 10.0),
        value if value >= 1e3 => number((value * 10.0).round() / 10.0),
        value => format!("{}", (value * 1e4).round() / 1e4),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Spread;

    fn curve(log: (bool, bool)) -> Curve {
        let spread = |median: f64| Spread { median, min: median * 0.9, max: median * 1.2, rounds: 3 };
        let line = |name: &str, factor: f64| Line {
            name: name.to_owned(),
            points: [1e3, 1e4, 1e5].map(|x| (x, spread(x / 1e3 * factor))).to_vec(),
        };
        Curve {
            name: "x".to_owned(),
            title: "a < b & c".to_owned(),
            x_label: "x".to_owned(),
            y_label: "y".to_owned(),
            log,
            lines: vec![line("dunlin", 1.0), line("mosquitto", 3.0)],
        }
    }

    /// All numbers that an attribute of this name holds.
    fn coordinates(svg: &str, attribute: &str) -> Vec<f64> {
        let open = format!(" {attribute}=\"");
        svg.split(&open).skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok()).collect()
    }

    #[test]
    fn everything_lies_within_the_picture_whatever_the_axes() {
        for log in [(true, true), (true, false), (false, true), (false, false)] {
            let svg = svg(&curve(log));
            assert_eq!(svg.matches("<circle").count(), 6);
            assert!(svg.contains("a &lt; b &amp; c") && svg.trim_end().ends_with("</svg>"));
            for (attribute, most) in [("cx", WIDTH), ("cy", 400.0), ("x", WIDTH), ("y", 400.0)] {
                let found = coordinates(&svg, attribute);
                assert!(
                    !found.is_empty() && found.iter().all(|at| (0.0..=most).contains(at)),
                    "{log:?} {attribute} {found:?}"
                );
            }
        }
    }

    #[test]
    fn a_legend_of_many_brokers_takes_the_lines_that_it_needs() {
        let brokers = [&crate::broker::BUILT_IN[..], &["flashmq", "nanomq", "vernemq", "relay"]].concat();
        for count in 1..=brokers.len() {
            let spread = Spread { median: 2.0, min: 1.0, max: 3.0, rounds: 3 };
            let row = brokers[..count].iter().map(|name| ((*name).to_owned(), spread)).collect();
            let rows = vec![("a cell, of a kind".to_owned(), row)];
            let svg = dots(&Dots { title: "t".to_owned(), x_label: "x".to_owned(), rows });
            for name in &brokers[..count] {
                let (before, _) = svg.split_once(&format!(">{name}</text>")).expect("it is in the legend");
                let tag = before.rsplit_once('<').expect("text has a tag").1;
                let x = coordinates(tag, "x")[0];
                assert!(x + 7.6 * name.len() as f64 <= WIDTH, "{name} of {count} begins at {x}");
            }
            let height = coordinates(&svg, "height")[0];
            assert!(coordinates(&svg, "cy").iter().all(|y| *y < height - 54.0), "{count}: {svg}");
        }
    }

    #[test]
    fn a_broker_has_one_colour_in_all_plots() {
        let mut both = curve((true, true));
        both.lines[1].name = "flashmq".to_owned();
        let alone = Curve { lines: both.lines.split_off(1), ..curve((true, true)) };
        both.lines.extend(alone.lines.clone());
        let expected = colour("flashmq");
        for curve in [both, alone] {
            assert!(svg(&curve).contains(&format!(r#"fill="{expected}" font-size="13" font-weight="400">flashmq<"#)));
        }
        assert_eq!(crate::broker::BUILT_IN.map(colour).iter().collect::<std::collections::HashSet<_>>().len(), 7);
    }

    #[test]
    fn ticks_are_round_and_cover_what_is_shown() {
        let axis = Axis::over([0.7, 60.0].into_iter(), true, 0.0, 100.0);
        assert_eq!(axis.ticks(), [0.1, 1.0, 10.0, 100.0]);
        let axis = Axis::over([3.0, 13.9].into_iter(), false, 0.0, 100.0);
        assert_eq!((axis.ticks(), axis.at(15.0)), (vec![0.0, 5.0, 10.0, 15.0], 100.0));
    }
}
