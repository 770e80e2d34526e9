//! The histories of the locks of one simulated run.

use std::collections::BTreeMap;
use std::time::Duration;

use lock_proto::redis::Side;
use lock_proto::{Event, LockId};

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
}

/// The history of every lock of a run, from what a picture of it would show.
///
/// A lease ends when its holder's clock says so. A lock that stands `on_sessions` lasts no longer than
/// its session, so a fault may have ended it before its holder knew. Who was refused does not matter: several servers
/// may refuse everybody, and what one server refuses its world looks at.
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
        histories[index].operations.extend(life.operations());
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
        Self { hold, name, side, asked, entered: None, until: None, doubted: None, over: None }
    }

    fn hear(&mut self, event: &Event, until: Option<Duration>, at: Duration) {
        match event {
            Event::Acquired { fence, .. } => {
                // Only among those who are alone do fences tell who came first.
                let fence = fence.filter(|_| self.side == Side::Exclusive);
                (self.entered, self.until) = (Some((at, fence)), until);
            }
            Event::Extended { .. } => self.until = until,
            Event::Lost(_) | Event::Failed(_) => self.end(at),
            Event::Warned { .. } | Event::Released | Event::Closed { .. } | _ => {}
        }
    }

    fn end(&mut self, at: Duration) {
        self.over.get_or_insert(at);
    }

    /// When it was let in, and when it was out again.
    fn operations(&self) -> Vec<Operation> {
        let Some((entered, fence)) = self.entered else { return Vec::new() };
        let permits = match self.side {
            Side::Exclusive => ALL,
            Side::Shared => 1,
            Side::Permits { count, .. } => count,
        };
        let nanos = |at: Duration| u64::try_from(at.as_nanos()).expect("a run is short");
        let operation = |action, called, returned| {
            let (called, returned) = (nanos(called), Some(nanos(returned)));
            Operation { hold: self.hold, action, called, returned }
        };
        let mut operations = vec![operation(Action::Enter { permits, fence }, self.asked, entered)];
        let ends = match (self.over, self.until) {
            (Some(over), Some(until)) => Some(over.min(until).max(entered)),
            (over, until) => over.or(until),
        };
        if let Some(ends) = ends {
            let called = self.doubted.map_or(ends, |doubted| doubted.min(ends));
            operations.push(operation(Action::Leave, called, ends));
        }
        operations
    }
}
