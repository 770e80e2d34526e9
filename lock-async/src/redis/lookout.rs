//! Looking for answers for a while before the runtime's thread may sleep.

use std::task::Context;

/// So often at most. With as many again nothing more was gained from a server on the same machine.
const MOST_LOOKS: u32 = 64;
/// After so many writes it is tried anew whether looking is worth it.
const TRIED_AFTER: u64 = 128;

/// How often to look for an answer that is about to come.
///
/// Where looking was in vain, as with a server that is far, it is done half as often the next time,
/// and soon not at all; where an answer came, as often as may be.
#[derive(Debug)]
pub(super) struct Lookout {
    /// How often at most.
    most: u32,
    /// How often to look for each answer.
    worth: u32,
    left: u32,
    looked: bool,
}

impl Lookout {
    /// On the runtime that runs the caller: that of async-std can't be told to look.
    pub(super) fn here() -> Self {
        Self::of(if runs_on_tokio() { MOST_LOOKS } else { 0 })
    }

    fn of(most: u32) -> Self {
        Self { most, worth: most, left: most, looked: false }
    }

    /// A write is on its way, the `number`th.
    pub(super) fn expect(&mut self, number: u64) {
        if number.is_multiple_of(TRIED_AFTER) {
            self.worth = self.most;
        }
        self.begin();
    }

    /// An answer has come; others may be on their way.
    pub(super) fn answered(&mut self) {
        if self.looked && self.left > 0 {
            self.worth = self.most;
        }
        self.begin();
    }

    /// Whether to look once more.
    pub(super) fn look(&mut self) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        self.looked = true;
        if left == 0 {
            self.worth /= 2;
        }
        true
    }

    fn begin(&mut self) {
        self.left = self.worth;
        self.looked = false;
    }
}

#[cfg(feature = "redis-tokio")]
fn runs_on_tokio() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}

#[cfg(not(feature = "redis-tokio"))]
fn runs_on_tokio() -> bool {
    false
}

/// Has the task of `cx` run again once its runtime has looked for what has come, without sleeping.
#[cfg(feature = "redis-tokio")]
pub(super) fn look_soon(cx: &Context<'_>) {
    let mut cx = Context::from_waker(cx.waker());
    let _ = std::pin::pin!(tokio::task::yield_now()).poll(&mut cx);
}

#[cfg(not(feature = "redis-tokio"))]
pub(super) fn look_soon(cx: &Context<'_>) {
    cx.waker().wake_by_ref();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(lookout: &mut Lookout) -> u32 {
        (0..).take_while(|_| lookout.look()).count() as u32
    }

    #[test]
    fn who_looks_in_vain_looks_half_as_often_the_next_time_until_it_is_tried_anew() {
        let mut lookout = Lookout::of(MOST_LOOKS);
        let mut found = Vec::new();
        for number in 1..=TRIED_AFTER {
            lookout.expect(number);
            found.push(looks(&mut lookout));
        }
        assert_eq!(found[..8], [64, 32, 16, 8, 4, 2, 1, 0]);
        assert_eq!(found.last(), Some(&MOST_LOOKS));
    }

    #[test]
    fn who_finds_an_answer_looks_as_often_as_may_be() {
        let mut lookout = Lookout::of(MOST_LOOKS);
        lookout.expect(1);
        assert_eq!(looks(&mut lookout), MOST_LOOKS);
        lookout.expect(2);
        assert!(lookout.look());
        lookout.answered();
        assert_eq!(looks(&mut lookout), MOST_LOOKS);
    }

    #[test]
    fn an_answer_that_nobody_looked_for_says_nothing() {
        let mut lookout = Lookout::of(MOST_LOOKS);
        lookout.expect(1);
        assert_eq!(looks(&mut lookout), MOST_LOOKS);
        lookout.answered();
        assert_eq!(looks(&mut lookout), MOST_LOOKS / 2);
    }
}
