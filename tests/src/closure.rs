//! Every state that a small world can come to.
//!
//! A world is a value: the real machines of its clients, the models of its servers, and whatever
//! travels between them. From a state each thing that may happen next leads to another; two states
//! whose `Debug` forms are alike are one. The search goes breadth-first, so a violation is reached
//! by one of the shortest ways. Where it comes to its end without one, no order of what was allowed
//! to happen violates an invariant, and since no world comes back to where it was, each of its runs
//! ends, and ends well.

mod memory;
mod postgres;
mod redis;

use std::collections::BTreeSet;
use std::fmt::{self, Debug, Write as _};
use std::mem;
use std::time::Duration;

use lock_proto::Demand;
use lock_proto::postgres::Mode;
use lock_proto::redis::Side;

pub use self::memory::{MemoryWorld, Step as MemoryStep};
pub use self::postgres::{PostgresFlaw, PostgresWorld, Step as PostgresStep};
pub use self::redis::{Premise, RedisFlaw, RedisWorld, Step as RedisStep};
use crate::seeds::caught;

/// A world whose every state is to be seen.
pub trait World: Clone + Debug {
    /// One thing that may happen.
    type Step: Copy + Debug;

    /// Everything that may happen next.
    fn steps(&self) -> Vec<Self::Step>;

    /// Lets it happen.
    ///
    /// # Panics
    ///
    /// If that violates an invariant; the message begins with its name.
    fn take(&mut self, step: Self::Step);

    /// Whether nothing is left to happen but faults, and what was lost on its way.
    fn is_over(&self) -> bool;

    /// Looks at what is left when it is over.
    ///
    /// # Panics
    ///
    /// If that violates an invariant.
    fn end(&mut self);
}

/// What a search has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closure {
    /// How many states.
    pub states: usize,
    /// How many ways there are from one to the next.
    pub steps: usize,
    /// In how many of them the world was over.
    pub ends: usize,
    /// How many steps lead to the farthest.
    pub depth: usize,
    /// Whether these are all.
    pub is_complete: bool,
}

/// An invariant that does not hold.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Violation {
    /// Which, and how it was violated.
    pub message: String,
    /// What had to happen for that.
    pub path: Vec<String>,
    /// How many states were seen before.
    pub states: usize,
}

/// A small world by its name.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SmallWorld {
    /// As a table has it.
    pub name: &'static str,
    /// The search through it: with up to so many faults, and about so many states at most.
    pub search: fn(usize, usize) -> Result<Closure, Box<Violation>>,
}

/// How long somebody waits for a lock of PostgreSQL.
const PATIENCE: Duration = Duration::from_secs(1);

/// Every small world.
pub const WORLDS: &[SmallWorld] = &[
    SmallWorld {
        name: "memory: two writers",
        search: |faults, limit| {
            explore(&MemoryWorld::new([Demand::Exclusive; 2], faults, false), limit)
        },
    },
    SmallWorld {
        name: "memory: a writer and a reader",
        search: |faults, limit| {
            let demands = [Demand::Exclusive, Demand::Shared];
            explore(&MemoryWorld::new(demands, faults, false), limit)
        },
    },
    SmallWorld {
        name: "one Redis server: two writers",
        search: |faults, limit| {
            explore(&RedisWorld::one_server([Side::Exclusive; 2], faults, None), limit)
        },
    },
    SmallWorld {
        name: "one Redis server that may lose its counter: two writers",
        search: |faults, limit| {
            let world = RedisWorld::one_server([Side::Exclusive; 2], faults, None);
            explore(&world.evicting(), limit)
        },
    },
    SmallWorld {
        name: "one Redis server: a writer and a reader",
        search: |faults, limit| {
            let sides = [Side::Exclusive, Side::Shared];
            explore(&RedisWorld::one_server(sides, faults, None), limit)
        },
    },
    SmallWorld {
        name: "a quorum of one: two writers",
        search: |faults, limit| {
            explore(&RedisWorld::quorum(1, [Side::Exclusive; 2], faults, None), limit)
        },
    },
    SmallWorld {
        name: "a quorum of three: two writers that do not wait",
        search: |faults, limit| {
            let world = RedisWorld::single_votes(3, [Side::Exclusive; 2], faults, None);
            explore(&world, limit)
        },
    },
    SmallWorld {
        name: "a quorum of three that is heard at once: two writers that do not wait",
        search: |faults, limit| {
            let world = RedisWorld::single_votes(3, [Side::Exclusive; 2], faults, None);
            explore(&world.prompt(), limit)
        },
    },
    SmallWorld {
        name: "a quorum of three that is heard at once, and may forget: two writers that do not wait",
        search: |faults, limit| {
            let world = RedisWorld::single_votes(3, [Side::Exclusive; 2], faults, None);
            explore(&world.prompt().forgetting(Premise::Granted), limit)
        },
    },
    SmallWorld {
        name: "a quorum of three: two writers",
        search: |faults, limit| {
            explore(&RedisWorld::quorum(3, [Side::Exclusive; 2], faults, None), limit)
        },
    },
    SmallWorld {
        name: "a quorum of three that is heard at once: two writers",
        search: |faults, limit| {
            let world = RedisWorld::quorum(3, [Side::Exclusive; 2], faults, None);
            explore(&world.prompt(), limit)
        },
    },
    SmallWorld {
        name: "PostgreSQL: two writers, one with a time-out",
        search: |faults, limit| {
            let wants = [(Mode::Exclusive, None), (Mode::Exclusive, Some(PATIENCE))];
            explore(&PostgresWorld::new(wants, faults, None), limit)
        },
    },
    SmallWorld {
        name: "PostgreSQL: a writer, and a reader with a time-out",
        search: |faults, limit| {
            let wants = [(Mode::Exclusive, None), (Mode::Shared, Some(PATIENCE))];
            explore(&PostgresWorld::new(wants, faults, None), limit)
        },
    },
];

/// Looks at every state that `start` can come to, but at most at about `limit`.
///
/// # Errors
///
/// The first violation of an invariant.
pub fn explore<W: World>(start: &W, limit: usize) -> Result<Closure, Box<Violation>> {
    let mut search = Search::new(start);
    let mut layer = vec![(0, start.clone())];
    let mut seen = Closure { states: 1, steps: 0, ends: 0, depth: 0, is_complete: true };
    while !layer.is_empty() {
        let mut next = Vec::new();
        for (number, world) in mem::take(&mut layer) {
            if world.is_over() {
                seen.ends += 1;
                let outcome = caught(|| world.clone().end());
                outcome.map_err(|message| search.violation(message, number, None))?;
            }
            for (choice, step) in world.steps().into_iter().enumerate() {
                let mut then = world.clone();
                let outcome = caught(|| then.take(step));
                outcome.map_err(|message| search.violation(message, number, Some(choice)))?;
                seen.steps += 1;
                if let Some(number) = search.discover(&then, number, choice) {
                    next.push((number, then));
                }
            }
            if search.origins.len() >= limit {
                let states = search.origins.len();
                return Ok(Closure { states, is_complete: false, ..seen });
            }
        }
        seen.states = search.origins.len();
        seen.depth += usize::from(!next.is_empty());
        layer = next;
    }
    Ok(seen)
}

/// The states that are known, by their fingerprints and by the ways to them.
struct Search<'a, W> {
    start: &'a W,
    known: BTreeSet<u128>,
    /// For each state the number of the one before it, and which of its steps leads here.
    origins: Vec<(usize, usize)>,
    /// Of the state that was looked at last.
    text: String,
}

impl<'a, W: World> Search<'a, W> {
    fn new(start: &'a W) -> Self {
        let mut text = String::new();
        let known = BTreeSet::from([fingerprint(start, &mut text)]);
        Self { start, known, origins: vec![(0, 0)], text }
    }

    /// The number of a state that was not known.
    fn discover(&mut self, world: &W, before: usize, choice: usize) -> Option<usize> {
        self.known.insert(fingerprint(world, &mut self.text)).then(|| {
            self.origins.push((before, choice));
            self.origins.len() - 1
        })
    }

    /// What one step after the state of that number violates, or its end.
    fn violation(&self, message: String, number: usize, last: Option<usize>) -> Box<Violation> {
        let mut choices: Vec<usize> = last.into_iter().collect();
        let mut at = number;
        while at != 0 {
            let (before, choice) = self.origins[at];
            choices.push(choice);
            at = before;
        }
        let mut world = self.start.clone();
        let mut path = Vec::new();
        while let Some(choice) = choices.pop() {
            let step = world.steps()[choice];
            path.push(format!("{step:?}"));
            if !choices.is_empty() {
                world.take(step);
            }
        }
        Box::new(Violation { message, path, states: self.origins.len() })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.path {
            writeln!(f, "{step}")?;
        }
        write!(f, "{} ({} states)", self.message, self.states)
    }
}

/// 128 bits of a state's `Debug` form: that two states of a search have the same by chance is less
/// likely than that the processor errs.
fn fingerprint(world: &impl Debug, text: &mut String) -> u128 {
    /// The golden ratio: odd, and its bits are in no order.
    const FACTOR: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
    text.clear();
    write!(text, "{world:?}").expect("a string takes everything");
    text.as_bytes().chunks(16).fold(0, |print, chunk| {
        let mut word = [0; 16];
        word[..chunk.len()].copy_from_slice(chunk);
        let product = (print ^ u128::from_le_bytes(word)).wrapping_mul(FACTOR);
        product ^ product >> 64
    })
}
