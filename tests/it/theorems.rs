//! What is promised of exclusion and fences, and what is not: each in both directions.

use lock_tests::entropy::Entropy;
use lock_tests::postgres_world::{self, Flaw, Pooling};
use lock_tests::quorum_world::{self, Rule as Vote};
use lock_tests::redis_model::Omission;
use lock_tests::seeds::{Simulation, schedule, seeds_until, violation};
use lock_tests::server_world::{self, Habit, Rule};
use lock_tests::trace::Trace;

/// None of `seeds` schedules violates anything, and each of `states` is reached.
fn holds(seeds: u64, simulation: Simulation, states: &[&str]) {
    let mut trace = Trace::silent();
    for seed in 0..seeds {
        let violated = violation(&schedule(seed), simulation, &mut trace);
        assert!(violated.is_none(), "seed {seed}: {violated:?}");
    }
    trace.sightings().must_have_seen(states);
}

/// One of `seeds` schedules violates the invariant of that name.
fn fails(seeds: u64, invariant: &str, simulation: Simulation) {
    assert!(seeds_until(0..seeds, invariant, simulation).is_some(), "never violated: {invariant}");
}

fn server(setting: server_world::Setting, entropy: Entropy, trace: &mut Trace) {
    server_world::run(setting, entropy, trace);
}

fn without(rule: Rule, entropy: Entropy, trace: &mut Trace) {
    server_world::run(server_world::Setting::Broken(rule), entropy, trace);
}

fn servers(setting: quorum_world::Setting, entropy: Entropy, trace: &mut Trace) {
    quorum_world::run(setting, entropy, trace);
}

fn votes_without(rule: Vote, entropy: Entropy, trace: &mut Trace) {
    quorum_world::run(quorum_world::Setting::Broken(rule), entropy, trace);
}

fn sessions(flaw: Flaw, entropy: Entropy, trace: &mut Trace) {
    postgres_world::run(flaw, entropy, trace);
}

fn pooled(pooling: Pooling, entropy: Entropy, trace: &mut Trace) {
    postgres_world::run_pooled(pooling, entropy, trace);
}

#[test]
fn within_the_bound_of_the_clocks_one_server_lets_nobody_in_beside_a_holder() {
    let faithful: Simulation = |bytes, trace| server(server_world::Setting::Faithful, bytes, trace);
    let states = ["a client stood still", "a write with an older token was refused"];
    holds(4_000, faithful, &states);
}

#[test]
fn outside_the_bound_of_the_clocks_exclusion_breaks_and_a_fenced_store_stands() {
    fails(4_000, "exclusion", |bytes, trace| without(Rule::Drift, bytes, trace));
    fails(4_000, "exclusion", |bytes, trace| votes_without(Vote::Drift, bytes, trace));
    let refused = ["a write with an older token was refused"];
    let wild: Simulation = |bytes, trace| server(server_world::Setting::Wild, bytes, trace);
    holds(4_000, wild, &refused);
    let wild: Simulation = |bytes, trace| servers(quorum_world::Setting::Wild, bytes, trace);
    holds(2_000, wild, &refused);
}

#[test]
fn a_client_that_stands_still_overwrites_an_unfenced_store() {
    fails(4_000, "storage", |bytes, trace| without(Rule::FencedStorage, bytes, trace));
    fails(6_000, "storage", |bytes, trace| votes_without(Vote::FencedStorage, bytes, trace));
}

#[test]
fn the_move_of_a_slot_forgets_nothing_unless_a_replica_takes_over_that_knows_nothing_of_it() {
    let cluster: Simulation = |bytes, trace| server(server_world::Setting::Cluster, bytes, trace);
    holds(
        3_000,
        cluster,
        &["a lock is held across a whole move", "a script lost its keys half-way"],
    );
    fails(4_000, "exclusion", |bytes, trace| {
        without(Rule::Driver(Habit::ForgottenMove), bytes, trace);
    });
    let forgetful: Simulation =
        |bytes, trace| server(server_world::Setting::ForgetfulCluster, bytes, trace);
    holds(3_000, forgetful, &["a write with an older token was refused"]);
}

#[test]
fn fences_rise_through_a_server_that_forgets_if_each_connection_mints_first() {
    let forgetful: Simulation =
        |bytes, trace| server(server_world::Setting::Forgetful, bytes, trace);
    holds(4_000, forgetful, &["the server forgot", "a write with an older token was refused"]);
    fails(4_000, "fence", |bytes, trace| without(Rule::MintedPerConnection, bytes, trace));
    let from_one: Simulation =
        |bytes, trace| without(Rule::Script(Omission::ServerTime), bytes, trace);
    fails(4_000, "fence", from_one);
}

#[test]
fn a_clock_of_the_server_that_goes_back_harms_nothing_unless_a_counter_is_lost() {
    let faithful: Simulation = |bytes, trace| server(server_world::Setting::Faithful, bytes, trace);
    holds(4_000, faithful, &["the server's clock was set"]);
    fails(4_000, "fence", |bytes, trace| without(Rule::ClockGoesOn, bytes, trace));
}

#[test]
fn a_clock_of_the_server_that_goes_ahead_breaks_exclusion_and_a_fenced_store_stands() {
    fails(4_000, "exclusion", |bytes, trace| without(Rule::SteadyServer, bytes, trace));
    let wild: Simulation = |bytes, trace| server(server_world::Setting::Wild, bytes, trace);
    holds(4_000, wild, &["the server's clock was set", "a write with an older token was refused"]);
}

#[test]
fn a_lock_that_is_evicted_breaks_exclusion_and_fences_rise_while_the_counter_stays() {
    fails(4_000, "exclusion", |bytes, trace| without(Rule::KeptLocks, bytes, trace));
    let forgetful: Simulation =
        |bytes, trace| server(server_world::Setting::Forgetful, bytes, trace);
    holds(4_000, forgetful, &["a lock was evicted", "a write with an older token was refused"]);
}

#[test]
fn renewals_and_holds_keep_to_what_was_agreed_or_it_is_found_out() {
    // That they do is looked at in every world of Redis.
    fails(4_000, "limit", |bytes, trace| without(Rule::KeptLimits, bytes, trace));
    fails(4_000, "limit", |bytes, trace| votes_without(Vote::KeptLimits, bytes, trace));
}

#[test]
fn a_lock_is_passed_on_for_no_longer_than_was_agreed_unless_the_clock_stands_still() {
    let faithful: Simulation = |bytes, trace| server(server_world::Setting::Faithful, bytes, trace);
    holds(4_000, faithful, &["a lock was passed on within its process"]);
    fails(8_000, "passing", |bytes, trace| without(Rule::SleeplessClock, bytes, trace));
}

#[test]
fn where_no_server_forgets_ballots_rise_if_yeses_of_one_ballot_count() {
    let faithful: Simulation =
        |bytes, trace| servers(quorum_world::Setting::Faithful, bytes, trace);
    holds(2_000, faithful, &["a client stood still", "a yes at another ballot"]);
    fails(4_000, "ballots", |bytes, trace| votes_without(Vote::SameBallot, bytes, trace));
    fails(4_000, "ballots", |bytes, trace| votes_without(Vote::CountedBallot, bytes, trace));
}

#[test]
fn where_one_server_forgets_only_a_majority_and_one_more_excludes_and_orders() {
    let forgetful: Simulation =
        |bytes, trace| servers(quorum_world::Setting::Forgetful, bytes, trace);
    let states =
        ["a server forgot", "requests outlived the restart of their server", "table B, (c)"];
    holds(3_000, forgetful, &states);
    fails(4_000, "exclusion", |bytes, trace| votes_without(Vote::SpareServer, bytes, trace));
    fails(4_000, "ballots", |bytes, trace| votes_without(Vote::SpareGrant, bytes, trace));
}

#[test]
fn where_all_clocks_agree_whoever_asks_later_has_the_greater_ballot_and_one_fast_clock_ends_that() {
    let agreed: Simulation = |bytes, trace| servers(quorum_world::Setting::Agreed, bytes, trace);
    holds(3_000, agreed, &["a server forgot"]);
    fails(4_000, "ballots", |bytes, trace| votes_without(Vote::NoFastClock, bytes, trace));
}

#[test]
fn a_yes_that_comes_too_late_revives_nothing_unless_the_clock_stood_still() {
    fails(4_000, "exclusion", |bytes, trace| votes_without(Vote::SleeplessClock, bytes, trace));
}

#[test]
fn waiters_are_served_in_the_order_in_which_they_came_or_it_is_found_out() {
    // That they are is looked at in every world that keeps what it was told.
    let omissions: [Simulation; 3] = [
        |bytes, trace| without(Rule::Script(Omission::HandOver), bytes, trace),
        |bytes, trace| without(Rule::Script(Omission::QueueFirst), bytes, trace),
        |bytes, trace| without(Rule::Script(Omission::LookedForWaiters), bytes, trace),
    ];
    omissions.into_iter().for_each(|omission| fails(4_000, "order", omission));
}

#[test]
fn behind_a_pooler_by_transactions_transactions_exclude_and_sessions_do_not() {
    let states = ["a connection was bound to another session", "whoever waits for ever is served"];
    holds(4_000, |bytes, trace| pooled(Pooling::Sound, bytes, trace), &states);
    fails(100, "exclusion", |bytes, trace| pooled(Pooling::SessionLocks, bytes, trace));
}

#[test]
fn a_session_that_is_passed_on_has_nothing_of_its_last_client_if_it_is_reset() {
    let sound: Simulation = |bytes, trace| pooled(Pooling::Sound, bytes, trace);
    holds(4_000, sound, &["a session outlived its client"]);
    fails(100, "leak", |bytes, trace| pooled(Pooling::NoReset, bytes, trace));
}

#[test]
fn fences_of_postgres_rise_through_crashes_and_promotions_that_were_heard_of() {
    let sound: Simulation = |bytes, trace| sessions(Flaw::None, bytes, trace);
    let states = ["a standby that lacked transactions was promoted", "a backend was killed"];
    holds(4_000, sound, &states);
    fails(4_000, "fence", |bytes, trace| sessions(Flaw::LeavesLogInMemory, bytes, trace));
    fails(8_000, "fence", |bytes, trace| sessions(Flaw::PromotesStrangers, bytes, trace));
}

#[test]
fn a_fenced_store_stands_where_sessions_are_killed_and_an_unfenced_one_does_not() {
    let sound: Simulation = |bytes, trace| sessions(Flaw::None, bytes, trace);
    holds(4_000, sound, &["a backend was killed", "a write with an older token was refused"]);
    fails(4_000, "storage", |bytes, trace| sessions(Flaw::UnfencedStorage, bytes, trace));
}
