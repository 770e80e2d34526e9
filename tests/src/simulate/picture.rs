//! A picture of one run, for light and dark pages alike: who asked, held and lost, and what went
//! wrong.

mod lives;

use std::time::Duration;

use svg::node::element::{Line, Rectangle, Style, Text, Title};
use svg::{Document, Node};

use self::lives::{Life, Place, lives};
use crate::trace::Moment;
use lock_proto::redis::Side;

const WIDTH: f64 = 980.0;
/// For the names of the lanes, and for how they end.
const LEFT: f64 = 164.0;
const RIGHT: f64 = 200.0;
const LANE: f64 = 22.0;
const BAR: f64 = 13.0;
/// Between the lanes of two clients.
const APART: f64 = 10.0;
/// One line of small text.
const ROW: f64 = 15.0;
/// What one letter of small text takes, at most.
const LETTER: f64 = 6.2;
/// Between two labels of the time axis.
const TICK: f64 = 58.0;
const COLOURS: usize = 5;

const STYLE: &str = "
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.quiet, .small { fill: #656d76 }
.small, .fault { font-size: 11px }
.fault { fill: #bc4c00 }
.wait { fill: #8c959f }
.axis { stroke: #8c959f; stroke-opacity: .35 }
.when { stroke: #bc4c00; stroke-opacity: .55; stroke-dasharray: 2 3 }
.broken { stroke: #cf222e; stroke-width: 2 }
.longer { stroke: #ffffff; stroke-width: 1.5 }
.late { fill-opacity: .3 }
.c0 { fill: #1f6feb } .c1 { fill: #bf8700 } .c2 { fill: #1a7f37 } .c3 { fill: #8250df }
.c4 { fill: #0f7b8a }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .quiet, .small { fill: #9198a1 }
  .fault { fill: #f0883e }
  .when { stroke: #f0883e }
  .broken { stroke: #ff7b72 }
  .longer { stroke: #0d1117 }
  .wait { fill: #6e7681 }
  .late { fill-opacity: .45 }
  .c0 { fill: #4493f8 } .c1 { fill: #d29922 } .c2 { fill: #3fb950 } .c3 { fill: #a371f7 }
  .c4 { fill: #39c5cf }
}";

/// Draws what happened in one run, as the text of an SVG file.
#[must_use]
pub fn draw(title: &str, moments: &[Moment]) -> String {
    let (lives, faults) = lives(moments);
    let scale = Scale::of(moments);
    let labels = Labels::of(&faults, &scale);
    let top = 50.0 + ROW * labels.rows as f64;
    let mut picture = Picture { document: Document::new(), scale, y: top + 4.0, prefix: 0 };
    picture.prefix = common_prefix(&lives);
    picture.document = Document::new()
        .set("width", WIDTH)
        .set("role", "img")
        .add(Title::new(title))
        .add(Style::new(STYLE))
        .add(text(title, 8.0, 22.0, "title"))
        .add(text(&picture.caption(&lives), 8.0, 41.0, "quiet"));
    let bottom = picture.bottom(&lives);
    picture.axis(bottom);
    for (x, row, fault) in &labels.labels {
        let y = top - ROW * *row as f64;
        picture.add(line((*x, y - 10.0), (*x, bottom), "when"));
        picture.add(text(fault, x + 4.0, y - 3.0, "fault"));
    }
    let mut client = None;
    for life in &lives {
        if client.is_some_and(|client| client != life.client) {
            picture.y += APART;
        }
        picture.life(life, client != Some(life.client));
        client = Some(life.client);
    }
    picture.legend(bottom + 38.0);
    let size = (0.0, 0.0, WIDTH, bottom + 50.0);
    format!("{}\n", picture.document.set("viewBox", size))
}

struct Picture {
    document: Document,
    scale: Scale,
    y: f64,
    /// How many digits all fences begin with alike.
    prefix: usize,
}

impl Picture {
    fn caption(&self, lives: &[Life]) -> String {
        let fences = match lives.iter().find_map(|life| life.fence) {
            Some(fence) if self.prefix > 0 => {
                format!("; … in a fence stands for {}", &fence.to_string()[..self.prefix])
            }
            Some(_) | None => String::new(),
        };
        format!("Time runs to the right, and long gaps are drawn shorter than they are{fences}.")
    }

    fn bottom(&self, lives: &[Life]) -> f64 {
        let changes = lives.windows(2).filter(|pair| pair[0].client != pair[1].client).count();
        self.y + LANE * lives.len() as f64 + APART * changes as f64
    }

    fn axis(&mut self, bottom: f64) {
        self.add(line((LEFT, bottom), (WIDTH - RIGHT, bottom), "axis"));
        let mut free_from = 0.0;
        for (at, x) in self.scale.new_times() {
            if x >= free_from {
                self.add(line((x, bottom), (x, bottom + 4.0), "axis"));
                let label = text(&shown(at), x, bottom + 16.0, "small");
                self.add(label.set("text-anchor", "middle"));
                free_from = x + TICK;
            }
        }
    }

    fn life(&mut self, life: &Life, is_first: bool) {
        let (top, colour) = (self.y + 4.0, format!("c{}", life.client % COLOURS));
        let baseline = top + 11.0;
        if is_first {
            let client = format!("client {}", life.client);
            self.add(text(&client, 8.0, baseline, "label"));
        }
        let wish = text(&wish(life), LEFT - 12.0, baseline, "small");
        self.add(wish.set("text-anchor", "end"));
        let last = life.closed.unwrap_or_else(|| self.scale.last());
        let ended = life.ended.unwrap_or(last);
        let waits_until = life.acquired.unwrap_or(ended);
        self.bar(life.asked, waits_until, 3.0, "wait");
        self.bar(ended, last, 3.0, &format!("{colour} late"));
        if let Some(acquired) = life.acquired {
            let (from, until) = (self.scale.x(acquired), self.scale.x(ended));
            let valid_until = life.valid_until.map(|until| self.scale.x_at(until));
            let valid_until = valid_until.map_or(until, |valid| valid.clamp(from, until));
            self.stretch(from, valid_until, BAR, &colour);
            if valid_until < until {
                self.stretch(valid_until, until, BAR, &format!("{colour} late"));
            }
        }
        for at in &life.extended {
            let x = self.scale.x(*at);
            self.add(line((x, top + 2.0), (x, top + BAR - 1.0), "longer"));
        }
        let mut x = self.scale.x(last);
        if life.broken {
            let at = self.scale.x(ended);
            self.cross(at, top + BAR / 2.0);
            x = x.max(at + 5.0);
        }
        self.add(text(&self.ending(life), x + 6.0, baseline, "small"));
        self.y += LANE;
    }

    fn ending(&self, life: &Life) -> String {
        let Some(fence) = life.fence else { return life.ending.clone() };
        let dots = if self.prefix > 0 { "…" } else { "" };
        format!("{dots}{} · {}", &fence.to_string()[self.prefix..], life.ending)
    }

    fn bar(&mut self, from: Place, until: Place, height: f64, class: &str) {
        if until > from {
            self.stretch(self.scale.x(from), self.scale.x(until), height, class);
        }
    }

    fn stretch(&mut self, x: f64, end: f64, height: f64, class: &str) {
        // Who holds for a moment is seen, too.
        let width = (end - x).max(2.0);
        let bar = Rectangle::new()
            .set("x", format!("{x:.1}"))
            .set("y", self.y + 4.0 + (BAR - height) / 2.0)
            .set("width", format!("{width:.1}"))
            .set("height", height)
            .set("rx", 2)
            .set("class", class);
        self.add(bar);
    }

    fn cross(&mut self, x: f64, y: f64) {
        self.add(line((x - 4.0, y - 4.0), (x + 4.0, y + 4.0), "broken"));
        self.add(line((x - 4.0, y + 4.0), (x + 4.0, y - 4.0), "broken"));
    }

    /// What the marks mean.
    fn legend(&mut self, y: f64) {
        let mut x = 8.0;
        for (class, height, words) in [
            ("wait", 3.0, "waits"),
            ("c0", BAR, "holds, and its fence"),
            ("c0 late", BAR, "its lease is over, and it has not heard"),
            ("c0 late", 3.0, "leaves"),
        ] {
            let mark = Rectangle::new()
                .set("x", x)
                .set("y", y - 4.0 - height / 2.0)
                .set("width", 18)
                .set("height", height)
                .set("rx", 2)
                .set("class", class);
            self.add(mark);
            self.add(text(words, x + 24.0, y, "small"));
            x += 24.0 + words.len() as f64 * 5.6 + 18.0;
        }
        self.cross(x + 4.0, y - 4.0);
        self.add(text("lost, or crashed", x + 14.0, y, "small"));
    }

    fn add(&mut self, node: impl Into<Box<dyn Node>>) {
        self.document.append(node);
    }
}

/// Where each moment stands. The longer nothing happens, the longer is the gap, but not by as much.
struct Scale {
    places: Vec<(Duration, f64)>,
}

impl Scale {
    fn of(moments: &[Moment]) -> Self {
        let mut before = Duration::ZERO;
        let gap = |moment: &Moment| {
            let gap = moment.at - std::mem::replace(&mut before, moment.at);
            1.0 + (gap.as_secs_f64() * 1e3).ln_1p()
        };
        let gaps: Vec<f64> = moments.iter().map(gap).collect();
        let whole: f64 = gaps.iter().sum::<f64>().max(1.0);
        let mut x = LEFT;
        let places = moments.iter().zip(gaps).map(|(moment, gap)| {
            x += gap / whole * (WIDTH - LEFT - RIGHT);
            (moment.at, x)
        });
        Self { places: places.collect() }
    }

    fn x(&self, place: Place) -> f64 {
        self.places.get(place).map_or(LEFT, |(_, x)| *x)
    }

    /// Between the moments before and after.
    fn x_at(&self, at: Duration) -> f64 {
        let after = self.places.partition_point(|(known, _)| *known <= at);
        let Some((then, x)) = self.places.get(after) else { return WIDTH - RIGHT };
        let Some((before, from)) = after.checked_sub(1).map(|before| self.places[before]) else {
            return *x;
        };
        let part = (at - before).as_secs_f64() / (*then - before).as_secs_f64();
        from + (x - from) * part
    }

    /// Each time at which something happens, where it first does.
    fn new_times(&self) -> Vec<(Duration, f64)> {
        let mut times = self.places.clone();
        times.dedup_by_key(|(at, _)| *at);
        times
    }

    fn last(&self) -> Place {
        self.places.len().saturating_sub(1)
    }
}

/// What went wrong, each with its place and its row. No line goes through a label: a label stands
/// above those of all the lines that it covers.
struct Labels {
    labels: Vec<(f64, usize, String)>,
    rows: usize,
}

impl Labels {
    fn of(faults: &[(Place, String)], scale: &Scale) -> Self {
        let mut labels: Vec<(f64, usize, String)> = Vec::new();
        for (at, fault) in faults.iter().rev() {
            let x = scale.x(*at);
            let end = x + fault.len() as f64 * LETTER;
            let covered = labels.iter().filter(|(other, ..)| *other < end);
            let row = covered.map(|(_, row, _)| row + 1).max().unwrap_or(0);
            labels.push((x, row, fault.clone()));
        }
        let rows = labels.iter().map(|(_, row, _)| row + 1).max().unwrap_or(0);
        Self { labels, rows }
    }
}

/// How many digits all fences begin with alike, less one, so that each has two at least.
fn common_prefix(lives: &[Life]) -> usize {
    let fences: Vec<String> =
        lives.iter().filter_map(|life| Some(life.fence?.to_string())).collect();
    let Some(first) = fences.first() else { return 0 };
    let alike = |other: &String| {
        let pairs = first.bytes().zip(other.bytes());
        if first.len() == other.len() { pairs.take_while(|(a, b)| a == b).count() } else { 0 }
    };
    let prefix = fences.iter().map(alike).min().unwrap_or(0).min(first.len().saturating_sub(2));
    if prefix < 4 { 0 } else { prefix }
}

fn wish(life: &Life) -> String {
    let name = life.name;
    match life.side {
        Side::Exclusive => name.into(),
        Side::Shared => format!("{name}, shared"),
        Side::Permits { count, limit } => format!("{name}, {count} of {limit}"),
    }
}

fn shown(at: Duration) -> String {
    match at.as_secs_f64() {
        0.0 => "0".into(),
        seconds if seconds < 0.001 => format!("{} µs", at.as_micros()),
        seconds if seconds < 1.0 => format!("{} ms", at.as_millis()),
        seconds => format!("{seconds:.1} s"),
    }
}

fn text(content: &str, x: f64, y: f64, class: &str) -> Text {
    Text::new(content).set("x", format!("{x:.1}")).set("y", y).set("class", class)
}

fn line(from: (f64, f64), to: (f64, f64), class: &str) -> Line {
    Line::new()
        .set("x1", format!("{:.1}", from.0))
        .set("y1", from.1)
        .set("x2", format!("{:.1}", to.0))
        .set("y2", to.1)
        .set("class", class)
}
