//! Several processes that lock files of one directory, under a schedule made of bytes.

mod client;
mod finish;

use std::collections::BTreeMap;
use std::time::Duration;

use lock_proto::file::{Command, File, FileLock, FileLockOptions, Identity, Reply};
use lock_proto::memory::LockTable;
use lock_proto::{
    AcquireOptions, Demand, Fault, Hub, Instant, LockId, LockName, LossReason, RequestId, Seed,
};

use self::client::Client;
use crate::entropy::Entropy;
use crate::service::disk::{Disk, Lie, Opener};
use crate::trace::{Happening, Trace};

/// More would make the schedule long without making it richer.
const PROCESSES: usize = 3;
const LOCKS: usize = 10;

/// What kind of world it is.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    lie: Lie,
    strangers: bool,
    faults: bool,
}

impl Setting {
    /// Everything that can go wrong does.
    #[must_use]
    pub fn harsh() -> Self {
        Self { lie: Lie::None, strangers: true, faults: true }
    }

    /// Nobody else deletes files, and nothing fails.
    #[must_use]
    pub fn mild() -> Self {
        Self { lie: Lie::None, strangers: false, faults: false }
    }

    /// As mild as [`Setting::mild`], but the disk lies.
    #[must_use]
    pub fn lying(lie: Lie) -> Self {
        Self { lie, ..Self::mild() }
    }
}

/// The state of one run.
#[derive(Debug)]
pub struct World<'a> {
    setting: Setting,
    entropy: Entropy,
    now: Instant,
    disk: Disk,
    processes: Vec<Process>,
    wire: Vec<Flight>,
    nudges: Vec<Opener>,
    demands: Vec<Demand>,
    remove_on_release: bool,
    started: usize,
    clock_went_back: bool,
    last_fence: u64,
    fences: BTreeMap<usize, u64>,
    trace: &'a mut Trace,
}

/// One incarnation of a process.
#[derive(Debug)]
struct Process {
    number: u32,
    hub: Hub<FileLock, Client>,
    table: LockTable,
}

/// A request on its way, or its answer on the way back.
#[derive(Debug)]
struct Flight {
    opener: Opener,
    id: RequestId,
    command: Command,
    announced: bool,
    outcome: Option<Result<Reply, Fault>>,
}

/// Runs one world to its end.
///
/// # Panics
///
/// If an invariant is violated.
pub fn run(setting: Setting, entropy: Entropy, trace: &mut Trace) {
    let mut world = World::new(setting, entropy, trace);
    while let Some(choice) = world.entropy.choose(32) {
        world.step(choice);
        // Taking what a machine says late costs latency and nothing else.
        if !world.entropy.happens(64) {
            world.settle_outputs();
        }
    }
    world.finish();
}

impl<'a> World<'a> {
    fn new(setting: Setting, mut entropy: Entropy, trace: &'a mut Trace) -> Self {
        let limit = 1 + u32::from(entropy.pick(3) == 0) + u32::from(entropy.pick(2) == 0);
        let permits = |count| Demand::permits(count, limit).expect("within the limit");
        let demands = match entropy.pick(3) {
            0 => vec![Demand::Exclusive],
            1 => vec![Demand::Exclusive, Demand::Shared, Demand::Shared],
            _ => vec![permits(1), permits(1 + (limit - 1) / 2), permits(limit)],
        };
        let remove_on_release = setting.lie != Lie::None || entropy.pick(2) == 0;
        let directory = entropy.pick(4) > 0;
        let numbers = 0..u32::try_from(PROCESSES).expect("a few");
        Self {
            setting,
            entropy,
            now: Instant::ZERO,
            disk: Disk::new(setting.lie, directory),
            processes: numbers.map(Process::new).collect(),
            wire: Vec::new(),
            nudges: Vec::new(),
            demands,
            remove_on_release,
            started: 0,
            clock_went_back: false,
            last_fence: 0,
            fences: BTreeMap::new(),
            trace,
        }
    }

    fn step(&mut self, choice: usize) {
        match choice {
            0..=10 => self.carry_out_any(),
            11..=20 => self.deliver_any(),
            21 | 22 => self.nudge_any(),
            23 | 24 => self.let_time_pass(),
            25..=27 => self.start(),
            28 | 29 => self.release_any(),
            30 => self.announce_any(),
            _ => self.disturb(),
        }
    }

    /// What nobody asked for.
    fn disturb(&mut self) {
        let at = self.since_the_beginning();
        match self.entropy.pick(8) {
            0 => self.kill(),
            1 if self.setting.strangers => {
                let files = [File::Lock, File::Gate, File::Permit(0), File::Permit(1)];
                let file = files[self.entropy.pick(files.len())];
                let unlinked = self.disk.unlink(file);
                self.trace.fault(at, || format!("a stranger deletes {file:?}: {unlinked}"));
            }
            2 if self.setting.strangers => {
                self.disk.unlink_directory();
                self.trace.fault(at, || "a stranger deletes the directory".into());
            }
            3 => {
                self.disk.set_clock(true, 1_000_000);
                self.trace.fault(at, || "the wall clock goes ahead".into());
            }
            4 if self.setting.faults => {
                self.disk.set_clock(false, 2_000_000);
                self.clock_went_back = true;
                self.trace.fault(at, || "the wall clock goes back".into());
            }
            5 => self.on_any_lock("disconnect", |hub, lock, now| {
                hub.disconnect(lock, LossReason::Revoked, now);
            }),
            6 => self.on_any_lock("spurious nudge", Hub::nudge),
            _ => self.on_any_lock("extend", |hub, lock, now| {
                hub.extend(lock, Duration::from_millis(300), now);
            }),
        }
    }

    fn start(&mut self) {
        if self.started == LOCKS {
            return;
        }
        self.started += 1;
        let demand = self.demands[self.entropy.pick(self.demands.len())];
        let timeout = match self.entropy.pick(4) {
            0 => Some(Duration::ZERO),
            1 => Some(Duration::from_millis(1500)),
            _ => None,
        };
        let mut options = AcquireOptions::new().with_timeout(timeout);
        if self.entropy.pick(6) == 0 {
            options = options.with_ttl(Duration::from_millis(1500)).with_max_renewals(1);
        }
        let host = Identity::new("build-7", 4242);
        let settings = FileLockOptions::new(host).with_remove_on_release(self.remove_on_release);
        let seed = Seed::from_bytes([u8::try_from(self.started).unwrap_or(0); 32]);
        let machine = FileLock::new(name(), demand, &options, settings, &seed, self.now);
        let process = self.entropy.pick(PROCESSES);
        let client = Client::new(demand, timeout);
        let process = &mut self.processes[process];
        let lock = process.hub.start(machine.expect("sensible options"), client, self.now);
        let number = process.number;
        self.trace.note(|| format!("process {number} wants {demand:?} as {lock:?}, {timeout:?}"));
        let (at, client) = (self.since_the_beginning(), number as usize);
        let side = demand.into();
        self.trace.happened(at, || Happening::Asked { client, lock, name: "orders", side });
    }

    fn carry_out_any(&mut self) {
        let waiting: Vec<usize> = (0..self.wire.len())
            .filter(|flight| self.wire[*flight].outcome.is_none() && !self.wire[*flight].queued())
            .collect();
        if !waiting.is_empty() {
            let chosen = waiting[self.entropy.pick(waiting.len())];
            self.carry_out(chosen);
        }
    }

    fn deliver_any(&mut self) {
        let answered: Vec<usize> =
            (0..self.wire.len()).filter(|flight| self.wire[*flight].outcome.is_some()).collect();
        if !answered.is_empty() {
            let chosen = answered[self.entropy.pick(answered.len())];
            self.deliver(chosen);
        }
    }

    fn nudge_any(&mut self) {
        if !self.nudges.is_empty() {
            let chosen = self.entropy.pick(self.nudges.len());
            self.nudge(chosen);
        }
    }

    /// A close is heard of before it has unlocked.
    fn announce_any(&mut self) {
        let closing = self.wire.iter_mut().find(|flight| {
            let close = matches!(flight.command, Command::Close(_));
            close && flight.outcome.is_none() && !flight.announced
        });
        if let Some(Flight { opener, command: Command::Close(file), announced, .. }) = closing {
            *announced = true;
            self.trace.event();
            self.nudges.extend(self.disk.watchers(*opener, *file));
        }
    }

    fn release_any(&mut self) {
        let process = self.entropy.pick(PROCESSES);
        let locks: Vec<LockId> = self.processes[process].hub.locks().collect();
        if !locks.is_empty() {
            let lock = locks[self.entropy.pick(locks.len())];
            self.release(process, lock);
        }
    }

    fn on_any_lock(
        &mut self,
        word: &str,
        act: impl Fn(&mut Hub<FileLock, Client>, LockId, Instant),
    ) {
        let process = self.entropy.pick(PROCESSES);
        let locks: Vec<LockId> = self.processes[process].hub.locks().collect();
        if !locks.is_empty() {
            let lock = locks[self.entropy.pick(locks.len())];
            self.trace.note(|| format!("{word} for {lock:?} of process slot {process}"));
            self.trace.event();
            act(&mut self.processes[process].hub, lock, self.now);
        }
    }

    fn kill(&mut self) {
        let slot = self.entropy.pick(PROCESSES);
        let number = self.processes[slot].number;
        self.trace.note(|| format!("process {number} is killed"));
        let at = self.since_the_beginning();
        self.trace.happened(at, || Happening::Crashed { client: number as usize });
        let woken = self.disk.kill(number);
        if !woken.is_empty() {
            self.trace.saw("somebody waits for a killed process");
        }
        self.wire.retain(|flight| flight.opener.process != number);
        self.nudges.extend(woken);
        self.nudges.retain(|opener| opener.process != number);
        let next = self.processes.iter().map(|process| process.number).max().unwrap_or(0) + 1;
        self.processes[slot] = Process::new(next);
    }

    fn let_time_pass(&mut self) {
        let next = self.processes.iter().filter_map(|process| process.hub.poll_timeout()).min();
        let Some(next) = next else {
            return;
        };
        self.now = self.now.max(next);
        let now = self.now;
        self.trace.note(|| format!("{now:?}"));
        self.trace.event();
        for process in &mut self.processes {
            while process.hub.poll_due(now).is_some() {
                self.trace.event();
            }
            let after = process.hub.poll_timeout();
            assert!(after.is_none_or(|after| after > now), "M2: {after:?} is not after {now:?}");
        }
    }

    fn since_the_beginning(&self) -> Duration {
        self.now.since(Instant::ZERO)
    }

    fn slot(&self, number: u32) -> usize {
        let slot = self.processes.iter().position(|process| process.number == number);
        slot.expect("what a killed process had on its way is gone")
    }
}

impl Process {
    fn new(number: u32) -> Self {
        Self { number, hub: Hub::new(), table: LockTable::new() }
    }
}

impl Flight {
    /// Whether the process's own queue answers it.
    fn queued(&self) -> bool {
        matches!(self.command, Command::Enter { .. } | Command::Leave)
    }
}

fn name() -> LockName {
    LockName::new("orders").expect("a short name")
}
