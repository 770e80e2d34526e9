//! What a script can leave out, to prove that it would be missed.

/// A rule that the scripts of a broken server do not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the zoo names every one")]
pub enum Omission {
    /// Only the holder's token gives a lock back.
    ComparedRelease,
    /// R4: no command shortens a lease.
    LongerLease,
    /// Whatever takes a lock says for how long.
    Expiry,
    /// R9: every yes mints a number of its own.
    OwnNumber,
    /// R9: a number is no less than the server's microseconds.
    ServerTime,
    /// The counter outlives the lock.
    LastingCounter,
    /// R8, R10: who holds a lock does not wait for it as well.
    OwnEntry,
    /// R14: a token that was given up is refused.
    Refusal,
    /// R8: the dead at the head of the queue are dropped.
    DeadHead,
    /// Places in the queue are given by one clock.
    ServerScores,
    /// R10: whoever gives a lock back hands it to the next.
    HandOver,
    /// R8: a newcomer does not enter before whoever waits.
    QueueFirst,
    /// What gives a lock back without a look at the queue does so only if there is none.
    LookedForWaiters,
    /// R13: what is missing is not prolonged.
    HeldExtend,
    /// Each reader has a lease of its own.
    ReaderLease,
    /// Each permit has a lease of its own.
    PermitLease,
}
