//! What the doctor makes of what servers say of themselves.

use std::time::Duration;

use lock_proto::redis::{Arrangement, ClockReading, Finding, Reading, examine};
use lock_proto::{Fault, Instant, Severity};

/// Redis 6.0.16 as Debian 11 has it: snapshots, no log.
const REDIS_6_0: &str = "# Server\r\nredis_version:6.0.16\r\nredis_git_sha1:00000000\r\n\
    redis_mode:standalone\r\nrun_id:60aa0000000000000000000000000000000000aa\r\ntcp_port:6379\r\n\
    \r\n# Memory\r\nused_memory:865120\r\nmaxmemory:0\r\nmaxmemory_human:0B\r\n\
    maxmemory_policy:noeviction\r\n\r\n# Persistence\r\nloading:0\r\n\
    rdb_changes_since_last_save:0\r\nrdb_last_bgsave_status:ok\r\naof_enabled:0\r\n\
    aof_last_write_status:ok\r\n\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\
    master_replid:0ddc0ffee\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n";

/// Redis 6.2.14 as a cache.
const REDIS_6_2: &str = "# Server\r\nredis_version:6.2.14\r\nredis_mode:standalone\r\n\
    run_id:62aa0000000000000000000000000000000000aa\r\ntcp_port:6379\r\n\r\n# Memory\r\n\
    used_memory:873368\r\nmaxmemory:104857600\r\nmaxmemory_human:100.00M\r\n\
    maxmemory_policy:volatile-lru\r\n\r\n# Persistence\r\nloading:0\r\naof_enabled:1\r\n\
    aof_rewrite_in_progress:0\r\naof_current_size:0\r\n\r\n# Replication\r\nrole:master\r\n\
    connected_slaves:0\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n";

/// Redis 7.0.15, set up for locks.
const REDIS_7_0: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n\
    monotonic_clock:POSIX clock_gettime\r\nrun_id:70aa0000000000000000000000000000000000aa\r\n\
    executable:/usr/bin/redis-server\r\nconfig_file:\r\n\r\n# Memory\r\nused_memory:1541280\r\n\
    maxmemory:0\r\nmaxmemory_human:0B\r\nmaxmemory_policy:noeviction\r\n\r\n# Persistence\r\n\
    loading:0\r\nasync_loading:0\r\naof_enabled:1\r\naof_rewrite_in_progress:0\r\n\r\n\
    # Replication\r\nrole:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n\
    \r\n# Cluster\r\ncluster_enabled:0\r\n";

/// Valkey 8.0.1 with a replica.
const VALKEY_8: &str = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\n\
    valkey_version:8.0.1\r\nvalkey_release_stage:ga\r\nserver_mode:standalone\r\n\
    run_id:80aa0000000000000000000000000000000000aa\r\n\r\n# Memory\r\nused_memory:1041280\r\n\
    maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n\r\n# Persistence\r\nloading:0\r\n\
    aof_enabled:1\r\n\r\n# Replication\r\nrole:master\r\nconnected_slaves:1\r\n\
    slave0:ip=10.0.0.2,port=6379,state=online,offset=14,lag=0,type=replica\r\n\r\n# Cluster\r\n\
    cluster_enabled:0\r\n";

#[test]
fn a_server_that_is_set_up_for_locks_has_nothing() {
    let readings = [reading("a", REDIS_7_0).with_setting("appendfsync", "always")];

    check(Arrangement::Single, &readings, &[]);
}

#[test]
fn an_old_server_is_told_what_it_lacks() {
    let findings = check(
        Arrangement::Single,
        &[reading("a", REDIS_6_0)],
        &["danger: a is Redis 6.0.16, and 6.2", "advice: a keeps no log of its writes"],
    );

    assert!(findings[0].to_string().contains("RESP3"));
}

#[test]
fn versions_are_numbers_and_not_texts() {
    let of = |version: &str| reading("a", &REDIS_7_0.replace("7.0.15", version));
    for (version, too_old) in
        [("5.0.14", true), ("6.1.240", true), ("6.2.0", false), ("10.1.0", false), ("x", false)]
    {
        let findings = examine(Arrangement::Single, &[of(version)], None);

        let told = findings.iter().any(|finding| matches!(finding, Finding::TooOld { .. }));
        assert_eq!(told, too_old, "{version}");
    }
}

#[test]
fn locks_that_may_be_evicted_are_a_danger_as_soon_as_memory_is_limited() {
    check(
        Arrangement::Single,
        &[reading("a", REDIS_6_2)],
        &[
            "danger: a may delete locks when its memory is full (maxmemory-policy volatile-lru)",
            "advice: a answers before its writes are on disk (unless appendfsync is always)",
        ],
    );
    check(
        Arrangement::Single,
        &[reading("a", &REDIS_6_2.replace("maxmemory:104857600", "maxmemory:0"))],
        &[
            "advice: a may delete locks once its maxmemory is set (maxmemory-policy volatile-lru)",
            "advice: a answers before its writes are on disk",
        ],
    );
}

#[test]
fn valkey_is_examined_as_redis_is() {
    check(
        Arrangement::Sentinel,
        &[reading("a", VALKEY_8).with_setting("appendfsync", "everysec")],
        &[
            "advice: a may delete locks once its maxmemory is set (maxmemory-policy allkeys-lru)",
            "advice: a answers before its writes are on disk (appendfsync everysec)",
            "advice: a does not wait for its replicas: a failover can lose a lock",
        ],
    );
}

#[test]
fn servers_that_vote_must_not_forget() {
    let forgetful = REDIS_7_0.replace("aof_enabled:1", "aof_enabled:0");

    check(
        Arrangement::Voting,
        &voters([&forgetful, REDIS_7_0, REDIS_7_0]),
        &["danger: a keeps no log of its writes (appendonly no): restarted, it has forgotten"],
    );
    check(
        Arrangement::Voting,
        &voters([&REDIS_7_0.replace("connected_slaves:0", "connected_slaves:2"), REDIS_7_0, VOTER]),
        &["advice: a does not wait for its replicas: if one takes its place, votes"],
    );
}

#[test]
fn one_server_does_not_vote_twice() {
    let readings = [reading("a", VOTER), reading("b", REDIS_7_0), reading("c", VOTER)];
    let readings = readings.map(|reading| reading.with_setting("appendfsync", "always"));

    check(
        Arrangement::Voting,
        &readings,
        &["danger: a and c are one and the same server: it votes twice"],
    );
}

#[test]
fn an_even_number_of_servers_is_no_better_than_one_fewer() {
    let readings = [reading("a", VOTER), reading("b", REDIS_7_0)];
    let readings = readings.map(|reading| reading.with_setting("appendfsync", "always"));

    check(
        Arrangement::Voting,
        &readings,
        &["advice: 2 servers vote, and are no safer from failures than 1"],
    );
}

#[test]
fn a_replica_and_a_node_of_a_cluster_are_no_servers_of_their_own() {
    let replica = REDIS_7_0.replace("role:master", "role:slave");
    let node = REDIS_7_0.replace("redis_mode:standalone", "redis_mode:cluster");
    let readings = |info: &str| [reading("a", info).with_setting("appendfsync", "always")];

    check(Arrangement::Single, &readings(&replica), &["danger: a is a replica"]);
    check(Arrangement::Single, &readings(&node), &["danger: a is a node of a cluster"]);
    check(Arrangement::Cluster, &readings(&node), &[]);
}

#[test]
fn a_server_that_says_nothing_is_told_from_one_that_is_gone() {
    let refused = Reading::new("a", Err(Fault::refused("the Redis user may not do this")));
    let gone = Reading::new("b", Err(Fault::not_sent("no Redis server listens there")));

    check(
        Arrangement::Voting,
        &[refused.with_clock(clock(0, 0)), gone, reading("c", VOTER)],
        &[
            "danger: b can't be used, and no lock can stand on it: no Redis server listens there",
            "advice: a does not say how it is set up (the Redis user may not do this)",
            "advice: c answers before its writes are on disk",
        ],
    );
}

#[test]
fn a_server_that_says_nonsense_has_nothing() {
    for info in ["", "PONG", ":::", "# Server\r\nredis_version", "maxmemory:-1\r\nrole:\r\n\r\n"] {
        check(Arrangement::Single, &[reading("a", info)], &[]);
    }
}

#[test]
fn a_clock_must_surely_run_at_another_rate_before_it_is_blamed() {
    let second = 1_000_000;
    for (there, blamed) in [
        (second, false),
        // What leases allow for: a hundredth of the time that passed, and 2 ms.
        ((second + 10_000) * 101 / 100 + 2_000, false),
        ((second + 10_000) * 101 / 100 + 2_001, true),
        (second - 10_000 - (second - 10_000) / 100 - 2_000, false),
        (second - 10_000 - (second - 10_000) / 100 - 2_001, true),
        (second * 101 / 100, false),
        (second * 102 / 100, false),
        (second * 104 / 100, true),
        (second * 98 / 100, false),
        (second * 96 / 100, true),
        (0, true),
    ] {
        // Each answer took up to 10 ms, in which the clock may have been read at any moment.
        let reading = reading("a", "")
            .with_clock(clock_of(0, 10_000, 7 * second))
            .with_clock(clock_of(second, second + 10_000, 7 * second + there));

        let expected: &[&str] = &["danger: the clock of a went on by"];
        check(Arrangement::Single, &[reading], if blamed { expected } else { &[] });
    }
}

#[test]
fn wall_clocks_that_differ_by_seconds_make_tokens_fall() {
    let readings = |ahead: u64| {
        let clocks = [clock(0, 50_000_000), clock(5_000, 50_005_000), clock(9_000, ahead)];
        let named = ["a", "b", "c"].into_iter().zip(clocks);
        named.map(|(name, clock)| reading(name, "").with_clock(clock)).collect::<Vec<_>>()
    };

    check(Arrangement::Voting, &readings(50_500_000), &[]);
    let expected = "advice: the wall clock of c is ahead of that of a by 3.0s";
    check(Arrangement::Voting, &readings(53_009_000), &[expected]);
    check(Arrangement::Single, &readings(53_009_000), &[]);
    // A second is what no token falls by.
    check(Arrangement::Voting, &readings(51_009_000), &[]);
    check(Arrangement::Voting, &readings(51_009_001), &["advice: the wall clock of c"]);
}

#[test]
fn wall_clocks_are_compared_as_of_one_moment() {
    let hour = 3_600_000_000;
    let readings = [("a", 0), ("b", hour), ("c", 2 * hour)]
        .map(|(name, at)| reading(name, "").with_clock(clock(at, 50_000_000 + at)));
    check(Arrangement::Voting, &readings, &[]);
    // A clock may have been read at any moment of a question that took a minute.
    let slow = reading("d", "").with_clock(clock_of(hour, hour + 60_000_000, 80_000_000 + hour));
    let [a, b, c] = readings;
    check(Arrangement::Voting, &[a, b, slow], &[]);
    let late = reading("e", "").with_clock(clock(hour, 40_000_000 + hour));
    let expected = "advice: the wall clock of a is ahead of that of e by 10.0s";
    check(Arrangement::Voting, &[reading("a", ""), late, c], &[&expected.replace(" a ", " c ")]);
}

#[test]
fn our_own_clock_is_one_of_those_that_may_be_wrong() {
    let readings = voters([VOTER, REDIS_7_0, REDIS_7_0])
        .map(|reading| reading.with_clock(clock(0, 50_000_000)));
    let examined = |own| examine(Arrangement::Voting, &readings, Some(clock(0, own)));

    assert!(examined(50_000_000).is_empty());
    let [finding] = &examined(40_000_000)[..] else { panic!("one clock is wrong") };
    assert!(finding.to_string().contains("ahead of that of this machine by 10.0s"), "{finding}");
}

/// Another server that is set up for locks.
const VOTER: &str = "redis_version:7.2.4\r\nrun_id:72aa\r\naof_enabled:1\r\nrole:master\r\n";

fn reading(server: &str, info: &str) -> Reading {
    Reading::new(server, Ok(info.to_owned()))
}

/// Three servers with logs, each another than the rest.
fn voters([a, b, c]: [&str; 3]) -> [Reading; 3] {
    [("a", a), ("b", b), ("c", c)].map(|(name, info)| {
        let info = info.replace("run_id:", &format!("run_id:{name}"));
        reading(name, &info).with_setting("appendfsync", "always")
    })
}

fn clock(at: u64, shows: u64) -> ClockReading {
    clock_of(at, at, shows)
}

/// All in microseconds.
fn clock_of(asked: u64, answered: u64, shows: u64) -> ClockReading {
    let instant = |micros: u64| Instant::ZERO + Duration::from_micros(micros);
    ClockReading {
        asked: instant(asked),
        answered: instant(answered),
        time: Duration::from_micros(shows),
    }
}

/// Each finding must start as `expected` says.
fn check(arrangement: Arrangement, readings: &[Reading], expected: &[&str]) -> Vec<Finding> {
    let findings = examine(arrangement, readings, None);
    let told: Vec<String> = findings
        .iter()
        .map(|finding| match finding.severity() {
            Severity::Danger => format!("danger: {finding}"),
            Severity::Advice => format!("advice: {finding}"),
            _ => format!("unknown: {finding}"),
        })
        .collect();
    let fits = told.len() == expected.len()
        && told.iter().zip(expected).all(|(told, expected)| told.starts_with(expected));
    assert!(fits, "{told:#?} instead of {expected:#?}");
    findings
}
