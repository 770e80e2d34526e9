//! What the doctor makes of what was seen of a PostgreSQL server.

use std::time::Duration;

use lock_proto::postgres::{EXAMINED, Fact, Finding, Reading, Scope, Usage, examine};
use lock_proto::{Fault, Severity};

/// What PostgreSQL 15 of Debian 12 says on a connection over TCP whose settings nobody chose: name,
/// value, value at the start of a session, unit.
const DEFAULTS: [(&str, &str, &str, &str); 14] = [
    ("server_version", "15.18 (Debian 15.18-0+deb12u1)", "15.18 (Debian 15.18-0+deb12u1)", ""),
    ("server_version_num", "150018", "150018", ""),
    ("max_connections", "100", "100", ""),
    ("superuser_reserved_connections", "3", "3", ""),
    ("max_locks_per_transaction", "64", "64", ""),
    ("max_prepared_transactions", "0", "0", ""),
    ("lock_timeout", "0", "0", "ms"),
    ("statement_timeout", "0", "0", "ms"),
    ("idle_session_timeout", "0", "0", "ms"),
    ("idle_in_transaction_session_timeout", "0", "0", "ms"),
    ("tcp_keepalives_idle", "7200", "0", "s"),
    ("tcp_keepalives_interval", "75", "0", "s"),
    ("tcp_keepalives_count", "9", "0", ""),
    ("tcp_user_timeout", "0", "0", "ms"),
];

/// What the provider sets in the sessions that hold its locks.
const PREPARED: [Setting; 4] = [
    ("tcp_keepalives_idle", "5", "s"),
    ("tcp_keepalives_interval", "5", "s"),
    ("tcp_keepalives_count", "2", ""),
    ("tcp_user_timeout", "15000", "ms"),
];

const DEAD_HOLDERS: &str =
    "advice: a takes 2 h 11 min to notice that the machine of a holder is gone, or cut off";

/// Name, value, unit.
type Setting = (&'static str, &'static str, &'static str);

#[test]
fn a_server_whose_settings_nobody_chose_is_fit_for_sessions() {
    check(&sessions(), direct(&PREPARED), &[]);
}

#[test]
fn every_setting_that_is_read_is_asked_for() {
    for (name, ..) in DEFAULTS {
        assert!(EXAMINED.contains(&name), "{name}");
    }
}

#[test]
fn who_sets_no_keepalive_is_told_how_long_a_dead_holder_is_believed() {
    check(&transactions(), direct(&[]), &[DEAD_HOLDERS]);
    let sooner = ("tcp_user_timeout", "30000", "ms");
    check(&transactions(), direct(&[sooner]), &["advice: a takes 2 h 0 min to notice"]);
    check(&transactions(), direct(&[("tcp_keepalives_idle", "60", "s"), sooner]), &[]);
    // Five minutes are soon enough, and what is longer is said in whole units where it has them.
    let idle = |idle| [("tcp_keepalives_idle", idle, "s"), ("tcp_user_timeout", "500", "ms")];
    let after = |time| format!("advice: a takes {time} to notice that the machine of a holder");
    check(&transactions(), direct(&idle("299")), &[]);
    check(&transactions(), direct(&idle("300")), &[&after("300.5s")]);
    let idle = |idle| [("tcp_keepalives_idle", idle, "s"), ("tcp_user_timeout", "60000", "ms")];
    check(&transactions(), direct(&idle("240")), &[]);
    check(&transactions(), direct(&idle("241")), &[&after("5 min 1 s")]);
    // On the same machine, and behind a pooler, nothing is known of the holder's network.
    check(&transactions(), local(&[]), &[]);
    check(&transactions(), pooled(&[]), &[]);
}

#[test]
fn a_connection_that_changes_its_session_is_a_poolers() {
    let words = ["danger: a is a pooler that gives each transaction another session"];
    let moved = server(&PREPARED).with_own_session("1").with_own_session("2");
    check(&sessions(), moved.clone(), &words);
    check(&transactions(), moved, &[]);
    // Their numbers may differ all the time.
    let own = server(&PREPARED).with_own_session("1").with_own_session("1");
    check(&sessions(), own.clone().with_other_session("2").with_other_session("3"), &[]);
    // And one session for all is still one that is shared.
    check(&sessions(), own.with_other_session("2").with_other_session("1"), &words);
}

#[test]
fn a_pooler_that_knows_no_transactions_is_a_danger_for_both_scopes() {
    let words = ["danger: a is a pooler that gives each statement another session"];
    for usage in [sessions(), transactions()] {
        check(&usage, direct(&PREPARED).with_refused_transaction(), &words);
        check(&usage, pooled(&PREPARED).with_refused_transaction(), &words);
        check(&usage, Reading::new("a").with_refused_transaction(), &words);
    }
}

#[test]
fn of_sessions_that_others_set_up_no_setting_is_believed() {
    let settings = [("idle_session_timeout", "1000", "ms"), ("statement_timeout", "1000", "ms")];
    check(&sessions(), pooled(&settings), &["danger: a is a pooler"]);
}

#[test]
fn a_standby_is_a_danger() {
    let words = ["danger: a is a standby: what is locked there is not locked on the primary"];
    check(&sessions(), prepared(&[("in_recovery", "true", "")]), &words);
}

#[test]
fn a_session_that_idles_too_long_loses_its_lock_unless_it_speaks() {
    let settings = [("idle_session_timeout", "300000", "ms")];
    let words = ["danger: a ends a session that was idle for 5 min (idle_session_timeout)"];
    check(&sessions(), prepared(&settings), &words);

    let shorter = [("idle_session_timeout", "120000", "ms")];
    check(&sessions(), prepared(&shorter), &[&words[0].replace("5 min", "2 min")]);
    let mut speaking = sessions();
    speaking.keepalive = Some(Duration::from_secs(60));
    check(&speaking, prepared(&settings), &[]);
    speaking.keepalive = Some(Duration::from_secs(300));
    check(&speaking, prepared(&settings), &words);
    // A transaction that holds a lock is no idle session.
    check(&transactions(), prepared(&settings), &[]);
}

#[test]
fn a_transaction_that_lasts_too_long_loses_its_lock() {
    let settings =
        [("transaction_timeout", "90", "s"), ("idle_in_transaction_session_timeout", "1", "min")];
    let words = [
        "danger: a ends a transaction that was idle for 60s (idle_in_transaction_session_timeout)",
        "danger: a ends every transaction after 90s (transaction_timeout), and others may have",
    ];
    check(&transactions(), prepared(&settings), &words);
    check(&sessions(), prepared(&settings), &[]);

    let mut speaking = transactions();
    speaking.keepalive = Some(Duration::from_secs(10));
    check(&speaking, prepared(&settings), &words[1..]);
}

#[test]
fn a_wait_that_is_ended_by_the_server_is_worth_a_word() {
    let settings = [("statement_timeout", "1500", "ms")];
    check(
        &sessions(),
        prepared(&settings),
        &["advice: a ends each wait for a lock after 1.5s, whatever its own time-out"],
    );
}

#[test]
fn what_is_set_for_the_role_and_set_aside_concerns_others() {
    for (setting, words) in [
        ("lock_timeout", "others that wait for a lock give up after that long"),
        ("statement_timeout", "those that wait for a lock among them, fail after that long"),
        ("idle_session_timeout", "a lock on a connection of your own"),
        ("idle_in_transaction_session_timeout", "is lost when that is idle for so long"),
        ("transaction_timeout", "a lock in a transaction of your own, or of another client"),
    ] {
        let fact = Fact::new(setting, "0").with_unit("ms").with_configured("5000");
        let reading = with_defaults(Reading::new("a").with_fact(fact), &PREPARED);
        let begin = format!("advice: a has {setting} at 5s for this role or database");
        let findings = check(&sessions(), reading, &[&begin]);
        assert!(findings[0].to_string().contains(words), "{}", findings[0]);
    }
}

#[test]
fn each_wait_brings_a_time_out_of_its_own() {
    check(
        &sessions(),
        prepared(&[("lock_timeout", "5000", "ms")]),
        &["advice: a has lock_timeout at 5s for this role"],
    );
}

#[test]
fn a_provider_may_want_more_connections_than_there_are() {
    let few = prepared(&[("max_connections", "18", "")]);
    let words = "advice: a lets in 15 connections of this role to this database, and each provider";
    check(&sessions(), few.clone(), &[words]);
    check(&sessions(), prepared(&[("max_connections", "19", "")]), &[]);
    let reserved = [("max_connections", "20", ""), ("reserved_connections", "2", "")];
    check(&sessions(), prepared(&reserved), &[words]);
    for limit in ["role_connections", "database_connections"] {
        check(&sessions(), prepared(&[(limit, "15", "")]), &[words]);
        check(&sessions(), prepared(&[(limit, "-1", "")]), &[]);
    }
    let mut modest = sessions();
    modest.connections = 15;
    check(&modest, few, &[]);
}

#[test]
fn a_wait_needs_a_connection_that_can_be_had() {
    let reading = direct(&PREPARED).with_no_connection(Fault::not_sent("too many"));
    let words = ["danger: a gives no further connection (too many), and each wait for a lock"];
    check(&sessions(), reading.clone(), &words);
    let mut single = sessions();
    single.connections = 1;
    check(&single, reading, &[]);
}

#[test]
fn locks_run_out() {
    let small = [("max_locks_per_transaction", "10", ""), ("max_connections", "99", "")];
    check(
        &sessions(),
        prepared(&small),
        &["advice: a has room for about 990 locks, those of tables among them, and 0 are held"],
    );
    let more = ("max_prepared_transactions", "1", "");
    check(&sessions(), prepared(&[&small[..], &[more]].concat()), &[]);
    for (held, words) in [
        ("3200", &[][..]),
        ("3201", &["advice: a has room for about 6400 locks"]),
        ("5760", &["advice: a has room for about 6400 locks"]),
        ("5761", &["danger: a has room for about 6400 locks"]),
        ("9999", &["danger: a has room for about 6400 locks"]),
    ] {
        check(&sessions(), prepared(&[("locks", held, "")]), words);
    }
}

#[test]
fn an_old_server_is_told_to_be_updated() {
    for (number, words) in [
        ("110022", &["advice: a is PostgreSQL 15.18"][..]),
        ("120000", &[]),
        ("170002", &[]),
        ("devel", &[]),
    ] {
        let settings = [("server_version_num", number, "")];
        check(&sessions(), prepared(&settings), words);
    }
}

#[test]
fn a_server_that_says_nothing_is_not_accused() {
    check(&sessions(), Reading::new("a"), &[]);
    check(&transactions(), Reading::new("a"), &[]);
}

#[test]
fn the_worst_comes_first() {
    let settings = [
        ("max_connections", "10", ""),
        ("server_version_num", "110000", ""),
        ("in_recovery", "true", ""),
    ];
    check(
        &sessions(),
        prepared(&settings).with_no_connection(Fault::not_sent("none")),
        &[
            "danger: a is a standby",
            "danger: a gives no",
            "advice: a is",
            "advice: a lets",
            "advice",
        ],
    );
}

fn sessions() -> Usage {
    Usage::new(Scope::Session, 16)
}

fn transactions() -> Usage {
    Usage::new(Scope::Transaction, 16)
}

/// A session that the provider set up, on a server with these settings.
fn prepared(settings: &[Setting]) -> Reading {
    direct(&[settings, &PREPARED].concat())
}

/// A connection over TCP that has its session to itself.
fn direct(settings: &[Setting]) -> Reading {
    server(settings).with_own_session("1").with_own_session("1").with_other_session("2")
}

/// Connections over TCP that share sessions.
fn pooled(settings: &[Setting]) -> Reading {
    server(settings).with_own_session("1").with_own_session("1").with_other_session("1")
}

fn server(settings: &[Setting]) -> Reading {
    local(settings).with_fact(Fact::new("client_address", "192.0.2.1"))
}

/// A connection over a Unix socket.
fn local(settings: &[Setting]) -> Reading {
    with_defaults(Reading::new("a"), settings)
}

fn with_defaults(mut reading: Reading, settings: &[Setting]) -> Reading {
    for (name, value, unit) in settings {
        reading = reading.with_fact(Fact::new(name, value).with_unit(unit));
    }
    for (name, value, configured, unit) in DEFAULTS {
        let fact = Fact::new(name, value).with_unit(unit).with_configured(configured);
        reading = reading.with_fact(fact);
    }
    reading
}

/// Each finding must start as `expected` says.
fn check(usage: &Usage, reading: Reading, expected: &[&str]) -> Vec<Finding> {
    let findings = examine(usage, &reading);
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
