//! What both kinds of plots are drawn with: paper, words, axes and colours, as SVG by hand. It is less code than a library
//! would need calls.
//!
//! What always holds: dunlin has its own colour and the heavier stroke everywhere, no two names share a colour in one plot,
//! a broker has the same colour in all plots of one summary, and the picture is readable on white and on black paper.

use super::tables::number;
use crate::broker::BUILT_IN;
use crate::floor;
use std::fmt::Write as _;

pub(super) const WIDTH: f64 = 760.0;
const FONT: &str = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif";
pub(super) const INK: &str = "#1f2933";
pub(super) const FAINT: &str = "#52606d";
pub(super) const GRID: &str = "#e1e6eb";

/// Of the brokers that the harness knows, in their order. Told apart by people who confuse red and green, too.
const OWN: [&str; BUILT_IN.len()] = [
    "#d1350f", "#0072b2", "#5b3a00", "#6a3d9a", "#8a8f98", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0a08c",
    "#7b1e3a",
];
/// Of those that come by a script of their own, and of lines that are no brokers: the first ones.
const OTHERS: [&str; 6] = ["#a16207", "#4d7c0f", "#0f4c5c", "#8c510a", "#b5179e", "#3f3f46"];

/// Who has which colour.
#[derive(Clone, Debug, Default)]
pub(super) struct Palette {
    /// Neither brokers of the registry nor the floor, with their colours.
    others: Vec<(String, String)>,
}

impl Palette {
    /// For these names.
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let is_other = |name: &String| !BUILT_IN.contains(&name.as_str()) && name != floor::NAME;
        let mut others: Vec<(String, String)> = Vec::new();
        for name in names.into_iter().filter(is_other) {
            if !others.iter().any(|(known, _)| *known == name) {
                let colour = other_colour(others.len());
                others.push((name, colour));
            }
        }
        Self { others }
    }

    /// Of a name that it was made for.
    pub(super) fn colour(&self, name: &str) -> &str {
        if name == floor::NAME {
            return INK;
        }
        if let Some(at) = BUILT_IN.iter().position(|known| *known == name) {
            return OWN[at];
        }
        self.others.iter().find(|(known, _)| known == name).map_or(FAINT, |(_, colour)| colour)
    }
}

/// Chosen ones first, then as many as there may be: hues that lie a golden angle apart, each third a shade darker.
fn other_colour(at: usize) -> String {
    const GOLDEN_ANGLE: f64 = 137.508;
    let Some(further) = at.checked_sub(OTHERS.len()) else { return OTHERS[at].to_owned() };
    let hue = (20.0 + GOLDEN_ANGLE * further as f64) % 360.0;
    format!("hsl({hue:.0} 70% {}%)", 28 + 8 * (further % 3))
}

/// An axis: from values to places.
pub(super) struct Axis {
    log: bool,
    pub low: f64,
    pub high: f64,
    from: f64,
    pub to: f64,
}

impl Axis {
    /// Wide enough for the values; a linear one begins at zero.
    pub(super) fn over(values: impl Iterator<Item = f64> + Clone, log: bool, from: f64, to: f64) -> Self {
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

    /// The place of a value.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + (self.to - self.from) * share
    }

    /// Values that get a line and a number.
    pub(super) fn ticks(&self) -> Vec<f64> {
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

/// The paper, with what is shown and under which conditions.
pub(super) fn head(height: f64, title: &str, conditions: &str) -> String {
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="{FONT}" role="img">
<title>{0}</title>
<rect width="{WIDTH}" height="{height}" rx="8" fill="white"/>
<text x="16" y="24" fill="{INK}" font-size="15" font-weight="600">{0}</text>
"#,
        escaped(title)
    );
    out.reserve(8 << 10);
    text(&mut out, (16.0, 42.0), Words { anchor: "start", tone: Tone::Faint, text: conditions });
    out
}

/// How words look.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tone {
    /// What is to be read first.
    Strong,
    /// Scales and conditions.
    Faint,
}

/// What is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'a> {
    /// SVG's: which end of them is at the place.
    pub(super) anchor: &'a str,
    pub(super) tone: Tone,
    pub(super) text: &'a str,
}

/// Words at a place; none, and nothing is drawn.
pub(super) fn text(out: &mut String, (x, y): (f64, f64), Words { anchor, tone, text }: Words<'_>) {
    if !text.is_empty() {
        let (colour, size) = match tone {
            Tone::Strong => (INK, 13),
            Tone::Faint => (FAINT, 12),
        };
        let words = escaped(text);
        let _ = writeln!(
            out,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{words}</text>"#
        );
    }
}

/// A small cross, from its upper left corner: something failed here. The words are shown to whoever points at it.
pub(super) fn cross(out: &mut String, (x, y): (f64, f64), colour: &str, words: &str) {
    let words = escaped(words);
    let _ = writeln!(
        out,
        r#"<path d="M{x:.1} {y:.1}l9 9m0 -9l-9 9" stroke="{colour}" stroke-width="2.5"><title>{words}</title></path>"#
    );
}

/// An axis's number, short.
pub(super) fn label(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value >= 1e6 => format!("{}M", (value / 1e6 * 10.0).round() / 10.0),
        value if value >= 1e3 => number((value * 10.0).round() / 10.0),
        value => format!("{}", (value * 1e4).round() / 1e4),
    }
}

/// For the inside of an element.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// All numbers that an attribute of this name holds.
#[cfg(test)]
pub(super) fn coordinates(svg: &str, attribute: &str) -> Vec<f64> {
    let open = format!(" {attribute}=\"");
    svg.split(&open).skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_names_of_a_plot_share_a_colour() {
        let added = ["emqx", "nanomq", "vernemq", "exact (1 hit)", "+ only (4 hits)", "# only (1 hit)"];
        let palette = Palette::new(added.map(str::to_owned));
        let all: Vec<&str> = BUILT_IN.iter().chain(&added).chain(&[floor::NAME]).copied().collect();
        let colours: HashSet<&str> = all.iter().map(|name| palette.colour(name)).collect();
        assert_eq!(colours.len(), all.len());
        let many: Vec<String> = (0..40).map(|number| format!("broker {number}")).collect();
        let crowded = Palette::new(many.clone());
        let colours: HashSet<&str> = many.iter().map(|name| crowded.colour(name)).collect();
        assert_eq!(colours.len(), many.len(), "however many there are");
        let fewer = Palette::new(["dunlin".to_owned(), "emqx".to_owned()]);
        assert_eq!(fewer.colour("dunlin"), palette.colour("dunlin"), "whoever else is there");
        assert_eq!(fewer.colour("emqx"), palette.colour("emqx"), "the first that was added");
    }

    #[test]
    fn ticks_are_round_and_cover_what_is_shown() {
        let axis = Axis::over([0.7, 60.0].into_iter(), true, 0.0, 100.0);
        assert_eq!(axis.ticks(), [0.1, 1.0, 10.0, 100.0]);
        let axis = Axis::over([3.0, 13.9].into_iter(), false, 0.0, 100.0);
        assert_eq!((axis.ticks(), axis.at(15.0)), (vec![0.0, 5.0, 10.0, 15.0], 100.0));
    }
}
