//! What happened in a run.

use std::fmt::Debug;
use std::time::Duration;

use lock_proto::redis::Side;
use lock_proto::{Event, Instant, LockId};

use crate::sightings::Sightings;

/// How much happened in one run or in many, which rare states were reached, and, if anybody wants
/// to read it, each step. Dropped by a panic, it prints the last steps.
#[derive(Debug)]
pub struct Trace {
    events: u64,
    sightings: Sightings,
    /// `None` if nobody reads it.
    story: Option<Story>,
}

/// What is kept of a run that somebody reads.
#[derive(Debug, Default)]
struct Story {
    /// Whether the steps are kept as well, which are dear.
    in_words: bool,
    steps: Vec<String>,
    moments: Vec<Moment>,
}

/// When something happened, from the beginning of the run, and what.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Moment {
    /// By everybody's clock.
    pub at: Duration,
    /// To whom, and what.
    pub happening: Happening,
}

/// What a picture of a run shows.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a picture shows all of them")]
pub enum Happening {
    /// A client asks for a lock.
    Asked {
        /// Which client.
        client: usize,
        /// The number of its acquisition; those of a client that crashed are used again.
        lock: LockId,
        /// The name of the lock.
        name: &'static str,
        /// How much of it.
        side: Side,
    },
    /// A lock says something to its caller.
    Told {
        /// Which client.
        client: usize,
        /// The number of its acquisition.
        lock: LockId,
        /// What it says.
        event: Event,
        /// If it holds from now on: until when at most.
        until: Option<Duration>,
    },
    /// A caller lets go.
    LetGo {
        /// Which client.
        client: usize,
        /// The number of its acquisition.
        lock: LockId,
    },
    /// A client crashes, and all its locks with it.
    Crashed {
        /// Which client.
        client: usize,
    },
    /// Something goes wrong.
    Fault(String),
}

/// Enough to see what led to a failure.
const SHOWN: usize = 120;

impl Trace {
    /// One that keeps no steps, which are dear.
    #[must_use]
    pub fn silent() -> Self {
        Self { events: 0, sightings: Sightings::default(), story: None }
    }

    /// One that keeps what a picture shows, and no steps.
    #[must_use]
    pub fn of_moments() -> Self {
        let mut trace = Self::silent();
        trace.story = Some(Story::default());
        trace
    }

    /// Counts one event: see [`crate::simulate`] for what is one.
    pub fn event(&mut self) {
        self.events += 1;
    }

    /// Notes that a rare state was reached.
    pub fn saw(&mut self, state: &'static str) {
        self.sightings.saw(state);
    }

    /// Records one step.
    pub fn note(&mut self, step: impl FnOnce() -> String) {
        if let Some(story) = self.story.as_mut().filter(|story| story.in_words) {
            story.steps.push(step());
        }
    }

    /// Counts an event that a picture shows.
    pub fn happened(&mut self, at: Duration, happening: impl FnOnce() -> Happening) {
        self.event();
        self.show(at, happening);
    }

    /// Counts something that goes wrong, and records it.
    pub fn fault(&mut self, at: Duration, fault: impl FnOnce() -> String) {
        self.event();
        if let Some(story) = &mut self.story {
            let fault = fault();
            story.steps.push(fault.clone());
            story.moments.push(Moment { at, happening: Happening::Fault(fault) });
        }
    }

    /// Records what a lock says, with its moments as everybody's clock shows them. That is no event,
    /// but what follows from one.
    pub fn told(
        &mut self,
        at: Duration,
        client: usize,
        lock: LockId,
        event: &Event,
        everybodys: impl FnOnce(Instant) -> Duration,
    ) {
        self.show(at, || {
            let until = match event {
                Event::Acquired { valid_until, .. } | Event::Extended { valid_until } => {
                    *valid_until
                }
                Event::Warned { .. }
                | Event::Lost(_)
                | Event::Failed(_)
                | Event::Released
                | Event::Closed { .. }
                | _ => None,
            };
            Happening::Told { client, lock, event: event.clone(), until: until.map(everybodys) }
        });
    }

    /// Adds what happened in another run, without its steps.
    pub fn merge(&mut self, other: &Self) {
        self.events += other.events;
        self.sightings.merge(&other.sightings);
    }

    /// How many events there were.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The rare states that were reached.
    #[must_use]
    pub fn sightings(&self) -> &Sightings {
        &self.sightings
    }

    /// All steps; none of a silent one.
    #[must_use]
    pub fn steps(&self) -> &[String] {
        self.story.as_ref().map(|story| &story.steps[..]).unwrap_or_default()
    }

    /// What a picture shows, in its order; nothing of a silent one.
    #[must_use]
    pub fn moments(&self) -> &[Moment] {
        self.story.as_ref().map(|story| &story.moments[..]).unwrap_or_default()
    }

    fn show(&mut self, at: Duration, happening: impl FnOnce() -> Happening) {
        if let Some(story) = &mut self.story {
            story.moments.push(Moment { at, happening: happening() });
        }
    }
}

/// One that keeps each step.
impl Default for Trace {
    fn default() -> Self {
        let mut trace = Self::silent();
        trace.story = Some(Story { in_words: true, ..Story::default() });
        trace
    }
}

impl Drop for Trace {
    #[expect(clippy::print_stderr, reason = "the steps are for whoever reads the failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for step in self.steps().iter().skip(self.steps().len().saturating_sub(SHOWN)) {
                eprintln!("{step}");
            }
        }
    }
}

/// The debug form, for comparing what has no equality.
#[must_use]
pub fn shown(value: &impl Debug) -> String {
    format!("{value:?}")
}
