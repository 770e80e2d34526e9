//! The histories of the locks of one simulated run.

use std::collections::BTreeMap;
use std::time::Duration;

use lock_proto::redis::Side;
use lock_proto::{Event, LockError, LockId};

use super::{Action, Hold, Operation};
use crate::trace::{Happening, Moment};

/// More than ever share a lock of a world.
const ALL: u32 = 1_000;

/// The history of one lock in a simulated run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Simulated {
    /// The name of the lock.
    pub name: &'static str,
    /// How many permits it has.
    pub permits: u32,
    /// What happened to it.
    pub operations: Vec<Operation>,
}

/// One acquisition.
#[derive(Debug)]
struct Life {
    hold: Hold,
    name: &'static str,
    side: Side,
    asked: Duration,
    entered: Option<(Duration, Option<u64>)>,
    /// Until when its lease lets it believe that it is inside.
    until: Option<Duration>,
    /// Since when something may have thrown it out of which it was not told.
    doubted: Option<Duration>,
    over: Option<Duration>,
    /// When it was told that its only question was refused.
    refused: Option<Duration>,
    /// When nothing of it was left anywhere.
    gone: Option<Duration>,
}

/// The history of every lock of a run, from what a picture of it would show.
///
/// A lease ends when its holder's clock says so. A lock that stands `on_sessions` lasts no longer than
/// its session, so a fault may have ended it before its holder knew.
///
/// Refusals are judged of locks `on_sessions` that are asked for once and for oneself alone, while
/// nobody asks in vain, since whoever gives up may have been let in without being told, and no other of
/// the same client is there, for which it refuses without asking the server. A reader is refused for a
/// writer that waits as well, and a taker of permits for one at the gate. Several servers may refuse
/// everybody, and what one server of Redis refuses its world looks at.
#[must_use]
pub fn simulated(moments: &[Moment], on_sessions: bool) -> Vec<Simulated> {
    let mut lives: Vec<Life> = Vec::new();
    let mut current: BTreeMap<(usize, LockId), usize> = BTreeMap::new();
    for Moment { at, happening, .. } in moments {
        match happening {
            Happening::Asked { client, lock, name, side } => {
                current.insert((*client, *lock), lives.len());
                lives.push(Life::new(*client, lives.len(), (name, *side), *at));
            }
            Happening::Told { client, lock, event, until } => {
                if let Some(life) = current.get(&(*client, *lock)) {
                    lives[*life].hear(event, *until, *at);
                }
            }
            Happening::LetGo { client, lock } => {
                if let Some(life) = current.get(&(*client, *lock)) {
                    lives[*life].end(*at);
                }
            }
            Happening::Crashed { client } => {
                for life in current.iter().filter(|(key, _)| key.0 == *client).map(|it| it.1) {
                    lives[*life].end(*at);
                }
            }
            Happening::Fault(_) if !on_sessions => {}
            Happening::Fault(_) => {
                for life in lives.iter_mut().filter(|life| life.over.is_none()) {
                    life.doubted.get_or_insert(*at);
                }
            }
        }
    }
    let mut histories: Vec<Simulated> = Vec::new();
    for life in &lives {
        let known = histories.iter().position(|history| history.name == life.name);
        let index = known.unwrap_or(histories.len());
        if known.is_none() {
            let permits = if let Side::Permits { limit, .. } = life.side { limit } else { ALL };
            histories.push(Simulated { name: life.name, permits, operations: Vec::new() });
        }
        histories[index].operations.extend(life.operations(on_sessions));
        if on_sessions && let Some(refusal) = life.refusal(&lives) {
            histories[index].operations.push(refusal);
        }
    }
    histories
}

impl Life {
    fn new(
        client: usize,
        place: usize,
        (name, side): (&'static str, Side),
        asked: Duration,
    ) -> Self {
        let number = |number: usize| u32::try_from(number).expect("there are few");
        let hold = Hold { client: number(client), number: number(place) };
        Self {
            hold,
            name,
            side,
            asked,
            entered: None,
            until: None,
            doubted: None,
            over: None,
            refused: None,
            gone: None,
        }
    }

    fn hear(&mut self, event: &Event, until: Option<Duration>, at: Duration) {
        match event {
            Event::Acquired { fence, .. } => {
                // Only among those who are alone do fences tell who came first.
                let fence = fence.filter(|_| self.side == Side::Exclusive);
                (self.entered, self.until) = (Some((at, fence)), until);
            }
            Event::Extended { .. } => self.until = until,
            Event::Failed(error) => {
                let once = matches!(error, LockError::Timeout(time) if time.is_zero());
                self.refused = once.then_some(at);
                self.end(at);
            }
            Event::Lost(_) => self.end(at),
            Event::Closed { clean } => self.gone = clean.then_some(at),
            Event::Warned { .. } | Event::Released | _ => {}
        }
    }

    fn end(&mut self, at: Duration) {
        self.over.get_or_insert(at);
    }

    /// That it was refused, where that can be judged.
    fn refusal(&self, lives: &[Self]) -> Option<Operation> {
        let refused = self.refused.filter(|_| self.side == Side::Exclusive)?;
        let meddles = |other: &Self| {
            let ours = other.hold.client == self.hold.client;
            let vain = other.entered.is_none();
            let before = other.gone.is_some_and(|gone| gone < self.asked);
            let beside = other.asked <= refused && !before && other.hold != self.hold;
            other.name == self.name && beside && (ours || vain)
        };
        if lives.iter().any(meddles) {
            return None;
        }
        let action = Action::Refused { permits: ALL };
        let (called, returned) = (nanos(self.asked), Some(nanos(refused)));
        Some(Operation { hold: self.hold, action, called, returned })
    }

    /// When it was let in, and when it was out again; of a lock `on_sessions`, when its session was.
    fn operations(&self, on_sessions: bool) -> Vec<Operation> {
        let Some((entered, fence)) = self.entered else { return Vec::new() };
        let permits = match self.side {
            Side::Exclusive => ALL,
            Side::Shared => 1,
            Side::Permits { count, .. } => count,
        };
        let operation = |action, called, returned: Option<Duration>| {
            let (called, returned) = (nanos(called), returned.map(nanos));
            Operation { hold: self.hold, action, called, returned }
        };
        let enter = Action::Enter { permits, fence };
        let mut operations = vec![operation(enter, self.asked, Some(entered))];
        let ends = match (self.over, self.until) {
            (Some(over), Some(until)) => Some(over.min(until).max(entered)),
            (over, until) => over.or(until),
        };
        if let Some(ends) = ends {
            let called = self.doubted.map_or(ends, |doubted| doubted.min(ends));
            let returned = if on_sessions { self.gone } else { Some(ends) };
            operations.push(operation(Action::Leave, called, returned));
        }
        operations
    }
}

fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).expect("a run is short")
}
