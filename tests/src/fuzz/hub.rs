//! The hub beside another that looks everything up.

use lock_proto::file::Identity;
use lock_proto::redis::{Keys, RedisOptions, ServerLock, Side};
use lock_proto::{
    AcquireOptions, Fault, Hub, Instant, LockId, LockName, LossReason, Machine as _, RequestId,
    Seed,
};

use super::duration;
use crate::check::Checkable as _;
use crate::entropy::Entropy;
use crate::trace::shown;

/// A hub with neither an index of deadlines nor one of cohorts.
struct Plain {
    tenants: Vec<Tenant>,
    /// For each lock's name, those that stand in its line.
    lines: [Vec<LockId>; NAMES],
    /// Who was in front, who is, and whether it inherits.
    successions: Vec<(LockId, LockId, bool)>,
    now: Instant,
}

struct Tenant {
    id: LockId,
    machine: ServerLock,
    name: usize,
}

const NAMES: usize = 2;

/// The hub and the plain one, told the same, say the same.
pub(super) fn hub(bytes: &[u8]) {
    let mut entropy = Entropy::new(bytes.to_vec());
    let mut hub: Hub<ServerLock, usize> = Hub::new();
    let mut plain = Plain {
        tenants: Vec::new(),
        lines: [const { Vec::new() }; NAMES],
        successions: Vec::new(),
        now: Instant::ZERO,
    };
    let (mut ids, mut now, mut asked) = (Vec::new(), Instant::ZERO, Vec::new());
    while let Some(choice) = entropy.choose(16) {
        let known = ids.len();
        let id = ids.get(entropy.pick(known)).copied();
        match (choice, id) {
            (0..4, _) | (_, None) => {
                let (name, waits) = (entropy.pick(NAMES), entropy.pick(3) > 0);
                let make = || lock(name, waits, known, now);
                let id = hub.start(make(), known, now);
                assert!(!ids.contains(&id), "{id:?} was given before");
                plain.start(id, make(), name, now);
                ids.push(id);
            }
            (4..8, _) => answer(&mut entropy, &mut hub, &mut plain, &mut asked, now),
            (8, Some(id)) => {
                hub.release(id, now);
                plain.input(id, now, |machine, now| machine.release(now));
            }
            (9, Some(id)) => {
                hub.nudge(id, now);
                plain.input(id, now, |machine, now| machine.handle_nudge(now));
            }
            (10, Some(id)) => {
                let ttl = duration(&mut entropy);
                hub.extend(id, ttl, now);
                plain.input(id, now, |machine, now| machine.extend(ttl, now));
            }
            (11, Some(id)) => {
                hub.disconnect(id, LossReason::Revoked, now);
                let gone = |machine: &mut ServerLock, now| {
                    machine.handle_disconnect(LossReason::Revoked, now);
                };
                plain.input(id, now, gone);
            }
            (12, Some(id)) => {
                let message = ServerLock::messages()[entropy.pick(3)];
                hub.message(id, message, now);
                plain.input(id, now, |machine, now| machine.handle_message(message, now));
            }
            (13, Some(id)) => assert_eq!(hub.forget(id), plain.forget(id), "{id:?}"),
            (_, Some(_)) => {
                let later = now + duration(&mut entropy).min(std::time::Duration::from_secs(60));
                // A clock may seem to go back between two threads.
                now = if entropy.pick(4) == 0 { now } else { later };
                time_passes(&mut hub, &mut plain, later);
            }
        }
        compare(&mut hub, &mut plain, &ids, &mut asked);
    }
}

type Asked = Vec<(LockId, RequestId, lock_proto::redis::Command)>;

fn answer(
    entropy: &mut Entropy,
    hub: &mut Hub<ServerLock, usize>,
    plain: &mut Plain,
    asked: &mut Asked,
    now: Instant,
) {
    if asked.is_empty() {
        return;
    }
    let (lock, id, command) = asked.remove(entropy.pick(asked.len()));
    let mut replies = ServerLock::replies(&command, now);
    let choice = entropy.pick(replies.len() + 1);
    let reply = if choice < replies.len() {
        Ok(replies.swap_remove(choice))
    } else {
        Err(Fault::unknown("nobody knows"))
    };
    hub.handle_reply(lock, id, reply.clone(), now);
    plain.input(lock, now, |machine, now| machine.handle_reply(id, reply.clone(), now));
}

fn time_passes(hub: &mut Hub<ServerLock, usize>, plain: &mut Plain, now: Instant) {
    loop {
        let due = hub.poll_due(now);
        plain.now = plain.now.max(now);
        let expected = plain.first_due().filter(|(at, _)| *at <= plain.now);
        assert_eq!(due, expected.map(|(_, id)| id));
        let Some(id) = due else { break };
        plain.input(id, now, |machine, now| machine.handle_timeout(now));
    }
}

fn compare(hub: &mut Hub<ServerLock, usize>, plain: &mut Plain, ids: &[LockId], asked: &mut Asked) {
    let successions: Vec<_> = std::iter::from_fn(|| hub.poll_succession())
        .map(|succession| (succession.before, succession.lock, succession.inherits))
        .collect();
    assert_eq!(successions, std::mem::take(&mut plain.successions));
    assert_eq!(hub.poll_timeout(), plain.first_due().map(|(at, _)| at));
    let mut known: Vec<LockId> = plain.tenants.iter().map(|tenant| tenant.id).collect();
    known.sort_unstable();
    let mut locks: Vec<LockId> = hub.locks().collect();
    locks.sort_unstable();
    assert_eq!(locks, known);
    let mut crowds: Vec<usize> = hub.crowds().map(|(_, behind)| behind).collect();
    crowds.sort_unstable();
    let mut lines: Vec<usize> = plain.lines.iter().map(|line| line.len().max(1) - 1).collect();
    lines.retain(|behind| *behind > 0);
    lines.sort_unstable();
    assert_eq!(crowds, lines);
    for (place, id) in ids.iter().enumerate() {
        let machine = plain.machine(*id);
        let attachment = machine.is_some().then_some(place);
        assert_eq!(hub.attachment(*id).copied(), attachment, "{id:?}");
        let Some(machine) = machine else {
            assert!(hub.poll_event(*id).is_none() && hub.poll_request(*id).is_none());
            continue;
        };
        loop {
            let (event, expected) = (hub.poll_event(*id), machine.poll_event());
            assert_eq!(shown(&event), shown(&expected), "{id:?}");
            if event.is_none() {
                break;
            }
        }
        loop {
            let (request, expected) = (hub.poll_request(*id), machine.poll_request());
            assert_eq!(shown(&request), shown(&expected), "{id:?}");
            let Some(request) = request else { break };
            asked.push((*id, request.id, request.command));
        }
    }
}

impl Plain {
    fn start(&mut self, id: LockId, mut machine: ServerLock, name: usize, now: Instant) {
        self.now = self.now.max(now);
        if machine.cohort().is_some() {
            if !self.lines[name].is_empty() {
                machine.stand_behind();
            }
            self.lines[name].push(id);
        }
        self.tenants.push(Tenant { id, machine, name });
    }

    fn input(&mut self, id: LockId, now: Instant, act: impl FnOnce(&mut ServerLock, Instant)) {
        self.now = self.now.max(now);
        let now = self.now;
        let Some(machine) = self.machine(id) else { return };
        act(machine, now);
        let mut leaves = machine.is_leaving().then_some(id);
        while let Some(id) = leaves {
            leaves = self.step_out(id);
        }
    }

    fn forget(&mut self, id: LockId) -> bool {
        let mut leaves = Some(id);
        while let Some(id) = leaves {
            leaves = self.step_out(id);
        }
        let before = self.tenants.len();
        self.tenants.retain(|tenant| tenant.id != id);
        self.tenants.len() < before
    }

    /// Takes a lock out of its line; who came to the front by that and leaves at once.
    fn step_out(&mut self, id: LockId) -> Option<LockId> {
        let tenant = self.tenants.iter().position(|tenant| tenant.id == id)?;
        let line = &mut self.lines[self.tenants[tenant].name];
        let place = line.iter().position(|other| *other == id)?;
        line.remove(place);
        let next = line.first().copied().filter(|_| place == 0)?;
        let heir = self.tenants.iter().position(|tenant| tenant.id == next)?;
        let [before, heir] = self.tenants.get_disjoint_mut([tenant, heir]).expect("two locks");
        let inherits = heir.machine.follow(&mut before.machine, self.now);
        let leaves = heir.machine.is_leaving();
        self.successions.push((id, next, inherits));
        leaves.then_some(next)
    }

    fn machine(&mut self, id: LockId) -> Option<&mut ServerLock> {
        let tenant = self.tenants.iter_mut().find(|tenant| tenant.id == id)?;
        Some(&mut tenant.machine)
    }

    fn first_due(&self) -> Option<(Instant, LockId)> {
        let due = |tenant: &Tenant| Some((tenant.machine.poll_timeout()?.at, tenant.id));
        self.tenants.iter().filter_map(due).min()
    }
}

fn lock(name: usize, waits: bool, number: usize, now: Instant) -> ServerLock {
    let name = LockName::new(["orders", "customers"][name]).expect("a short name");
    let keys = Keys::new("", &name).expect("a plain name");
    let timeout = (!waits).then_some(std::time::Duration::ZERO);
    let options = AcquireOptions::new().with_timeout(timeout);
    let settings = RedisOptions::new(Identity::new("build-7", 4242));
    let seed = Seed::from_bytes([number as u8; 32]);
    let lock = ServerLock::new(keys, Side::Exclusive, &options, &settings, &seed, now);
    lock.expect("sensible options").leading(&options)
}
