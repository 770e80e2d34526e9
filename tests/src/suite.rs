//! What every lock must do, whatever its backend and adapter: one list of cases, in blocking words.
//!
//! A column is one backend under one adapter. `tests/it/suite.rs` runs each case in each
//! column, and fails if one is missing.

pub mod adapters;
pub mod core_cases;
pub mod distributed_lock;
pub mod fault_tolerance;
mod postgres_place;
pub mod redis_place;
pub mod sync_primitives;
pub mod watched;

use std::time::Duration;

use lock_blocking::{AcquireOptions, LockError, LockInfo, LossReason};

use adapters::Backend;

/// Long enough for anything that is to happen; only a failure lasts as long.
pub const SOON: Duration = Duration::from_secs(20);

/// One provider of one backend under one adapter.
pub trait Provider: Send + Sync {
    /// `create_lock`.
    fn lock(&self, name: &str) -> Box<dyn Acquire>;
    /// The read side of `create_reader_writer_lock`.
    fn reader(&self, name: &str) -> Box<dyn Acquire>;
    /// The write side of `create_reader_writer_lock`.
    fn writer(&self, name: &str) -> Box<dyn Acquire>;
    /// `create_semaphore`, of which `permits` are taken at a time.
    fn semaphore(&self, name: &str, limit: u32, permits: u32) -> Box<dyn Acquire>;
    /// `list`.
    fn list(&self) -> Result<Vec<LockInfo>, LockError>;
    /// `close`.
    fn close(&self);
}

/// Something to acquire.
pub trait Acquire: Send + Sync {
    /// `name`.
    fn name(&self) -> String;
    /// `acquire_with`, or its like.
    fn acquire_with(&self, options: AcquireOptions) -> Result<Box<dyn Held>, LockError>;
    /// `acquire`, or its like.
    fn acquire(&self, timeout: Option<Duration>) -> Result<Box<dyn Held>, LockError>;
    /// `try_acquire`, or its like.
    fn try_acquire(&self) -> Result<Option<Box<dyn Held>>, LockError>;
    /// `info`.
    fn info(&self) -> Result<LockInfo, LockError>;
}

/// A handle.
pub trait Held: Send {
    /// `fence`.
    fn fence(&self) -> Option<u64>;
    /// `is_valid`.
    fn is_valid(&self) -> bool;
    /// `remaining`.
    fn remaining(&self) -> Option<Duration>;
    /// `extend`.
    fn extend(&self, ttl: Duration) -> Result<(), LockError>;
    /// `lost_token`.
    fn lost_token(&self) -> Box<dyn Lost>;
    /// `release`.
    fn release(self: Box<Self>) -> Result<(), LockError>;
}

/// A lost token.
pub trait Lost: Send {
    /// `reason`, and `is_lost` with it.
    fn reason(&self) -> Option<LossReason>;
    /// `changed`, which is certain to come.
    fn changed(&self) -> LossReason;
    /// `is_expiring`.
    fn is_expiring(&self) -> bool;
    /// `expiring`, which is certain to come.
    fn expiring(&self);
}

/// Where a case runs.
pub trait Column {
    /// A provider of locks that nobody holds, or another one of the same locks.
    fn provider(&self) -> Box<dyn Provider>;
    /// Its backend.
    fn backend(&self) -> Backend;

    /// Whether there are semaphores. Those that there are not are refused.
    ///
    /// # Panics
    ///
    /// If they are not refused.
    fn has_semaphores(&self) -> bool {
        if self.backend().is_transaction() {
            let refused = self.provider().semaphore("a", 3, 1).try_acquire().map(drop);
            assert!(matches!(refused, Err(LockError::Unsupported(_))), "{refused:?}");
        }
        !self.backend().is_transaction()
    }
}

/// Calls `$callback` with its arguments and the list of all cases, by theme.
#[macro_export]
macro_rules! each_case {
    ($callback:ident! $($arguments:tt)*) => {
        $callback! {
            $($arguments)*
            distributed_lock {
                a_mutex_is_a_lock
                a_writer_is_a_lock
                a_permit_of_one_is_a_lock
                the_last_permit_of_five_is_a_lock
                the_names_are_what_they_were_given
                names_that_look_alike_are_different_locks
                odd_names_are_locks
                two_objects_of_one_name_are_one_lock
                two_providers_share_their_locks
                a_waiter_is_woken_although_another_provider_gave_up
                an_old_holder_never_frees_the_newer_one
                waiters_are_served_in_the_order_they_came
                a_hundred_acquirers_are_never_two_inside
                twenty_threads_take_turns_a_thousand_times
                fences_rise_from_holder_to_holder
                a_holder_is_known_to_those_who_ask
                locks_are_listed
                a_handle_outlives_its_provider
            }
            sync_primitives {
                readers_share_and_writers_do_not
                a_waiting_writer_keeps_new_readers_out
                readers_that_waited_go_before_the_next_writer
                a_writer_that_gives_up_lets_the_readers_in
                a_mutex_and_a_writer_of_one_name_exclude_each_other
                many_readers_fit
                permits_run_out_and_come_back
                permits_are_had_all_or_none
                a_taker_of_many_is_not_overtaken
                permits_that_do_not_exist_are_refused
                a_hundred_takers_reach_and_keep_the_limit
                a_huge_limit_is_no_burden
                takers_are_held_to_the_limit_they_bring
                permits_are_shown_whichever_came_back_first
                a_semaphore_and_a_mutex_of_one_name_are_independent
            }
            fault_tolerance {
                a_lost_token_is_silent_while_held_and_after_release
                a_hold_ends_at_its_limit
                a_lease_that_is_not_renewed_ends
                a_lease_that_runs_out_is_told_of_before
                a_lease_is_renewed_until_released
                renewals_end_when_they_are_used_up
                a_lease_is_extended_by_hand
                a_lock_without_a_lease_is_extended_for_nothing
                wrong_options_are_named
                a_name_that_is_too_long_is_refused
                closing_cancels_and_releases
                a_panicking_holder_frees_the_lock
            }
        }
    };
}
