//! Contenders taking turns, and what their figures say.
//!
//! The machine is never quiet, so nothing is measured once. In every round each contender runs for
//! a moment; a figure is divided by its reference's of the same round, and the median of those
//! ratios is what counts.

use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::bars::{self, Measure};
use crate::metric::Metric;

/// Between two contenders: whatever the last one left to its servers and runtimes gets done.
const SETTLE: Duration = Duration::from_millis(8);

/// What one contender measured in one round.
pub type Sample = Vec<(Metric, f64)>;

/// Some contenders and what they do; the first is the floor.
pub struct Scenario<'b> {
    pub name: &'static str,
    about: &'static str,
    rounds: usize,
    contenders: Vec<Contender<'b>>,
}

struct Contender<'b> {
    subject: &'static str,
    reference: &'static str,
    run: Box<dyn FnMut() -> Sample + 'b>,
}

/// One line of the result.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub scenario: &'static str,
    pub subject: &'static str,
    pub metric: Metric,
    /// The median of all rounds.
    pub value: f64,
    /// What it is compared with, and that subject's median.
    pub reference: &'static str,
    pub floor: f64,
    /// The median of the ratios of all rounds, the least and the greatest.
    pub ratio: f64,
    pub ratio_min: f64,
    pub ratio_max: f64,
    pub must: Option<f64>,
    pub aim: Option<f64>,
    /// Whether `must` is about the ratio or about the value itself.
    pub measure: Option<Measure>,
    pub holds: Option<bool>,
    /// The median of the ratios to what shows its limit, where the limit itself misses `must`:
    /// then that is what has to hold.
    pub to_limit: Option<f64>,
}

/// All that one scenario showed.
pub struct Outcome {
    pub name: &'static str,
    pub about: &'static str,
    pub took: Duration,
    pub rows: Vec<Row>,
}

impl<'b> Scenario<'b> {
    /// A scenario of so many rounds, and one more for warming up.
    pub fn new(name: &'static str, about: &'static str, rounds: usize) -> Self {
        Self { name, about, rounds, contenders: Vec::new() }
    }

    /// Adds a contender, compared with the first.
    pub fn with(self, subject: &'static str, run: impl FnMut() -> Sample + 'b) -> Self {
        let floor = self.contenders.first().map_or(subject, |first| first.subject);
        self.beside(floor, subject, run)
    }

    /// Adds a contender, compared with `reference`.
    pub fn beside(
        mut self,
        reference: &'static str,
        subject: &'static str,
        run: impl FnMut() -> Sample + 'b,
    ) -> Self {
        self.contenders.push(Contender { subject, reference, run: Box::new(run) });
        self
    }

    /// Runs all rounds; `tick` hears of the part that is done.
    pub fn run(mut self, tick: impl Fn(f64)) -> Outcome {
        let started = Instant::now();
        let count = self.contenders.len();
        let warm_up = usize::from(self.rounds > 1);
        let turns = (self.rounds + warm_up) * count;
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); count];
        for turn in 0..turns {
            let (round, place) = (turn / count, turn % count);
            let starter = (round + place) % count;
            thread::sleep(SETTLE);
            let sample = (self.contenders[starter].run)();
            if round >= warm_up {
                samples[starter].push(sample);
            }
            tick((turn + 1) as f64 / turns as f64);
        }
        let rows = (0..count).flat_map(|contender| self.rows(contender, &samples)).collect();
        Outcome { name: self.name, about: self.about, took: started.elapsed(), rows }
    }

    fn rows(&self, contender: usize, samples: &[Vec<Sample>]) -> Vec<Row> {
        let Contender { subject, reference, .. } = &self.contenders[contender];
        let place = |subject| self.contenders.iter().position(|other| other.subject == subject);
        let beside = place(*reference).expect("a reference is a contender");
        let limit = bars::limit(self.name, subject).and_then(place);
        let metrics = samples[contender].first().into_iter().flatten().map(|(metric, _)| *metric);
        metrics
            .map(|metric| {
                let own = figures(&samples[contender], metric);
                let floor = figures(&samples[beside], metric);
                let limit = limit.map(|limit| figures(&samples[limit], metric));
                self.row(subject, reference, metric, [&own, &floor], limit.as_deref())
            })
            .collect()
    }

    fn row(
        &self,
        subject: &'static str,
        reference: &'static str,
        metric: Metric,
        [own, floor]: [&[f64]; 2],
        limit: Option<&[f64]>,
    ) -> Row {
        let ratios = ratios(own, floor);
        let (value, ratio) = (median(&sorted(own.iter().copied())), median(&ratios));
        let bar = bars::find(self.name, subject, metric);
        let measured = bar.map(|bar| match bar.measure {
            Measure::Ratio => ratio,
            Measure::Value => value,
        });
        let to_limit = bar.zip(limit).and_then(|(bar, limit)| {
            let out_of_reach = !bar.holds(median(&self::ratios(limit, floor)));
            out_of_reach.then(|| median(&self::ratios(own, limit)))
        });
        Row {
            scenario: self.name,
            subject,
            metric,
            value,
            reference,
            floor: median(&sorted(floor.iter().copied())),
            ratio,
            ratio_min: ratios.first().copied().unwrap_or(f64::NAN),
            ratio_max: ratios.last().copied().unwrap_or(f64::NAN),
            must: bar.map(|bar| bar.must),
            aim: bar.map(|bar| bar.aim),
            measure: bar.map(|bar| bar.measure),
            holds: bar.zip(to_limit.or(measured)).map(|(bar, figure)| bar.holds(figure)),
            to_limit,
        }
    }
}

fn figures(samples: &[Sample], metric: Metric) -> Vec<f64> {
    let figure = |sample: &Sample| sample.iter().find(|(kind, _)| *kind == metric).map(|(_, f)| *f);
    samples.iter().filter_map(figure).collect()
}

/// Round by round, in their order.
fn ratios(own: &[f64], other: &[f64]) -> Vec<f64> {
    sorted(own.iter().zip(other).map(|(own, other)| quotient(*own, *other)))
}

/// Nothing has no multiples but itself.
fn quotient(own: f64, floor: f64) -> f64 {
    match own / floor {
        ratio if ratio.is_finite() => ratio,
        _ if own == floor => 1.0,
        _ => f64::NAN,
    }
}

fn sorted(figures: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}
