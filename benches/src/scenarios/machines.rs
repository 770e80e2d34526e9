//! The machines alone, driven by hand: no clock, no I/O, no runtime.

use std::hint::black_box;
use std::time::Duration;

use lock_proto::file::Identity;
use lock_proto::memory::{Command as MemoryCommand, MemoryLock, Reply};
use lock_proto::redis::{Keys, RedisOptions, ServerLock, Side, Verb};
use lock_proto::{AcquireOptions, Demand, Hub, Instant, LockName, Machine, Seed};

use crate::bench::Bench;
use crate::metric::Metric;
use crate::round::{Sample, Scenario};

const CYCLES: u32 = 20_000;

/// One acquire + release in a hub.
pub fn alone(bench: &Bench) -> Scenario<'_> {
    let about = "the machines alone, in a hub, answered by hand";
    let (mut memory, mut redis) = (memory(), redis());
    Scenario::new("machines", about, bench.pick(41, 25))
        .with("memory lock", move || measure(&mut memory))
        .with("Redis lock", move || measure(&mut redis))
}

fn measure(cycle: &mut impl FnMut(Instant)) -> Sample {
    let mut now = Instant::ZERO;
    let started = std::time::Instant::now();
    for _ in 0..CYCLES {
        now = now + Duration::from_micros(1);
        cycle(black_box(now));
    }
    let time = started.elapsed();
    let counted = allocation_counter::measure(|| {
        for _ in 0..100 {
            now = now + Duration::from_micros(1);
            cycle(black_box(now));
        }
    });
    vec![
        (Metric::MachineNs, time.as_nanos() as f64 / f64::from(CYCLES)),
        (Metric::AllocationsPerCycle, counted.count_total as f64 / 100.0),
    ]
}

fn memory() -> impl FnMut(Instant) {
    let options = AcquireOptions::new();
    let mut hub = Hub::new();
    let mut fence = 0;
    move |now| {
        let machine = MemoryLock::new(Demand::Exclusive, &options, now);
        fence += 1;
        drive(&mut hub, machine.expect("sensible options"), now, |command| match command {
            MemoryCommand::Enter { .. } => Reply::Granted { fence, valid_until: None },
            MemoryCommand::Extend { .. } => Reply::Extended { valid_until: None },
            MemoryCommand::Leave { .. } => Reply::Left,
        });
    }
}

fn redis() -> impl FnMut(Instant) {
    let keys = Keys::new("", &name()).expect("a plain name");
    let settings = RedisOptions::new(Identity::new("bench", 1));
    let options = AcquireOptions::new();
    let seed = Seed::from_bytes([7; 32]);
    let mut hub = Hub::new();
    let mut fence = 1_700_000_000_000_000;
    move |now| {
        let machine =
            ServerLock::new(keys.clone(), Side::Exclusive, &options, &settings, &seed, now);
        fence += 1;
        drive(&mut hub, machine.expect("sensible options"), now, |command| {
            if let Verb::Take { .. } = command.verb { [1, fence, 0] } else { [1, 0, 0] }
        });
    }
}

/// A life that goes as well as can be.
fn drive<M: Machine>(
    hub: &mut Hub<M, ()>,
    machine: M,
    now: Instant,
    mut answer: impl FnMut(M::Command) -> M::Reply,
) {
    let lock = hub.start(machine, (), now);
    let mut exchange = |hub: &mut Hub<M, ()>| {
        let request = hub.poll_request(lock).expect("a machine begins and ends with a request");
        let reply = answer(request.command);
        hub.handle_reply(lock, request.id, Ok(reply), now);
        let event = hub.poll_event(lock).expect("an answer to the only request is news");
        black_box(event);
        black_box(hub.poll_timeout());
        while let Some(event) = hub.poll_event(lock) {
            black_box(event);
        }
    };
    exchange(hub);
    hub.release(lock, now);
    exchange(hub);
    hub.forget(lock);
}

fn name() -> LockName {
    LockName::new("orders").expect("a short name")
}
