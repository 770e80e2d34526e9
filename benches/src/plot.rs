//! A bar plot for each scenario, for light and dark pages alike.

use std::fs;
use std::io;
use std::path::Path;

use svg::Document;
use svg::node::element::{Rectangle, Style, Text, Title};

use crate::metric::{Better, rounded};
use crate::round::{Outcome, Row};

const WIDTH: f64 = 760.0;
const LABELS: f64 = 220.0;
/// For the figure to the right of its bar.
const FIGURES: f64 = 170.0;
const TOP: f64 = 58.0;
const LINE: f64 = 30.0;
const BAR: f64 = 18.0;

/// Where the greatest is this many times the least, bars of equal steps would hide the least.
const LOG_FROM: f64 = 12.0;

const STYLE: &str = "
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.quiet { fill: #656d76 }
.ours { fill: #1f6feb }
.floor { fill: #8c959f }
.peer { fill: #d0a215 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .quiet { fill: #9198a1 }
  .ours { fill: #4493f8 }
  .floor { fill: #6e7681 }
  .peer { fill: #bb8a0a }
}";

/// Writes `NAME.svg` for a scenario into `directory`.
pub fn write(outcome: &Outcome, directory: &Path) -> io::Result<()> {
    let Some(metric) = outcome.rows.first().map(|row| row.metric) else { return Ok(()) };
    let rows: Vec<_> = outcome.rows.iter().filter(|row| row.metric == metric).collect();
    fs::create_dir_all(directory)?;
    svg::save(directory.join(outcome.name).with_extension("svg"), &draw(outcome, &rows))
}

fn draw(outcome: &Outcome, rows: &[&Row]) -> Document {
    let height = TOP + LINE * rows.len() as f64 + 8.0;
    let scale = Scale::of(rows);
    let mut document = Document::new()
        .set("viewBox", (0.0, 0.0, WIDTH, height))
        .set("width", WIDTH)
        .set("role", "img")
        .add(Title::new(outcome.about))
        .add(Style::new(STYLE))
        .add(text(outcome.about, 8.0, 22.0, "title"))
        .add(text(&caption(rows, &scale), 8.0, 42.0, "quiet"));
    for (place, row) in rows.iter().enumerate() {
        let y = TOP + LINE * place as f64;
        let length = scale.length(row.value);
        let bar = Rectangle::new()
            .set("x", LABELS)
            .set("y", y)
            .set("width", format!("{length:.1}"))
            .set("height", BAR)
            .set("rx", 2)
            .set("class", class(row));
        document = document
            .add(text(row.subject, LABELS - 10.0, y + 14.0, "label").set("text-anchor", "end"))
            .add(bar)
            .add(text(&figure(row), LABELS + length + 8.0, y + 14.0, "quiet"));
    }
    document
}

fn caption(rows: &[&Row], scale: &Scale) -> String {
    let Some(row) = rows.first() else { return String::new() };
    let better = match row.metric.better() {
        Better::Less => "less is better",
        Better::More => "more is better",
    };
    let logarithmic = if scale.logarithmic { "; logarithmic" } else { "" };
    format!("{}; {better}{logarithmic}", row.metric.title())
}

fn figure(row: &Row) -> String {
    let value = row.metric.show(row.value);
    if row.subject == row.reference {
        value
    } else {
        format!("{value} · {}×", rounded(row.ratio))
    }
}

fn class(row: &Row) -> &'static str {
    if row.subject.starts_with("floor") {
        "floor"
    } else if row.subject.starts_with("lock-") || row.subject.ends_with(" lock") {
        "ours"
    } else {
        "peer"
    }
}

fn text(content: &str, x: f64, y: f64, class: &str) -> Text {
    Text::new(content).set("x", format!("{x:.1}")).set("y", y).set("class", class)
}

/// How long a bar is.
struct Scale {
    logarithmic: bool,
    least: f64,
    most: f64,
}

impl Scale {
    fn of(rows: &[&Row]) -> Self {
        let values = || rows.iter().map(|row| row.value).filter(|value| *value > 0.0);
        let most = values().fold(f64::MIN_POSITIVE, f64::max);
        let least = values().fold(most, f64::min);
        // The least has a bar, too.
        Self { logarithmic: most / least > LOG_FROM, least: least / 2.0, most }
    }

    fn length(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value.max(self.least) / self.least).ln() / (self.most / self.least).ln()
        } else {
            value / self.most
        };
        (WIDTH - LABELS - FIGURES) * part
    }
}
