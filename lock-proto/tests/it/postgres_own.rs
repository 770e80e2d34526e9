//! Taking an advisory lock on a connection that is lent, word for word.

use std::time::Duration;

use expect_test::{Expect, expect};
use lock_proto::postgres::{AdvisoryKey, Answer, Ground, Mode, Own, Turn};
use lock_proto::{Fault, LockError};

use Ground::{Session, Transaction};

const KEY: AdvisoryKey = AdvisoryKey::Single(7);
const ONCE: Option<Duration> = Some(Duration::ZERO);
const SOON: Option<Duration> = Some(Duration::from_millis(500));

/// Short for what the first tests spell out.
const WORDS: [(&str, &str); 12] = [
    ("rollback to savepoint dlock_acquire; release savepoint dlock_acquire", "undo"),
    ("savepoint dlock_acquire", "savepoint"),
    ("set local statement_timeout = 0; ", ""),
    ("pg_catalog.", ""),
    ("case when ours then 'held' when pg_try_advisory", "try"),
    ("_lock(bigint '7') then 'granted' else 'busy' end", ""),
    ("case when ours then 'held' else 'granted' || pg_advisory_lock(bigint '7')::text end", "wait"),
    ("'granted' || pg_advisory_xact_lock(bigint '7')::text", "wait_xact"),
    ("select set_config", "set_config"),
    ("select pg_advisory_unlock(bigint '7')", "unlock"),
    (", current_setting('lock_timeout'), current_setting('statement_timeout')", ", time-outs"),
    (
        "select case when ours then 'held' else 'busy' end, transaction_timestamp() = statement_timestamp()",
        "look",
    ),
];

#[test]
fn a_transaction_is_asked_in_these_words() {
    let mut own = Own::new(KEY, Mode::Exclusive, Transaction, SOON);
    let spoken =
        [own.begin(), own.answered(answer("busy,3s,1min")), own.answered(answer("granted"))];
    expect![[r#"
        savepoint dlock_acquire; select case when ours then 'held' when pg_try_advisory_xact_lock(bigint '7') then 'granted' else 'busy' end, current_setting('lock_timeout'), current_setting('statement_timeout')
        set local statement_timeout = 0; set local lock_timeout = 500; select 'granted' || pg_advisory_xact_lock(bigint '7')::text
        ours; select pg_catalog.set_config('lock_timeout', '3s', true), pg_catalog.set_config('statement_timeout', '1min', true); release savepoint dlock_acquire"#]].assert_eq(&spoken.map(|turn| said(&turn)).join("\n"));
}

#[test]
fn a_session_is_asked_in_these_words() {
    let mut own = Own::new(KEY, Mode::Exclusive, Session, SOON);
    let spoken = [own.begin(), own.answered(answer("busy,f")), own.answered(answer("expired"))];
    expect![[r#"
        select case when ours then 'held' else 'busy' end, transaction_timestamp() = statement_timestamp()
        savepoint dlock_acquire; set local statement_timeout = 0; set local lock_timeout = 500; select case when ours then 'held' else 'granted' || pg_advisory_lock(bigint '7')::text end
        rollback to savepoint dlock_acquire; set local statement_timeout = 0; select pg_advisory_unlock(bigint '7'); rollback to savepoint dlock_acquire; release savepoint dlock_acquire"#]].assert_eq(&spoken.map(|turn| said(&turn)).join("\n"));
}

#[test]
fn a_free_lock_is_one_question_in_a_transaction() {
    check(
        Transaction,
        &[(None, "granted,0,0"), (ONCE, "granted,0,0")],
        expect![[r#"
            None: savepoint; select try_xact, time-outs [or undo]
              granted,0,0: ours; release savepoint
            Some(0ns): savepoint; select try_xact, time-outs [or undo]
              granted,0,0: ours; release savepoint
        "#]],
    );
}

#[test]
fn a_wait_in_a_transaction_writes_its_time_outs_back() {
    check(
        Transaction,
        &[(SOON, "busy,3s,1min granted"), (None, "busy,0,0 granted")],
        expect![[r#"
            Some(500ms): savepoint; select try_xact, time-outs [or undo]
              busy,3s,1min: set local lock_timeout = 500; select wait_xact [or undo]
              granted: ours; set_config('lock_timeout', '3s', true), set_config('statement_timeout', '1min', true); release savepoint
            None: savepoint; select try_xact, time-outs [or undo]
              busy,0,0: set local lock_timeout = 0; select wait_xact [or undo]
              granted: ours; set_config('lock_timeout', '0', true), set_config('statement_timeout', '0', true); release savepoint
        "#]],
    );
}

#[test]
fn a_failed_wait_in_a_transaction_is_undone() {
    check(
        Transaction,
        &[
            (ONCE, "busy,0,0 done"),
            (SOON, "busy,0,0 expired done"),
            (None, "busy,0,0 deadlock done"),
            (None, "busy,0,0 failed done"),
        ],
        expect![[r#"
            Some(0ns): savepoint; select try_xact, time-outs [or undo]
              busy,0,0: undo
              done: the lock was not free within 0ns: allow more time, or find out who holds it
            Some(500ms): savepoint; select try_xact, time-outs [or undo]
              busy,0,0: set local lock_timeout = 500; select wait_xact [or undo]
              expired: undo
              done: the lock was not free within 500ms: allow more time, or find out who holds it
            None: savepoint; select try_xact, time-outs [or undo]
              busy,0,0: set local lock_timeout = 0; select wait_xact [or undo]
              deadlock: undo
              done: deadlock: process 7 waits for process 8
            None: savepoint; select try_xact, time-outs [or undo]
              busy,0,0: set local lock_timeout = 0; select wait_xact [or undo]
              failed: undo
              done: it failed
        "#]],
    );
}

#[test]
fn what_fails_at_once_in_a_transaction_is_told_even_if_it_can_not_be_undone() {
    check(
        Transaction,
        &[(None, "failed done"), (None, "failed refused")],
        expect![[r#"
            None: savepoint; select try_xact, time-outs [or undo]
              failed: undo
              done: it failed
            None: savepoint; select try_xact, time-outs [or undo]
              failed: undo
              refused: it failed
        "#]],
    );
}

#[test]
fn a_time_out_that_could_not_be_undone_is_told_as_what_went_wrong() {
    check(
        Transaction,
        &[(SOON, "busy,0,0 expired failed"), (ONCE, "busy,0,0 failed")],
        expect![[r#"
            Some(500ms): savepoint; select try_xact, time-outs [or undo]
              busy,0,0: set local lock_timeout = 500; select wait_xact [or undo]
              expired: undo
              failed: it failed
            Some(0ns): savepoint; select try_xact, time-outs [or undo]
              busy,0,0: undo
              failed: it failed
        "#]],
    );
}

#[test]
fn a_lock_that_the_transaction_has_is_refused() {
    check(
        Transaction,
        &[(ONCE, "held,0,0 done"), (SOON, "held,0,0 done rested"), (None, "held,0,0 done")],
        expect![[r#"
            Some(0ns): savepoint; select try_xact, time-outs [or undo]
              held,0,0: undo
              done: the lock was not free within 0ns: allow more time, or find out who holds it
            Some(500ms): savepoint; select try_xact, time-outs [or undo]
              held,0,0: undo
              done: rest 500ms
              rested: the lock was not free within 500ms: allow more time, or find out who holds it
            None: savepoint; select try_xact, time-outs [or undo]
              held,0,0: undo
              done: deadlock: this session holds the lock already, and would wait for itself
        "#]],
    );
}

#[test]
fn a_free_lock_is_two_questions_on_a_session() {
    check(
        Session,
        &[(None, "busy,t granted"), (SOON, "busy,t granted")],
        expect![[r#"
            None: look
              busy,t: set local lock_timeout = 0; select wait [or unlock]
              granted: ours
            Some(500ms): look
              busy,t: set local lock_timeout = 500; select wait [or unlock]
              granted: ours
        "#]],
    );
}

#[test]
fn a_single_try_on_a_session_leaves_its_time_outs_alone() {
    check(
        Session,
        &[(ONCE, "busy,t granted"), (ONCE, "busy,t busy"), (ONCE, "busy,f busy done")],
        expect![[r#"
            Some(0ns): look
              busy,t: select try [or unlock]
              granted: ours
            Some(0ns): look
              busy,t: select try [or unlock]
              busy: the lock was not free within 0ns: allow more time, or find out who holds it
            Some(0ns): look
              busy,f: savepoint; select try [or rollback to savepoint; unlock; undo]
              busy: undo
              done: the lock was not free within 0ns: allow more time, or find out who holds it
        "#]],
    );
}

#[test]
fn a_failed_wait_on_a_session_is_followed_by_a_release_since_it_may_have_been_granted() {
    check(
        Session,
        &[
            (SOON, "busy,t expired done"),
            (None, "busy,t deadlock done"),
            (None, "busy,t failed done"),
            (SOON, "busy,t expired failed"),
        ],
        expect![[r#"
            Some(500ms): look
              busy,t: set local lock_timeout = 500; select wait [or unlock]
              expired: unlock
              done: the lock was not free within 500ms: allow more time, or find out who holds it
            None: look
              busy,t: set local lock_timeout = 0; select wait [or unlock]
              deadlock: unlock
              done: deadlock: process 7 waits for process 8
            None: look
              busy,t: set local lock_timeout = 0; select wait [or unlock]
              failed: unlock
              done: it failed
            Some(500ms): look
              busy,t: set local lock_timeout = 500; select wait [or unlock]
              expired: unlock
              failed: it failed
        "#]],
    );
}

#[test]
fn a_session_that_is_in_a_transaction_waits_behind_a_savepoint() {
    check(
        Session,
        &[(SOON, "busy,f granted"), (SOON, "busy,f expired done")],
        expect![[r#"
            Some(500ms): look
              busy,f: savepoint; set local lock_timeout = 500; select wait [or rollback to savepoint; unlock; undo]
              granted: ours; undo
            Some(500ms): look
              busy,f: savepoint; set local lock_timeout = 500; select wait [or rollback to savepoint; unlock; undo]
              expired: rollback to savepoint; unlock; undo
              done: the lock was not free within 500ms: allow more time, or find out who holds it
        "#]],
    );
}

#[test]
fn a_lock_that_the_session_has_is_refused_and_stays() {
    check(
        Session,
        &[(ONCE, "held,t"), (SOON, "held,t rested"), (None, "held,t")],
        expect![[r#"
            Some(0ns): look
              held,t: the lock was not free within 0ns: allow more time, or find out who holds it
            Some(500ms): look
              held,t: rest 500ms
              rested: the lock was not free within 500ms: allow more time, or find out who holds it
            None: look
              held,t: deadlock: this session holds the lock already, and would wait for itself
        "#]],
    );
}

#[test]
fn a_lock_that_another_task_has_taken_on_the_session_meanwhile_is_refused_as_well() {
    check(
        Session,
        &[(ONCE, "busy,t held"), (SOON, "busy,f held done rested")],
        expect![[r#"
            Some(0ns): look
              busy,t: select try [or unlock]
              held: the lock was not free within 0ns: allow more time, or find out who holds it
            Some(500ms): look
              busy,f: savepoint; set local lock_timeout = 500; select wait [or rollback to savepoint; unlock; undo]
              held: undo
              done: rest 500ms
              rested: the lock was not free within 500ms: allow more time, or find out who holds it
        "#]],
    );
}

#[test]
fn nonsense_of_a_server_leaves_nothing_behind_on_a_session() {
    check(
        Session,
        &[(None, "granted"), (None, "busy,t nonsense done")],
        expect![[r#"
            None: look
              granted: the server answered nonsense
            None: look
              busy,t: set local lock_timeout = 0; select wait [or unlock]
              nonsense: unlock
              done: the server answered nonsense
        "#]],
    );
}

#[test]
fn nonsense_of_a_server_leaves_nothing_behind_in_a_transaction() {
    check(
        Transaction,
        &[
            (None, "held done"),
            (None, "busy,0,0 done done"),
            (None, "busy,0,0 busy done"),
            (None, "busy,0,0 held done"),
        ],
        expect![[r#"
            None: savepoint; select try_xact, time-outs [or undo]
              held: undo
              done: the server answered nonsense
            None: savepoint; select try_xact, time-outs [or undo]
              busy,0,0: set local lock_timeout = 0; select wait_xact [or undo]
              done: undo
              done: the server answered nonsense
            None: savepoint; select try_xact, time-outs [or undo]
              busy,0,0: set local lock_timeout = 0; select wait_xact [or undo]
              busy: undo
              done: the lock was not free within 18446744073709551615.999999999s: allow more time, or find out who holds it
            None: savepoint; select try_xact, time-outs [or undo]
              busy,0,0: set local lock_timeout = 0; select wait_xact [or undo]
              held: undo
              done: deadlock: this session holds the lock already, and would wait for itself
        "#]],
    );
}

#[test]
fn each_key_and_mode_has_its_functions() {
    for (key, mode, written) in [
        (AdvisoryKey::Single(i64::MIN), Mode::Exclusive, "(bigint '-9223372036854775808')"),
        (AdvisoryKey::Pair(i32::MIN, 3), Mode::Shared, "_shared(int '-2147483648', int '3')"),
    ] {
        for (ground, scope) in [(Session, ""), (Transaction, "_xact")] {
            let mut own = Own::new(key, mode, ground, ONCE);
            let Turn::Ask(mut text) = own.begin() else { panic!() };
            if ground == Session
                && let Turn::Ask(second) = own.answered(answer("busy,t"))
            {
                text = second;
            }
            let expected = format!("when pg_catalog.pg_try_advisory{scope}_lock{written} then");
            assert!(text.contains(&expected), "{text}");
            let (class, object, kind) = key.row();
            let row = format!("classid = {class} and objid = {object} and objsubid = {kind} ");
            assert!(text.contains(&row), "{text}");
        }
        let text = Own::give_back(key, mode);
        assert_eq!(text, format!("select pg_catalog.pg_advisory_unlock{written}"));
    }
}

#[test]
fn a_wait_is_neither_shorter_nor_longer_than_the_server_can_say() {
    for (timeout, limit) in [
        (Some(Duration::from_nanos(1)), "= 1;"),
        (Some(Duration::from_micros(2_999)), "= 2;"),
        (Some(Duration::MAX), "= 2147483647;"),
        (None, "= 0;"),
    ] {
        let mut own = Own::new(KEY, Mode::Exclusive, Session, timeout);
        own.begin();
        let Turn::Ask(text) = own.answered(answer("busy,t")) else { panic!() };
        assert!(text.contains(&format!("set local lock_timeout {limit}")), "{timeout:?}: {text}");
    }
}

#[test]
fn a_release_says_whether_there_was_one() {
    Own::given_back(answer("t")).unwrap();
    let error = Own::given_back(answer("f")).unwrap_err();
    assert!(error.to_string().contains("does not hold the lock"), "{error}");
    for answered in ["done", "failed", "expired", "deadlock"] {
        Own::given_back(answer(answered)).unwrap_err();
    }
}

/// Has conversations, each with what would be sent if it was given up at any moment.
fn check(ground: Ground, conversations: &[(Option<Duration>, &str)], expected: Expect) {
    let mut log = String::new();
    for (timeout, answers) in conversations {
        let mut own = Own::new(KEY, Mode::Exclusive, ground, *timeout);
        assert!(own.abandoned().is_none());
        let mut turn = own.begin();
        log.push_str(&format!("{timeout:?}: {}\n", step(&turn, &own)));
        for word in answers.split(' ') {
            turn = match turn {
                Turn::Ask(_) => own.answered(answer(word)),
                Turn::Rest(_) => own.rested(),
                Turn::Over { .. } => panic!("it was over before {word}:\n{log}"),
            };
            log.push_str(&format!("  {word}: {}\n", step(&turn, &own)));
        }
        assert!(matches!(turn, Turn::Over { .. }), "it is not over:\n{log}");
        assert!(own.abandoned().is_none());
    }
    expected.assert_eq(&log);
}

fn step(turn: &Turn, own: &Own) -> String {
    let abandoned = own.abandoned().map_or_else(String::new, |text| format!(" [or {text}]"));
    WORDS.iter().fold(said(turn) + &abandoned, |text, (word, short)| text.replace(word, short))
}

/// The texts, in which two things are always the same.
fn said(turn: &Turn) -> String {
    match turn {
        Turn::Ask(text) => {
            let parts = text.split("exists (").enumerate().map(|(index, part)| match index {
                0 => part,
                _ => {
                    assert!(part.contains("classid = 0 and objid = 7 and objsubid = 1 "), "{part}");
                    part.split_once("current_database()))").expect("it ends").1
                }
            });
            parts.collect::<Vec<_>>().join("ours").replace("pg_catalog.", "")
        }
        Turn::Rest(rest) => format!("rest {rest:?}"),
        Turn::Over { result, last } => {
            let result = result.as_ref().map_or_else(ToString::to_string, |()| "ours".into());
            match last {
                Some(text) => format!("{result}; {text}"),
                None => result,
            }
        }
    }
}

fn answer(word: &str) -> Answer {
    match word {
        "done" => Answer::Done(Vec::new()),
        "expired" => Answer::Expired,
        "deadlock" => Answer::Deadlock("process 7 waits for process 8".into()),
        "failed" | "refused" => {
            Answer::Failed(LockError::Backend(Fault::refused(format!("it {word}"))))
        }
        row => Answer::Done(row.split(',').map(|text| Some(text.to_owned())).collect()),
    }
}
