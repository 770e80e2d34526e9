//! Making a failing schedule small.

use crate::seeds::{Simulation, invariant, violation};
use crate::trace::Trace;

/// More runs than this are not spent on one schedule.
const RUNS: usize = 20_000;

/// A schedule under which `simulation` violates the same invariant, and that has fewer bytes, or
/// milder ones: a byte of 0 is the mildest choice. The answer to one that violates nothing is itself.
#[must_use]
pub fn shrink(schedule: Vec<u8>, simulation: Simulation) -> Vec<u8> {
    let Some(message) = violation(&schedule, simulation, &mut Trace::silent()) else {
        return schedule;
    };
    let violated = invariant(&message).to_owned();
    let mut smaller = Smaller { simulation, violated, best: schedule, runs: RUNS };
    while smaller.shorten() | smaller.cut() | smaller.lower() {}
    smaller.best
}

struct Smaller {
    simulation: Simulation,
    violated: String,
    best: Vec<u8>,
    runs: usize,
}

impl Smaller {
    /// Drops as much of the end as it can.
    fn shorten(&mut self) -> bool {
        let before = self.best.len();
        let (mut passes, mut fails) = (0, before);
        while passes + 1 < fails {
            let middle = usize::midpoint(passes, fails);
            if self.accepts(self.best[..middle].to_vec()) {
                fails = middle;
            } else {
                passes = middle;
            }
        }
        fails < before
    }

    /// Takes chunks out, from the largest to single bytes.
    fn cut(&mut self) -> bool {
        let before = self.best.len();
        let mut size = before / 2;
        while size > 0 {
            let mut end = self.best.len();
            while end >= size {
                let mut shorter = self.best.clone();
                shorter.drain(end - size..end);
                self.accepts(shorter);
                end = (end - size).min(self.best.len());
            }
            size /= 2;
        }
        self.best.len() < before
    }

    /// Lowers single bytes.
    fn lower(&mut self) -> bool {
        let mut any = false;
        for place in 0..self.best.len() {
            let byte = self.best[place];
            let milder = [0, 1, byte / 2, byte.saturating_sub(1)];
            any |= milder.into_iter().filter(|milder| *milder < byte).any(|milder| {
                let mut lower = self.best.clone();
                lower[place] = milder;
                self.accepts(lower)
            });
        }
        any
    }

    /// Takes a schedule as the best if it fails in the same way.
    fn accepts(&mut self, schedule: Vec<u8>) -> bool {
        if self.runs == 0 {
            return false;
        }
        self.runs -= 1;
        let message = violation(&schedule, self.simulation, &mut Trace::silent());
        let fails = message.is_some_and(|message| invariant(&message) == self.violated);
        if fails {
            self.best = schedule;
        }
        fails
    }
}
