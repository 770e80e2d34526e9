//! Bugs of locks on several Redis servers.

use super::Bug;
use crate::entropy::Entropy;
use crate::quorum_world::{self, Rule, Setting};
use crate::trace::Trace;

pub(super) const BUGS: &[Bug] = &[
    Bug {
        name: "redlock-gives-back-any-ballot",
        machine: "redlock",
        violates: "exclusion",
        source: "R1: a vote is given back whatever its ballot",
        simulation: |entropy, trace| broken(Rule::StepBackAtItsBallot, entropy, trace),
    },
    Bug {
        name: "redlock-no-drift",
        machine: "redlock",
        violates: "exclusion",
        source: "R2: clocks that differ are not allowed for",
        simulation: |entropy, trace| broken(Rule::Drift, entropy, trace),
    },
    Bug {
        name: "redlock-shortens",
        machine: "redlock",
        violates: "exclusion",
        source: "R4: a late command shortens a lease",
        simulation: |entropy, trace| broken(Rule::NeverShorten, entropy, trace),
    },
    Bug {
        name: "redlock-takes-another",
        machine: "redlock",
        violates: "exclusion",
        source: "R20: an extension takes what is another's",
        simulation: |entropy, trace| broken(Rule::TakeOnlyWhatIsMissing, entropy, trace),
    },
    Bug {
        name: "redlock-falling-ballots",
        machine: "redlock",
        violates: "ballots",
        source: "R18: a server votes for a ballot below one that it has seen",
        simulation: |entropy, trace| broken(Rule::RisingBallots, entropy, trace),
    },
    Bug {
        name: "redlock-mixed-ballots",
        machine: "redlock",
        violates: "ballots",
        source: "R19, table B (a): yeses of several ballots count together",
        simulation: |entropy, trace| broken(Rule::SameBallot, entropy, trace),
    },
    Bug {
        name: "redlock-smallest-ballot",
        machine: "redlock",
        violates: "ballots",
        source: "R19, table B (b): the smallest ballot of a mixture is reported",
        simulation: |entropy, trace| broken(Rule::CountedBallot, entropy, trace),
    },
    Bug {
        name: "redlock-late-yes-revives",
        machine: "redlock",
        violates: "exclusion",
        source: "R3, table B (g): a clock that stopped takes a late yes for one in time",
        simulation: |entropy, trace| broken(Rule::SleeplessClock, entropy, trace),
    },
    Bug {
        name: "redlock-majority-and-amnesia",
        machine: "redlock-forgetful",
        violates: "exclusion",
        source: "table B (c), distributed-lock: a majority alone where a server forgets",
        simulation: |entropy, trace| broken(Rule::SpareServer, entropy, trace),
    },
    Bug {
        name: "redlock-ballots-and-amnesia",
        machine: "redlock-forgetful",
        violates: "ballots",
        source: "table B (d): ballots granted by a majority alone where a server forgets",
        simulation: |entropy, trace| broken(Rule::SpareGrant, entropy, trace),
    },
    Bug {
        name: "redlock-fast-clock",
        machine: "redlock-forgetful",
        violates: "ballots",
        source: "table B (f): ballots are left to clocks, and one is fast",
        simulation: |entropy, trace| broken(Rule::NoFastClock, entropy, trace),
    },
    Bug {
        name: "redlock-endless-renewals",
        machine: "redlock",
        violates: "limit",
        source: "Redisson's watchdog: what is held is renewed for ever",
        simulation: |entropy, trace| broken(Rule::KeptLimits, entropy, trace),
    },
    Bug {
        name: "redlock-forgetful-cancel",
        machine: "redlock",
        violates: "cleanness",
        source: "rustfs-lock U7, distributed-lock R5: requests under way are forgotten",
        simulation: |entropy, trace| broken(Rule::SentIsSent, entropy, trace),
    },
    Bug {
        name: "redlock-keeps-lost-votes",
        machine: "redlock",
        violates: "liveness",
        source: "node-redlock, distributed-lock R4: a lost vote is not given back",
        simulation: |entropy, trace| broken(Rule::LostVoteGoesBack, entropy, trace),
    },
    Bug {
        name: "redlock-silence-is-yes",
        machine: "redlock",
        violates: "exclusion",
        source: "a server that is down counts as one that agrees",
        simulation: |entropy, trace| broken(Rule::SilenceIsNoYes, entropy, trace),
    },
    Bug {
        name: "redlock-failed-extension",
        machine: "redlock",
        violates: "exclusion",
        source: "rslock S1: an extension that fails on a few unlocks on all",
        simulation: |entropy, trace| broken(Rule::FailedExtensionKeeps, entropy, trace),
    },
    Bug {
        name: "redlock-other-servers",
        machine: "redlock",
        violates: "exclusion",
        source: "clients with different lists of servers; rustfs-lock U3: quorums apart",
        simulation: |entropy, trace| broken(Rule::SameServers, entropy, trace),
    },
    Bug {
        name: "redlock-aliases",
        machine: "redlock-forgetful",
        violates: "exclusion",
        source: "two names of one server count as two",
        simulation: |entropy, trace| broken(Rule::ServersApart, entropy, trace),
    },
    Bug {
        name: "redlock-unfenced-storage",
        machine: "redlock",
        violates: "storage",
        source: "Kleppmann: a paused holder goes on writing, and nobody compares tokens",
        simulation: |entropy, trace| broken(Rule::FencedStorage, entropy, trace),
    },
];

fn broken(rule: Rule, entropy: Entropy, trace: &mut Trace) {
    quorum_world::run(Setting::Broken(rule), entropy, trace);
}
