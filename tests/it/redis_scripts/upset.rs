use lock_proto::redis::Side;
use lock_tests::redis_twin::Step;

use super::Bench;

const SIDES: [Side; 3] = [Side::Exclusive, Side::Shared, Side::Permits { count: 2, limit: 3 }];

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
