//! Whether everything was as it is promised.

use std::fs;
use std::path::Path;

use super::backend::Backend;
use super::crew::Fate;
use super::evidence::{self, Evidence};
use super::fault::Void;
use super::nemesis::{Chronicle, Window};
use super::record;
use super::report::Report;
use super::store::{Elements, FencedSet, PlainSet};
use super::worker::PERMITS;
use crate::history::{Action, Hold, Operation, check};

/// How many readers a reader-writer lock has room for.
const READERS: u32 = 1 << 20;

/// Judges what the logs and the sets in `folder` say.
pub(super) fn judge(
    backend: Backend,
    folder: &Path,
    fates: &[Fate],
    chronicle: &Chronicle,
) -> Report {
    let mut report = Report::new(backend);
    write_chronicle(folder, chronicle);
    chronicle.deeds.iter().for_each(|deed| report.count_fault(deed.fault.name()));
    let mut holds = Vec::new();
    for (worker, fate) in (0..).zip(fates) {
        let log = record::read(folder, worker);
        holds.extend(evidence::of(worker, &log, *fate, backend.has_leases()));
        match fate {
            Fate::Failed => report.blame(format!("worker {worker} failed")),
            Fate::Stuck | Fate::Lives => report.blame(format!("worker {worker} got no lock")),
            Fate::Killed { .. } | Fate::Done => {}
        }
    }
    for (name, locks, permits) in [
        ("mutex", &["mutex"][..], 1),
        ("rw", &["read", "write"], READERS),
        ("s", &["permit"], PERMITS),
    ] {
        let of_it: Vec<&Evidence> =
            holds.iter().filter(|hold| locks.contains(&&*hold.lock)).collect();
        report.count_holds(name, of_it.len());
        if let Err(unexplained) = check(permits, &history(&of_it, &chronicle.windows)) {
            report.blame(format!("{name}: {unexplained}"));
        }
    }
    report.lost += holds.iter().filter(|hold| hold.lost).count();
    judge_plain(&mut report, folder, &holds, &chronicle.windows);
    judge_fenced(&mut report, folder, &holds, &chronicle.windows);
    report
}

/// What happened to one lock.
fn history(holds: &[&Evidence], windows: &[Window]) -> Vec<Operation> {
    let mut history = Vec::new();
    for held in holds {
        let permits = if held.lock == "write" { READERS } else { 1 };
        let alone = held.lock == "mutex" || held.lock == "write";
        let action = Action::Enter { permits, fence: held.fence.filter(|_| alone) };
        let (hold, called, returned) = (held.hold, held.asked, Some(held.held));
        history.push(Operation { hold, action, called, returned });
        let (called, returned) = (held.believed, held.left);
        history.push(Operation { hold, action: Action::Leave, called, returned });
    }
    for (number, window) in (0..).zip(windows) {
        let action = Action::Forget { fences: window.void == Void::HoldsAndFences };
        let hold = Hold { client: u32::MAX, number };
        let (called, returned) = (window.from, Some(window.to));
        history.push(Operation { hold, action, called, returned });
    }
    history
}

/// Nothing that was written is lost, unless somebody wrote at the same time who had lost the lock.
fn judge_plain(report: &mut Report, folder: &Path, holds: &[Evidence], windows: &[Window]) {
    let set = PlainSet::new(folder).read().expect("the set is whole");
    for (held, number) in holds.iter().filter_map(|held| Some((held, held.plain?))) {
        report.written += 1;
        if set.contains(held.hold.client, number) {
            continue;
        }
        let (from, to) = held.work.expect("it wrote as it worked");
        let meddled = |other: &&Evidence| {
            other.hold.client != held.hold.client
                && other.work.is_some_and(|(began, ended)| began <= to && from <= ended)
        };
        let excused = holds.iter().filter(meddled).any(|other| {
            let (began, ended) =
                (held.asked.min(other.asked), other.work.map_or(to, |work| work.1));
            let forgot = windows.iter().any(|at| began <= at.to && at.from <= ended.max(to));
            forgot || !held.was_sound() || !other.was_sound()
        });
        if excused {
            report.wiped_out += 1;
        } else {
            report.blame(format!("{} added {number}, and nobody may have lost it", held.hold));
        }
    }
}

/// Nothing that was accepted is lost, unless its token was given out twice where that may be.
fn judge_fenced(report: &mut Report, folder: &Path, holds: &[Evidence], windows: &[Window]) {
    let set = FencedSet::new(folder).contents().expect("the set is whole");
    for (held, number, accepted) in holds.iter().filter_map(|held| {
        let (number, accepted) = held.fenced?;
        Some((held, number, accepted))
    }) {
        if !accepted {
            report.refused += 1;
        } else if is_lost(&set, held, number) {
            let twin = |other: &&Evidence| other.fence == held.fence && other.hold != held.hold;
            let may_be = windows.iter().any(|window| window.void == Void::HoldsAndFences);
            if may_be && holds.iter().any(|other| twin(&other)) {
                report.repeated += 1;
            } else {
                let hold = held.hold;
                report.blame(format!("{hold} added {number}, which was accepted and is lost"));
            }
        }
    }
}

fn is_lost(set: &Elements, held: &Evidence, number: u32) -> bool {
    !set.contains(held.hold.client, number)
}

fn write_chronicle(folder: &Path, chronicle: &Chronicle) {
    let deeds = chronicle.deeds.iter().map(|deed| (deed.from, deed.to, deed.fault.name()));
    let windows = chronicle.windows.iter().map(|window| match window.void {
        Void::Holds => (window.from, window.to, "holds may be lost"),
        Void::HoldsAndFences => (window.from, window.to, "holds and fences may be lost"),
    });
    let mut all: Vec<_> = deeds.chain(windows).collect();
    all.sort_unstable();
    let lines = all.iter().map(|(from, to, what)| format!("{from} to {to} {what}\n"));
    fs::write(folder.join("nemesis.log"), lines.collect::<String>()).expect("the folder is ours");
}
