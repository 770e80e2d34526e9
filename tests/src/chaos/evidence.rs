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
    /// Whether the worker was done with it, well or not.
    over: bool,
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
            over: false,
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
            "leaves" if has_leases => self.believed = self.believed.min(at),
            "leaves" if !self.lost => self.believed = at,
            "leaves" => {}
            "left" => (self.over, self.left) = (true, (rest == "yes").then_some(at)),
            word => panic!("no worker says {word}"),
        }
    }

    /// Its worker was killed, perhaps when the hold was over.
    fn die(&mut self, at: u64, has_leases: bool) {
        if self.over {
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
