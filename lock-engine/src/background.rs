//! The one thread that drives what nobody waits for: deadlines, and files that were closed.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use lock_proto::{Fault, Instant, LockId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Clock;

/// The thread's timer stops while the machine sleeps and its clock doesn't, so it never sleeps
/// longer than this while a deadline is set.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What the background thread drives.
pub(crate) trait Driven: Send + Sync {
    /// Does what is due.
    fn tick(&self);
    /// When something is due next.
    fn poll_timeout(&self) -> Option<Instant>;
    /// Tells a lock to look now.
    fn nudge(&self, lock: LockId);
}

/// The background thread of this process.
pub(crate) struct Background {
    plan: Mutex<Plan>,
    /// Writing to it wakes the thread.
    doorbell: File,
    #[cfg(all(feature = "file", target_os = "linux"))]
    watches: crate::file::Watches,
}

struct Plan {
    /// Until when the thread sleeps; while it is awake, the beginning of time, because it plans
    /// anew before it sleeps.
    sleeping_until: Instant,
    /// The deadline for which the thread was last woken. It is kept although its lock may be gone
    /// by then: locks that come and go would otherwise wake the thread once each.
    woken_for: Instant,
    driven: Vec<Weak<dyn Driven>>,
}

static BACKGROUND: Mutex<Option<Arc<Background>>> = Mutex::new(None);

impl Background {
    /// The process's background thread, started if need be.
    pub(crate) fn started() -> Result<Arc<Self>, Fault> {
        let mut background = BACKGROUND.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(background) = &*background {
            return Ok(Arc::clone(background));
        }
        let started = Self::start().map_err(|error| {
            Fault::not_sent(
                "the background thread can't be started: \
                 see the limits on threads and open files (ulimit -u, ulimit -n)",
            )
            .with_cause(error)
        })?;
        Ok(Arc::clone(background.insert(started)))
    }

    fn start() -> std::io::Result<Arc<Self>> {
        let (ears, doorbell) = std::io::pipe()?;
        let ears = File::from(OwnedFd::from(ears));
        let doorbell = File::from(OwnedFd::from(doorbell));
        for end in [&ears, &doorbell] {
            rustix::io::ioctl_fionbio(end, true)?;
        }
        let background = Arc::new(Self {
            plan: Mutex::new(Plan {
                sleeping_until: Instant::ZERO,
                woken_for: Instant::ZERO,
                driven: Vec::new(),
            }),
            doorbell,
            #[cfg(all(feature = "file", target_os = "linux"))]
            watches: crate::file::Watches::new()?,
        });
        let thread = thread::Builder::new().name("distributed-lock".into());
        let worker = Arc::clone(&background);
        thread.spawn(move || worker.run(ears))?;
        Ok(background)
    }

    /// Drives `driven` until it is dropped.
    pub(crate) fn register(&self, driven: Weak<dyn Driven>) {
        let mut plan = self.plan();
        plan.driven.push(driven);
        self.wake(&mut plan, Instant::ZERO);
    }

    /// Sees to it that the thread is awake at `deadline`.
    pub(crate) fn wake_by(&self, deadline: Instant) {
        let mut plan = self.plan();
        if deadline < plan.sleeping_until {
            self.wake(&mut plan, deadline);
        }
    }

    /// The watched files.
    #[cfg(all(feature = "file", target_os = "linux"))]
    pub(crate) fn watches(&self) -> &crate::file::Watches {
        &self.watches
    }

    fn wake(&self, plan: &mut Plan, deadline: Instant) {
        plan.sleeping_until = plan.sleeping_until.min(deadline);
        plan.woken_for = deadline;
        // A pipe that is full wakes the thread as well.
        let _ = (&self.doorbell).write(&[0]);
    }

    fn run(&self, mut ears: File) {
        loop {
            self.sleep(&ears);
            self.plan().sleeping_until = Instant::ZERO;
            let mut rings = [0; 64];
            while ears.read(&mut rings).is_ok_and(|rung| rung == rings.len()) {}
            #[cfg(all(feature = "file", target_os = "linux"))]
            for (driven, lock) in self.watches.closed_files() {
                guarded(|| driven.nudge(lock));
            }
            for driven in self.driven() {
                guarded(|| driven.tick());
            }
        }
    }

    fn sleep(&self, ears: &File) {
        let deadline = self.plan_sleep();
        let timeout = deadline.map(|deadline| {
            let rest = deadline.since(Clock::System.now()).min(LONGEST_SLEEP);
            Timespec {
                tv_sec: i64::try_from(rest.as_secs()).unwrap_or(1),
                tv_nsec: rest.subsec_nanos().into(),
            }
        });
        let mut sources: Vec<PollFd<'_>> = self
            .sources(ears)
            .into_iter()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        // An interrupted sleep is a short one.
        let _ = poll(&mut sources, timeout.as_ref());
    }

    /// Decides until when to sleep. Nobody's provider is kept alive meanwhile.
    fn plan_sleep(&self) -> Option<Instant> {
        let mut plan = self.plan();
        let driven: Vec<_> = plan.driven.iter().filter_map(Weak::upgrade).collect();
        let woken_for = Some(plan.woken_for).filter(|at| *at > Clock::System.now());
        let deadlines = driven.iter().filter_map(|driven| driven.poll_timeout());
        let deadline = deadlines.chain(woken_for).min();
        plan.sleeping_until = deadline.unwrap_or(Instant::FAR_FUTURE);
        drop(plan);
        deadline
    }

    fn sources<'a>(&'a self, ears: &'a File) -> Vec<BorrowedFd<'a>> {
        vec![
            ears.as_fd(),
            #[cfg(all(feature = "file", target_os = "linux"))]
            self.watches.as_fd(),
        ]
    }

    fn driven(&self) -> Vec<Arc<dyn Driven>> {
        let mut plan = self.plan();
        plan.driven.retain(|driven| driven.strong_count() > 0);
        plan.driven.iter().filter_map(Weak::upgrade).collect()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A waker that panics is its owner's bug, and may not end everybody else's renewals or waits.
pub(crate) fn guarded(drive: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(drive));
}
