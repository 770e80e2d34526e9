//! What a backend is to the engine.

use lock_proto::memory::Grant;
use lock_proto::{
    AcquireOptions, Demand, Fault, Instant, LockError, LockId, LockInfo, LossReason, Machine,
    Request, RequestId,
};

use crate::engine::Engine;
use crate::{Address, Pending};

/// Carries out one backend's commands, and decides nothing.
pub(crate) trait Link: Sized + Send + Sync + 'static {
    /// The machine whose commands these are.
    type Machine: Machine<Command: Send, Reply: Send, Cohort: Send> + Send;
    /// A machine and its site, or what makes them.
    type Opened: Opened<Self>;
    /// What the link keeps for one lock.
    type Site: Clone + Send;
    /// What the link keeps for all locks behind the engine's mutex.
    type Table: Default + Send;
    /// What carrying out a request takes outside of that mutex.
    type Errand;
    /// What carrying out a request takes where its answer never comes at once.
    type Letter;

    /// Where the lock `name` is.
    fn locate(&self, name: &str) -> Address;

    /// What one acquisition begins with.
    fn open(
        &self,
        address: &Address,
        demand: Demand,
        options: &AcquireOptions,
        now: Instant,
    ) -> Result<Self::Opened, LockError>;

    /// Gives a lock that is held back at once, if that takes no more than a look at the table, so
    /// that its machine is over; the engine's mutex is held. Otherwise nothing has happened.
    #[inline]
    fn give_back_at_once(
        &self,
        _table: &mut Self::Table,
        _lock: LockId,
        _site: &Self::Site,
        _machine: &mut Self::Machine,
        _now: Instant,
    ) -> bool {
        false
    }

    /// Carries one request out as far as that is computed; the engine's mutex is held.
    fn compute(
        &self,
        table: &mut Self::Table,
        lock: LockId,
        site: &Self::Site,
        request: Request<<Self::Machine as Machine>::Command>,
        now: Instant,
    ) -> Step<Self>;

    /// Carries the rest of a request out, which may take system calls; `None` if the answer comes
    /// from [`Link::poll_answer`], or from elsewhere.
    fn carry_out(
        &self,
        lock: LockId,
        site: &Self::Site,
        errand: Self::Errand,
        now: Instant,
    ) -> Option<Result<Reply<Self>, Fault>>;

    /// Sends what a request takes, outside of the engine's mutex; the answer comes from
    /// [`Link::poll_answer`] if [`Link::has_news`], or from elsewhere.
    fn send(&self, lock: LockId, letter: Self::Letter, now: Instant);

    /// Whether there is an answer to what was sent already.
    #[inline]
    fn has_news(&self) -> bool {
        false
    }

    /// Takes the next thing that a lock is to hear of. Called with the engine's mutex held, so that
    /// each lock hears in order.
    fn poll_answer(&self, table: &mut Self::Table, now: Instant) -> Option<(LockId, Answer<Self>)>;

    /// When time next matters to the link.
    fn poll_timeout(&self, table: &Self::Table) -> Option<Instant>;

    /// Whether nothing of the link depends on what time it is, and it has nothing to tell.
    #[inline]
    fn is_at_rest(&self, _table: &Self::Table) -> bool {
        false
    }

    /// Lets time pass, outside of the engine's mutex.
    fn handle_timeout(&self, _now: Instant) {}

    /// What comes for the lock `before`, and for its site, is for `lock` from now on.
    fn redirect(&self, _site: &Self::Site, _before: LockId, _lock: LockId) {}

    /// Nobody will hear of `lock`, and of its site, again.
    fn forget(&self, _site: &Self::Site, _lock: LockId) {}

    /// Who holds a lock.
    fn info(
        &self,
        engine: &Engine<Self>,
        address: &Address,
        demand: Demand,
        now: Instant,
    ) -> Pending<Result<LockInfo, LockError>>;

    /// The locks that are known.
    fn list(
        &self,
        engine: &Engine<Self>,
        now: Instant,
    ) -> Pending<Result<Vec<LockInfo>, LockError>>;
}

/// An acquisition that is about to have an id.
pub(crate) trait Opened<L: Link> {
    /// Takes the lock at once, if that takes no more than a look at the table; the engine's mutex is
    /// held. Otherwise nothing has happened.
    #[inline]
    fn take(&self, _table: &mut L::Table, _lock: LockId, _now: Instant) -> Option<Grant> {
        None
    }

    /// A machine that has what it took at `now`, and its site.
    fn held(self, grant: Grant, now: Instant) -> (L::Machine, L::Site);

    /// A machine that is to ask for the lock from `now` on, and its site.
    fn asking(self, now: Instant) -> (L::Machine, L::Site);
}

/// What takes nothing at once.
impl<L: Link> Opened<L> for (L::Machine, L::Site) {
    fn held(self, _: Grant, _: Instant) -> (L::Machine, L::Site) {
        self
    }

    fn asking(self, _: Instant) -> (L::Machine, L::Site) {
        self
    }
}

pub(crate) type Reply<L> = <<L as Link>::Machine as Machine>::Reply;

/// How far a request got without a system call.
pub(crate) enum Step<L: Link> {
    Answered(Result<Reply<L>, Fault>),
    /// The answer comes from [`Link::poll_answer`].
    Later,
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only Redis is written to"))]
    Send(L::Letter),
    #[cfg_attr(
        not(any(feature = "file", feature = "postgres")),
        expect(dead_code, reason = "memory needs no system calls, and Redis is written to")
    )]
    Outside(L::Errand),
}

/// What a link tells a lock later, or unasked.
pub(crate) enum Answer<L: Link> {
    Reply(RequestId, Result<Reply<L>, Fault>),
    Loss(LossReason),
}
