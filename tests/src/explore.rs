//! Every short life of a machine.

use std::time::Duration;

use lock_proto::Fault;

use crate::check::{Checkable, Checked, Stage};
use crate::entropy::Odometer;

/// How far to explore.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    depth: usize,
    deviations: usize,
}

/// No goodbye takes more answers.
const GOODBYE: usize = 256;

impl Bounds {
    /// Lives of `depth` inputs, of which at most `deviations` are not the answer that makes the
    /// lock ours soonest.
    #[must_use]
    pub fn new(depth: usize, deviations: usize) -> Self {
        Self { depth, deviations }
    }
}

/// Runs through every life of what `make` makes within `bounds`, and each to its end; says how
/// many there were.
///
/// # Panics
///
/// If one breaks the contract.
pub fn explore<M: Checkable>(bounds: Bounds, make: impl Fn() -> M) -> usize {
    let mut odometer = Odometer::new();
    let mut lives = 0;
    while odometer.next_run() {
        lives += 1;
        let mut life = Checked::new(&make);
        let mut deviations = bounds.deviations;
        for _ in 0..bounds.depth {
            if life.stage() == Stage::Closed {
                break;
            }
            step(&mut life, &mut odometer, &mut deviations);
        }
        end(&mut life);
    }
    lives
}

/// One input: the expected answer, or anything else at the price of a deviation.
fn step<M: Checkable>(life: &mut Checked<M>, odometer: &mut Odometer, deviations: &mut usize) {
    let mut answers = Vec::new();
    for (id, command) in life.unanswered() {
        answers.extend(M::replies(&command, life.now()).into_iter().map(|reply| (id, Ok(reply))));
        answers.push((id, Err(Fault::refused("no space left"))));
        answers.push((id, Err(Fault::not_sent("too late"))));
        answers.push((id, Err(Fault::unknown("nobody knows"))));
    }
    let messages = M::messages();
    let others = 4 + messages.len() + usize::from(life.has_deadline());
    let options = if *deviations == 0 { 1 } else { answers.len() + others };
    let choice = odometer.choose(options);
    // With nothing to answer the first choice is to let time pass, or to let go.
    if choice > 0 {
        *deviations -= 1;
    }
    if let Some((id, reply)) = answers.get(choice) {
        return life.reply(*id, reply);
    }
    let choice = choice - answers.len();
    match choice {
        0 if answers.is_empty() && life.has_deadline() => life.timeout(),
        0 => life.release(),
        1 => life.disconnect(),
        2 => life.nudge(),
        3 => life.extend(Duration::from_millis(700)),
        _ => match messages.get(choice - 4) {
            Some(message) => life.message(message),
            None => life.timeout(),
        },
    }
}

/// Lets go, and answers everything: the machine must close, and then be silent.
///
/// # Panics
///
/// If it does not.
pub fn end<M: Checkable>(life: &mut Checked<M>) {
    life.release();
    for _ in 0..GOODBYE {
        let Some((id, command)) = life.unanswered().first().cloned() else {
            if life.stage() == Stage::Closed {
                break;
            }
            life.timeout();
            continue;
        };
        let now = life.now();
        life.reply(id, &Ok(M::replies(&command, now).swap_remove(0)));
    }
    assert_eq!(life.stage(), Stage::Closed, "all is answered, and it has not closed");
    life.timeout();
    life.nudge();
    life.disconnect();
    life.extend(Duration::from_secs(1));
    life.release();
    for message in M::messages() {
        life.message(&message);
    }
    assert!(life.unanswered().is_empty() && !life.has_deadline());
}
