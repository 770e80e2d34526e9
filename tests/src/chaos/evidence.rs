//! What the log of a worker says about each of its holds.

use super::crew::Fate;
use super::record::{Line, lines};
use crate::history::Hold;

/// One time that a worker was let in.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    pub(super) hold: Hold,
    pub(super) lock: String,
    pub(super) asked: u64,
    pub(super) held: u64,
    pub(super) fence: Option<u64>,
    /// Until when the worker had reason to believe that the lock was its own.
    pub(super) believed: u64,
    /// When the release was confirmed.
    pub(super) left: Option<u64>,
    /// Whether the worker has begun to let go.
    leaving: bool,
    /// Whether it was told that the lock was lost.
    pub(super) lost: bool,
    /// From the first read of the sets to the last write; the end, if it was killed meanwhile.
    pub(super) work: Option<(u64, u64)>,
    /// What it added to the plain set.
    pub(super) plain: Option<u32>,
    /// What it added to the fenced set, and whether that was accepted.
    pub(super) fenced: Option<(u32, bool)>,
}

/// All holds of a worker.
pub(super) fn of(client: u32, log: &str, fate: Fate, has_leases: bool) -> Vec<Evidence> {
    let mut holds: Vec<Evidence> = Vec::new();
    let mut asking: Option<Line<'_>> = None;
    for line in lines(log) {
        match line.word {
            "asks" => asking = Some(line),
            "fails" => asking = None,
            "holds" => {
                let asked = asking.take().expect("it asked before it held");
                let number = u32::try_from(holds.len()).expect("a run has an end");
                holds.push(Evidence::begin(Hold { client, number }, asked, line));
            }
            _ => holds.last_mut().expect("it held before it let go").add(line, has_leases),
        }
    }
    if let (Some(last), Fate::Killed { at }) = (holds.last_mut(), fate) {
        last.die(at, has_leases);
    }
    holds
}

impl Evidence {
    fn begin(hold: Hold, asked: Line<'_>, held: Line<'_>) -> Self {
        let (fence, remaining) = held.rest.split_once(' ').expect("a fence and a lease");
        Self {
            hold,
            lock: asked.rest.to_owned(),
            asked: asked.at,
            held: held.at,
            fence: fence.parse().ok(),
            believed: held.at + remaining.parse().unwrap_or(0),
            left: None,
            leaving: false,
            lost: false,
            work: None,
            plain: None,
            fenced: None,
        }
    }

    fn add(&mut self, Line { at, word, rest }: Line<'_>, has_leases: bool) {
        if let ("plain" | "fenced", Some((_, end))) = (word, &mut self.work) {
            *end = at;
        }
        match word {
            "valid" => self.believed = self.believed.max(at + rest.parse().unwrap_or(0)),
            "lost" => self.lost = true,
            "begins" => self.work = Some((at, at)),
            "plain" => self.plain = rest.parse().ok(),
            "fenced" => {
                let (number, accepted) = rest.split_once(' ').expect("a number and an answer");
                let number = number.parse().expect("a number of an element");
                self.fenced = Some((number, accepted == "yes"));
            }
            "leaves" => {
                self.leaving = true;
                if has_leases {
                    self.believed = self.believed.min(at);
                } else if !self.lost {
                    self.believed = at;
                }
            }
            "left" => self.left = (rest == "yes").then_some(at),
            word => panic!("no worker says {word}"),
        }
    }

    /// Its worker was killed, perhaps long after the hold.
    fn die(&mut self, at: u64, has_leases: bool) {
        if self.leaving {
            return;
        }
        if let (Some((_, end)), None) = (&mut self.work, self.fenced) {
            *end = at;
        }
        if has_leases {
            self.believed = self.believed.min(at);
        } else if !self.lost {
            self.believed = self.believed.max(at);
        }
    }

    /// Whether the worker had the lock as long as it worked, as far as it could know.
    pub(super) fn was_sound(&self) -> bool {
        !self.lost && self.work.is_none_or(|(_, end)| end <= self.believed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(log: &str, fate: Fate, has_leases: bool) -> Evidence {
        let mut holds = of(3, log, fate, has_leases);
        assert_eq!(holds.len(), 1, "{holds:?}");
        holds.remove(0)
    }

    #[test]
    fn a_hold_without_a_lease_is_believed_in_until_it_is_let_go() {
        let log = "1 asks mutex\n2 holds 7 -\n3 valid -\n9 leaves\n12 left yes\n";
        let held = only(log, Fate::Done, false);
        assert_eq!((held.asked, held.held, held.believed, held.left), (1, 2, 9, Some(12)));
        assert_eq!(held.fence, Some(7));
    }

    #[test]
    fn a_hold_with_a_lease_is_believed_in_as_long_as_it_was_seen_to_last() {
        let log = "1 asks mutex\n2 holds 7 10\n5 valid 11\n";
        assert_eq!(only(log, Fate::Done, true).believed, 16);
        assert_eq!(only(log, Fate::Killed { at: 8 }, true).believed, 8);
        let left = format!("{log}9 leaves\n12 left yes\n");
        assert_eq!(only(&left, Fate::Done, true).believed, 9);
    }

    #[test]
    fn a_loss_ends_what_was_believed() {
        let log = "1 asks read\n2 holds - -\n3 valid -\n6 lost it is gone\n7 leaves\n8 left no\n";
        let held = only(log, Fate::Killed { at: 20 }, false);
        assert_eq!((held.believed, held.left, held.lost), (3, None, true));
    }

    #[test]
    fn a_killed_worker_believed_in_its_hold_to_the_end_unless_it_was_letting_go() {
        let log = "1 asks mutex\n2 holds 7 -\n3 valid -\n";
        assert_eq!(only(log, Fate::Killed { at: 20 }, false).believed, 20);
        let leaving = format!("{log}9 leaves\n");
        assert_eq!(only(&leaving, Fate::Killed { at: 20 }, false).believed, 9);
    }

    #[test]
    fn work_that_ends_with_its_worker_ends_in_doubt_and_a_line_that_was_cut_off_is_not_read() {
        let log = "1 asks mutex\n2 holds 7 -\n3 begins\n5 valid -\n6 plain 1\n7 fenc";
        let held = only(log, Fate::Killed { at: 20 }, false);
        assert_eq!((held.work, held.plain, held.fenced), (Some((3, 20)), Some(1), None));
    }
}
