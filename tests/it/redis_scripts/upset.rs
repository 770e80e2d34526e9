use lock_proto::redis::{Side, Verb};
use lock_tests::redis_twin::Step;

use super::{Bench, TTL};

const SIDES: [Side; 3] = [Side::Exclusive, Side::Shared, Side::Permits { count: 2, limit: 3 }];

#[test]
fn a_key_of_another_type_is_refused_and_nothing_is_changed() {
    for side in SIDES {
        let verbs = [
            Verb::Enter { side, ttl: TTL, wait: true, stamp: 1 },
            Verb::Enter { side, ttl: TTL, wait: false, stamp: 1 },
            Verb::Extend { side, ttl: TTL },
            Verb::Leave { side, refuse_for: None },
            Verb::Leave { side, refuse_for: Some(TTL) },
        ];
        let plain = (side == Side::Exclusive).then_some(Verb::GiveBack);
        for verb in verbs.into_iter().chain(plain) {
            let mut bench = Bench::start();
            bench.step(&Step::spoil_with_hash("a")).unwrap();
            let error = bench.ask(1, verb.clone()).unwrap_err();
            assert!(error.starts_with("WRONGTYPE "), "{error}");
            assert_eq!(bench.twin.keys(), ["a"], "{verb:?}");
            assert!(bench.told().is_empty());
        }
    }
}

#[test]
fn a_server_without_memory_prolongs_what_is_held_and_lets_it_go() {
    for side in SIDES {
        let mut bench = Bench::start();
        let all = all_of(side);
        bench.enter(1, side);
        if side == Side::Shared {
            let verb = Verb::Enter { side, ttl: 2 * TTL, wait: false, stamp: 1 };
            assert_eq!(bench.ask(2, verb).unwrap()[0], 1);
        }
        bench.enter(3, all);
        bench.enter(4, all);
        bench.twin.server().command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();

        assert!(bench.extend(1, side, TTL + TTL / 2), "{side:?}");
        bench.refuse(4, all);
        bench.leave(2, side);
        bench.refuse(1, side);
        assert_eq!(bench.told(), [(3, 1)]);
        assert!(bench.extend(3, all, TTL));
        assert!(bench.leave(3, all));
        bench.pass(10_001);
        assert!(bench.is_clean(), "{:?}", bench.twin.keys());
    }
}

#[test]
fn a_queue_that_was_evicted_in_part_is_formed_anew() {
    for side in SIDES {
        for lost in ["{a}:dlock:waiting", "{a}:dlock:writers", "{a}:dlock:queue"] {
            let mut bench = Bench::start();
            let all = all_of(side);
            bench.enter(1, all);
            bench.enter(2, side);
            bench.step(&Step::Delete(lost.into())).unwrap();
            assert_eq!(bench.enter_with(2, side, 2)[0], 0);
            bench.leave(1, all);
            assert_eq!(bench.told(), [(2, 2)]);
            bench.leave(2, side);
            assert!(bench.is_clean(), "{:?}", bench.twin.keys());
        }
    }
}

/// All there is.
fn all_of(side: Side) -> Side {
    match side {
        Side::Exclusive | Side::Shared => Side::Exclusive,
        Side::Permits { limit, .. } => Side::Permits { count: limit, limit },
    }
}
