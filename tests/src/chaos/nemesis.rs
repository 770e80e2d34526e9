//! Who does harm, at random.

use std::time::{Duration, Instant};

use lock_proto::{Jitter, Seed};
use rustix::process::Signal;

use super::crew::Crew;
use super::fault::{Fault, Void};
use super::place::{Place, Struck, Undo};
use super::worker::Habit;
use super::{LEASE, now, pick, sleep_until};

/// For how long some faults are in fashion and others are not: all at once would hide what one
/// alone brings to light.
const EPISODE: Duration = Duration::from_secs(3);

/// How long it is from one deed to the next.
const GAPS: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];

/// For how many percent of a lease something lasts.
const LENGTHS: [u32; 8] = [10, 10, 20, 30, 70, 120, 200, 300];

/// A replica may have taken the place of a master that was stopped; it may take so many nanoseconds
/// until everybody knows.
const AFTERMATH: u64 = 5_000_000_000;

/// Who does harm, with all to whom it can be done.
pub(super) struct Nemesis {
    place: Place,
    crew: Crew,
    dice: Jitter,
    menu: Vec<Fault>,
    menu_ends: Instant,
    chronicle: Chronicle,
    /// What is to be undone, and the number of the deed.
    undone: Vec<(Instant, Undo, usize)>,
}

/// What was done, and what it made void.
#[derive(Clone, Debug, Default)]
pub(super) struct Chronicle {
    pub(super) deeds: Vec<Deed>,
    pub(super) windows: Vec<Window>,
}

/// What was done, until it was undone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deed {
    pub(super) fault: Fault,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// A time in which something does not hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) void: Void,
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Nemesis {
    pub(super) fn new(place: Place, crew: Crew, seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let dice = Seed::from_bytes(bytes).jitter();
        let (menu, menu_ends) = (Vec::new(), Instant::now());
        let chronicle = Chronicle::default();
        Self { place, crew, dice, menu, menu_ends, chronicle, undone: Vec::new() }
    }

    /// Does harm until `end`.
    pub(super) fn rage(&mut self, end: Instant) {
        while Instant::now() < end {
            let next = Instant::now() + self.dice.between(GAPS[0], GAPS[1]);
            self.undo_until(next.min(end));
            if next < end {
                self.strike();
            }
        }
    }

    /// Undoes everything; what is there then, and what was done.
    pub(super) fn mend(mut self) -> (Place, Crew, Chronicle) {
        for (_, undo, deed) in std::mem::take(&mut self.undone) {
            self.undo(undo, deed);
        }
        (self.place, self.crew, self.chronicle)
    }

    fn strike(&mut self) {
        let fault = self.choose();
        let (backend, from) = (self.place.backend, now());
        let struck = match fault {
            Fault::Kill => self.kill(),
            Fault::Stop => self.stop(),
            Fault::Network(_)
            | Fault::Redis(_)
            | Fault::Cluster(_)
            | Fault::Postgres(_)
            | Fault::Files(_) => self.place.strike(fault, &mut self.dice),
        };
        let Chronicle { deeds, windows } = &mut self.chronicle;
        if let Struck::Until(undo) = struck {
            let length = LEASE * LENGTHS[pick(&mut self.dice, LENGTHS.len())] / 100;
            self.undone.push((Instant::now() + length, undo, deeds.len()));
        }
        if !matches!(struck, Struck::Nothing) {
            let to = now();
            deeds.push(Deed { fault, from, to });
            let void =
                if let Struck::Upset(void) = struck { Some(void) } else { fault.voids(backend) };
            windows.extend(void.map(|void| Window { void, from, to }));
        }
    }

    /// One of what is in fashion.
    fn choose(&mut self) -> Fault {
        if self.menu_ends <= Instant::now() || self.menu.is_empty() {
            self.menu_ends = Instant::now() + EPISODE;
            let all = [Fault::Kill, Fault::Stop].into_iter();
            self.menu = all.chain(self.place.faults()).collect();
            let dice = &mut self.dice;
            self.menu.retain(|_| pick(dice, 2) == 0);
            self.menu.push(Fault::Stop);
        }
        self.menu[pick(&mut self.dice, self.menu.len())]
    }

    fn kill(&mut self) -> Struck {
        let Some(worker) = self.someone() else { return Struck::Nothing };
        self.crew.kill(worker);
        self.crew.hire(&self.place, Habit::Diligent);
        Struck::Done
    }

    fn stop(&mut self) -> Struck {
        let Some(worker) = self.someone() else { return Struck::Nothing };
        self.crew.signal(worker, Signal::STOP);
        Struck::Until(Undo::Resume(worker))
    }

    fn someone(&mut self) -> Option<u32> {
        let living = self.crew.living();
        (!living.is_empty()).then(|| living[pick(&mut self.dice, living.len())])
    }

    /// Sleeps until `end`, and undoes what is due before.
    fn undo_until(&mut self, end: Instant) {
        loop {
            let due = self.undone.iter().enumerate().min_by_key(|(_, (due, ..))| *due);
            let Some((position, due)) = due.map(|(position, (due, ..))| (position, *due)) else {
                return sleep_until(end);
            };
            if due > end {
                return sleep_until(end);
            }
            sleep_until(due);
            let (_, undo, deed) = self.undone.swap_remove(position);
            self.undo(undo, deed);
        }
    }

    fn undo(&mut self, undo: Undo, deed: usize) {
        let from = now();
        match undo {
            Undo::Resume(worker) => self.crew.signal(worker, Signal::CONT),
            Undo::Thaw(_) | Undo::Mend(_) | Undo::Reconnect(_) => self.place.undo(undo),
        }
        let (Chronicle { deeds, windows }, to) = (&mut self.chronicle, now());
        let Deed { fault, from: began, .. } = deeds[deed];
        deeds[deed].to = to;
        windows.extend(fault.voids(self.place.backend).map(|void| match undo {
            Undo::Thaw(_) => Window { void, from: began, to: to + AFTERMATH },
            Undo::Resume(_) | Undo::Mend(_) | Undo::Reconnect(_) => Window { void, from, to },
        }));
    }
}
