//! Script calls, word by word.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use super::call::{
    ACQUIRE, CLAIM, Command, EXTEND, GIVE_BACK, LIVENESS, MINT, PERMITS_ACQUIRE, PERMITS_EXTEND,
    PERMITS_RELEASE, RELEASE, Script, ScriptCall, Side, VOTE, VOTE_KEEP, VOTE_YIELD, Verb,
};

/// Takes the words of one script call in their order, so that they need not be gathered first.
pub trait Words {
    /// The script and its KEYS, and how many words of its ARGV follow.
    fn begin(&mut self, script: &'static Script, keys: &[&str], args: usize);
    /// The next word of ARGV.
    fn text(&mut self, word: &str);
    /// The next word of ARGV, a number.
    fn number(&mut self, number: u64);
}

impl Words for Option<ScriptCall> {
    fn begin(&mut self, script: &'static Script, keys: &[&str], args: usize) {
        let keys = keys.iter().copied().map(String::from).collect();
        *self = Some(ScriptCall { script, keys, args: Vec::with_capacity(args) });
    }

    fn text(&mut self, word: &str) {
        if let Some(call) = self {
            call.args.push(word.into());
        }
    }

    fn number(&mut self, number: u64) {
        self.text(&number.to_string());
    }
}

impl Command {
    /// Says what [`Command::script`] says word by word, and nothing for [`Verb::Take`].
    pub fn spell(&self, inbox: &str, words: &mut impl Words) {
        match self.verb {
            Verb::Take { .. } => {}
            Verb::Enter { side, ttl, wait, stamp } => {
                if let Side::Permits { count, limit } = side {
                    self.begin(&PERMITS_ACQUIRE, side, true, 9, words);
                    words.number(count.into());
                    words.number(limit.into());
                } else {
                    self.begin(&ACQUIRE, side, true, 8, words);
                    words.text(side.letter());
                }
                words.number(millis(ttl));
                words.text(flag(wait));
                words.number(stamp);
                words.number(millis(CLAIM));
                words.number(millis(LIVENESS));
                words.text(inbox);
            }
            Verb::Extend { side, ttl } => {
                if let Side::Permits { count, .. } = side {
                    self.begin(&PERMITS_EXTEND, side, false, 3, words);
                    words.number(count.into());
                } else {
                    self.begin(&EXTEND, side, false, 2, words);
                }
                words.number(millis(ttl));
            }
            Verb::Mint => self.begin(&MINT, Side::Exclusive, false, 1, words),
            Verb::GiveBack => {
                words.begin(&GIVE_BACK, &[self.keys.lock(), self.keys.waiting()], 1);
                words.text(self.token.as_str());
            }
            Verb::Leave { side, refuse_for } => {
                if let Side::Permits { count, .. } = side {
                    self.begin(&PERMITS_RELEASE, side, refuse_for.is_some(), 3, words);
                    words.number(count.into());
                } else {
                    self.begin(&RELEASE, side, refuse_for.is_some(), 2, words);
                }
                words.number(refuse_for.map_or(0, millis));
            }
            Verb::Vote { .. } | Verb::Keep { .. } | Verb::StepBack { .. } | Verb::Quit { .. } => {
                self.spell_ballot(inbox, words)
            }
        }
    }

    /// A command to one of several servers.
    fn spell_ballot(&self, inbox: &str, words: &mut impl Words) {
        match self.verb {
            Verb::Take { .. }
            | Verb::Enter { .. }
            | Verb::Extend { .. }
            | Verb::Mint
            | Verb::GiveBack
            | Verb::Leave { .. } => {}
            Verb::Vote { side, ballot, ttl, wait, came } => {
                self.begin(&VOTE, side, true, 8, words);
                words.text(side.letter());
                words.number(ballot);
                words.number(millis(ttl));
                words.text(flag(wait));
                words.number(came);
                words.number(millis(LIVENESS));
                words.text(inbox);
            }
            Verb::Keep { side, ballot, ttl } => {
                self.begin(&VOTE_KEEP, side, true, 4, words);
                words.text(side.letter());
                words.number(ballot);
                words.number(millis(ttl));
            }
            Verb::StepBack { side, ballot, stay } => {
                self.begin(&VOTE_YIELD, side, true, 4, words);
                words.number(ballot);
                words.text(flag(stay));
                words.text(flag(false));
            }
            Verb::Quit { side, refuse_for } => {
                self.begin(&VOTE_YIELD, side, true, 4, words);
                words.text("");
                words.text(flag(false));
                words.number(refuse_for.map_or(0, millis));
            }
        }
    }

    /// What every call begins with; the first of the `args` is the token.
    fn begin(
        &self,
        script: &'static Script,
        side: Side,
        gone: bool,
        args: usize,
        words: &mut impl Words,
    ) {
        let token = self.token.as_str();
        let (own, count) = side.keys(&self.keys);
        if gone {
            let gone = self.keys.gone(token);
            let mut keys = [""; 7];
            keys[..count].copy_from_slice(&own[..count]);
            keys[count] = &gone;
            words.begin(script, &keys[..=count], args);
        } else {
            words.begin(script, &own[..count], args);
        }
        words.text(token);
    }
}

fn flag(set: bool) -> &'static str {
    if set { "1" } else { "0" }
}

/// Whole milliseconds, rounded up: what is believed to be ours must not end before.
fn millis(duration: Duration) -> u64 {
    let part = u64::from(duration.subsec_nanos().div_ceil(1_000_000));
    duration.as_secs().saturating_mul(1000).saturating_add(part)
}
