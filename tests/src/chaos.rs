//! Processes that take locks on real servers, while both are killed, stopped and cut off.
//!
//! [`run`] starts servers of its own and some workers, which are processes. A worker takes a mutex,
//! a reader-writer lock or a permit, and says in a log of its own when it asked, what it got, until
//! when it believed to have it, and when it let go. Under the mutex it adds an element to each of
//! two sets, by reading the set and writing it again: one that takes whatever is written, and one
//! that refuses who comes with an older fencing token than somebody before.
//!
//! Meanwhile a nemesis does to workers, servers and the network between what the backend is to
//! survive; and what it is not to survive as well, but then notes what is void from when to when.
//! In the end everything is mended, and whoever lives must get the lock once more.
//!
//! Then the logs are judged. The holds of each lock must be explained by a lock that does one thing
//! at a time ([`history`](crate::history)); and every element that was accepted must be in the set,
//! unless somebody wrote who had lost the lock.

mod backend;
mod crew;
mod evidence;
mod fault;
mod nemesis;
mod place;
mod record;
mod report;
mod store;
mod verdict;
mod worker;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use lock_proto::Jitter;
use rustix::process::Signal;
use tempfile::TempDir;

pub use backend::Backend;
pub use report::Report;
pub use worker::{Habit, work};

use crew::Crew;
use nemesis::{Chronicle, Nemesis};
use place::Place;

/// The lease of the workers' locks, where they have any.
pub const LEASE: Duration = Duration::from_secs(1);

/// How long it may take, once everything is mended, until each worker gets a lock again: the
/// time-outs of a connection, a lease, a claim and more of the like, on a busy machine.
const RECOVERY: Duration = Duration::from_secs(60);

/// What is to be done.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "whoever wants chaos says all of it")]
pub struct Plan {
    /// Whose locks.
    pub backend: Backend,
    /// For how long the nemesis rages.
    pub duration: Duration,
    /// What it does, as far as that does not depend on the machine.
    pub seed: u64,
    /// How many processes want locks.
    pub workers: u32,
    /// A program that calls [`work`] with the arguments that follow the word `work`.
    pub program: PathBuf,
}

/// Carries a plan out, and judges it. The logs are kept if something is wrong.
///
/// # Panics
///
/// If the servers can't be started.
#[must_use]
pub fn run(plan: &Plan) -> Report {
    let folder = TempDir::with_prefix("chaos-").expect("the temporary directory is there");
    let place = Place::start(plan.backend, folder.path());
    let mut crew = Crew::new(&plan.program, folder.path(), plan.seed);
    for _ in 0..plan.workers {
        crew.hire(&place, Habit::Diligent);
    }
    let mut nemesis = Nemesis::new(place, crew, plan.seed);
    nemesis.rage(Instant::now() + plan.duration);
    let (_place, crew, chronicle) = nemesis.mend();
    let fates = crew.finish(RECOVERY);
    verdict::judge(plan.backend, folder.path(), &fates, &chronicle).kept(plan.seed, folder)
}

/// What must go wrong: a worker is stopped for longer than its lease between its last look at the
/// lock and its writes, and another works meanwhile. Whoever writes without its fencing token then
/// wipes out what the other wrote; whoever shows it is refused.
///
/// # Panics
///
/// If the server can't be started, or a worker does not get so far.
#[must_use]
pub fn stopped_before_its_write(program: PathBuf) -> Report {
    let folder = TempDir::with_prefix("chaos-").expect("the temporary directory is there");
    let place = Place::start(Backend::Redis, folder.path());
    let mut crew = Crew::new(&program, folder.path(), 0);
    let stopped = crew.hire(&place, Habit::StopsBeforeItsWrite);
    crew.await_stop(stopped);
    let other = crew.hire(&place, Habit::OnlyOnce);
    crew.await_end(other, RECOVERY);
    crew.signal(stopped, Signal::CONT);
    let fates = crew.finish(RECOVERY);
    let nothing = Chronicle::default();
    verdict::judge(Backend::Redis, folder.path(), &fates, &nothing).kept(0, folder)
}

/// Nanoseconds on the clock that all processes of this machine share.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let since = Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Sleeps until `moment`, if it is still to come.
fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

/// One of so many choices.
fn pick(dice: &mut Jitter, choices: usize) -> usize {
    (dice.next_u64() % choices as u64) as usize
}
