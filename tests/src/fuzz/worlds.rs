//! Every simulated world: the bytes are the schedule.

use crate::entropy::Entropy;
use crate::simulate::machine;
use crate::trace::Trace;

macro_rules! worlds {
    ($($body:ident: $machine:literal;)*) => {$(
        pub(super) fn $body(bytes: &[u8]) {
            run($machine, bytes);
        }
    )*};
}

worlds! {
    cluster: "cluster";
    cluster_forgetful: "cluster-forgetful";
    file: "file";
    file_harsh: "file-harsh";
    memory: "memory";
    postgres: "postgres";
    postgres_pooled: "postgres-pooled";
    redis: "redis";
    redis_forgetful: "redis-forgetful";
    redlock: "redlock";
    redlock_forgetful: "redlock-forgetful";
}

fn run(name: &str, bytes: &[u8]) {
    let machine = machine(name).expect("it is in the table");
    (machine.simulation)(Entropy::new(bytes.to_vec()), &mut Trace::silent());
}
