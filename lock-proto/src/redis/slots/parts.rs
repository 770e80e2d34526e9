//! The mutexes that a taker of permits stands at.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::machine::RequestIds;
use crate::redis::{Command, Keys, Message, RedLock, RedisOptions, Reply, Side};
use crate::{
    AcquireOptions, Deadline, Event, Fault, Instant, Jitter, LockError, LossReason, Machine as _,
    Renewal, Request, RequestId, Seed,
};

/// All of them, and who asked what.
#[derive(Debug)]
pub(super) struct Parts {
    maker: Maker,
    all: Vec<Part>,
    made: u64,
    ids: RequestIds,
    routes: BTreeMap<RequestId, (u64, RequestId)>,
    /// Whether none that is gone left anything behind.
    pub(super) clean: bool,
}

/// What every one of them is made of.
#[derive(Debug)]
pub(super) struct Maker {
    pub(super) keys: Keys,
    pub(super) options: AcquireOptions,
    pub(super) settings: RedisOptions,
    pub(super) patience: Vec<Duration>,
    pub(super) born: Instant,
    pub(super) born_micros: u64,
    pub(super) jitter: Jitter,
}

#[derive(Debug)]
pub(super) struct Part {
    number: u64,
    pub(super) role: Role,
    pub(super) state: State,
    /// Whether it was prolonged since that was last asked for.
    pub(super) prolonged: bool,
    /// Whether others can have it.
    released: bool,
    machine: RedLock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Gate,
    Slot(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Wanted,
    Held(Instant),
    Leaving,
}

/// What one of them has told.
#[derive(Debug)]
pub(super) enum News {
    /// The gate is ours, at that ballot.
    Entered(Option<u64>),
    /// A slot is ours, or for longer.
    Progress,
    /// The gate or a slot could not be had.
    Failed(Role, LockError),
    /// The gate or a slot is no longer ours.
    Lost(Role, LossReason),
}

impl Parts {
    pub(super) fn new(maker: Maker) -> Self {
        let (ids, routes) = (RequestIds::new(), BTreeMap::new());
        Self { maker, all: Vec::new(), made: 0, ids, routes, clean: true }
    }

    /// Asks for the gate or for a slot, for at most `timeout`.
    pub(super) fn want(
        &mut self,
        role: Role,
        timeout: Option<Duration>,
        now: Instant,
    ) -> Result<(), LockError> {
        let maker = &mut self.maker;
        // Each has a token of its own: one that was given back is never used again (R1).
        let mut seed = [0; 32];
        for word in seed.chunks_exact_mut(8) {
            word.copy_from_slice(&maker.jitter.next_u64().to_le_bytes());
        }
        let (keys, renewal) = match role {
            Role::Gate => (maker.keys.gate(), Renewal::Automatic),
            Role::Slot(number) => (maker.keys.permit(number), Renewal::Off),
        };
        let options = maker.options.clone().with_timeout(timeout).with_renewal(renewal);
        let since = u64::try_from(now.since(maker.born).as_micros()).unwrap_or(u64::MAX);
        // A message names the one that it is for by when it came.
        let came = maker.born_micros.saturating_add(since).saturating_add(self.made);
        let machine = RedLock::new(
            keys,
            Side::Exclusive,
            &options,
            &maker.settings,
            &maker.patience,
            came,
            &Seed::from_bytes(seed),
            now,
        )?;
        let (number, state) = (self.made, State::Wanted);
        self.made += 1;
        self.all.push(Part { number, role, state, prolonged: true, released: false, machine });
        Ok(())
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Part> {
        self.all.iter().filter(|part| matches!(part.role, Role::Slot(_)))
    }

    /// How many slots are in that state, whatever the moment.
    pub(super) fn held(&self) -> usize {
        self.slots().filter(|part| matches!(part.state, State::Held(_))).count()
    }

    pub(super) fn wanted(&self) -> usize {
        self.slots().filter(|part| part.state == State::Wanted).count()
    }

    /// Whether that slot is ours or asked for. One that is left may be asked for once more.
    pub(super) fn is_at(&self, slot: u32) -> bool {
        self.slots().any(|part| part.role == Role::Slot(slot) && part.state != State::Leaving)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether others can have all of them.
    pub(super) fn are_released(&self) -> bool {
        self.all.iter().all(|part| part.released)
    }

    /// Until when all slots that are ours are.
    pub(super) fn valid_until(&self) -> Option<Instant> {
        let until = |part: &Part| match part.state {
            State::Held(until) => Some(until),
            State::Wanted | State::Leaving => None,
        };
        self.slots().filter_map(until).min()
    }

    pub(super) fn all_prolonged(&self) -> bool {
        self.slots().all(|part| !matches!(part.state, State::Held(_)) || part.prolonged)
    }

    /// Prolongs every slot that is ours.
    pub(super) fn extend(&mut self, ttl: Duration, now: Instant) {
        for part in &mut self.all {
            if matches!((part.role, part.state), (Role::Slot(_), State::Held(_))) {
                part.prolonged = false;
                part.machine.extend(ttl, now);
            }
        }
    }

    /// Lets go of those that `unwanted` chooses.
    pub(super) fn release(&mut self, now: Instant, mut unwanted: impl FnMut(&Part) -> bool) {
        for part in &mut self.all {
            if part.state != State::Leaving && unwanted(part) {
                part.state = State::Leaving;
                part.machine.release(now);
            }
        }
    }

    pub(super) fn poll_request(&mut self) -> Option<Request<Command>> {
        let (number, request) = self.all.iter_mut().find_map(|part| {
            let request = part.machine.poll_request()?;
            Some((part.number, request))
        })?;
        let outer = self.ids.next(request.command, request.not_after);
        self.routes.insert(outer.id, (number, request.id));
        Some(outer)
    }

    pub(super) fn handle_reply(
        &mut self,
        id: RequestId,
        reply: Result<Reply, Fault>,
        now: Instant,
    ) {
        let Some((number, inner)) = self.routes.remove(&id) else { return };
        if let Some(part) = self.all.iter_mut().find(|part| part.number == number) {
            part.machine.handle_reply(inner, reply, now);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for part in &mut self.all {
            part.machine.handle_timeout(now);
        }
    }

    pub(super) fn handle_nudge(&mut self, now: Instant) {
        for part in &mut self.all {
            part.machine.handle_nudge(now);
        }
    }

    pub(super) fn handle_message(&mut self, message: Message, now: Instant) {
        let meant = |part: &&mut Part| part.machine.came() == message.stamp;
        if let Some(part) = self.all.iter_mut().find(meant) {
            part.machine.handle_message(message, now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Deadline> {
        self.all.iter().filter_map(|part| part.machine.poll_timeout()).min()
    }

    /// The next thing that one of them has to tell.
    pub(super) fn poll_news(&mut self) -> Option<News> {
        let mut index = 0;
        while let Some(part) = self.all.get_mut(index) {
            let Some(event) = part.machine.poll_event() else {
                index += 1;
                continue;
            };
            let role = part.role;
            match event {
                Event::Acquired { valid_until, fence } => {
                    part.state = State::Held(valid_until.unwrap_or(Instant::FAR_FUTURE));
                    let gate = role == Role::Gate;
                    return Some(if gate { News::Entered(fence) } else { News::Progress });
                }
                Event::Extended { valid_until } => {
                    part.state = State::Held(valid_until.unwrap_or(Instant::FAR_FUTURE));
                    part.prolonged = true;
                    return Some(News::Progress);
                }
                Event::Failed(error) => {
                    part.state = State::Leaving;
                    return Some(News::Failed(role, error));
                }
                Event::Lost(reason) => {
                    part.state = State::Leaving;
                    return Some(News::Lost(role, reason));
                }
                Event::Released => part.released = true,
                Event::Closed { clean } => {
                    self.clean &= clean;
                    self.all.remove(index);
                }
                Event::Warned { .. } => {}
            }
        }
        None
    }
}
