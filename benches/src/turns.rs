//! Who had a lock and when, and what that says about waiting.

use rustix::time::{ClockId, clock_gettime};

use crate::metric::Metric;
use crate::round::Sample;

/// One acquisition: three moments on a clock that all processes share, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub asked: u64,
    pub entered: u64,
    pub left: u64,
}

/// The present moment.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What the turns of several waiters say about a lock that one has at a time.
pub fn of_mutex(turns: &[Vec<Turn>]) -> Sample {
    let mut order: Vec<_> = turns
        .iter()
        .enumerate()
        .flat_map(|(waiter, turns)| turns.iter().map(move |turn| (turn.entered, waiter, turn)))
        .collect();
    order.sort_by_key(|(entered, ..)| *entered);
    let neighbours = || order.iter().zip(order.iter().skip(1));
    let changes = neighbours().filter(|((_, one, _), (_, other, _))| one != other).count();
    let overlaps = neighbours().filter(|((.., one), (.., other))| other.entered < one.left).count();
    let held: u64 = order.iter().map(|(.., turn)| turn.left - turn.entered).sum();
    let seconds = seconds(turns);
    vec![
        (Metric::OwnerChangesPerSecond, changes as f64 / seconds),
        (Metric::CyclesPerSecond, order.len() as f64 / seconds),
        (Metric::UtilisationPercent, held as f64 / seconds / 1e7),
        (Metric::WaitP99Ms, wait_p99(turns)),
        (Metric::MostToLeastServed, most_to_least(turns)),
        (Metric::Overlaps, overlaps as f64),
    ]
}

/// What the turns of several waiters say about a lock that several have at a time.
pub fn of_shared(turns: &[Vec<Turn>]) -> Sample {
    let count: usize = turns.iter().map(Vec::len).sum();
    vec![
        (Metric::WaitP99Ms, wait_p99(turns)),
        (Metric::CyclesPerSecond, count as f64 / seconds(turns)),
        (Metric::MostToLeastServed, most_to_least(turns)),
    ]
}

/// Some of the figures only, the first of which is the one that is plotted.
pub fn only(sample: &Sample, metrics: &[Metric]) -> Sample {
    let figure = |metric: &Metric| sample.iter().find(|(kind, _)| kind == metric).copied();
    metrics.iter().filter_map(figure).collect()
}

fn seconds(turns: &[Vec<Turn>]) -> f64 {
    let first = turns.iter().flatten().map(|turn| turn.asked).min().unwrap_or_default();
    let last = turns.iter().flatten().map(|turn| turn.left).max().unwrap_or_default();
    (last - first).max(1) as f64 / 1e9
}

fn wait_p99(turns: &[Vec<Turn>]) -> f64 {
    let mut waits: Vec<_> = turns.iter().flatten().map(|turn| turn.entered - turn.asked).collect();
    waits.sort_unstable();
    let place = (waits.len() * 99).div_ceil(100).saturating_sub(1);
    waits.get(place).map_or(f64::NAN, |wait| *wait as f64 / 1e6)
}

/// Who was never served counts as served once.
fn most_to_least(turns: &[Vec<Turn>]) -> f64 {
    let counts = || turns.iter().map(|turns| turns.len().max(1));
    let (most, least) = (counts().max().unwrap_or(1), counts().min().unwrap_or(1));
    most as f64 / least as f64
}
