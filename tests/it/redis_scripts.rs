//! The scripts of locks on one Redis server, and their model.

mod differential;
mod mutex;
mod permits;
mod readers;
mod upset;

use std::time::Duration;

use lock_proto::redis::{Command, Keys, Message, Side, Verb};
use lock_tests::redis_model::{Answer, Draw};
use lock_tests::redis_twin::{Step, Twin, keys, token};

/// How long anything is taken for.
const TTL: Duration = Duration::from_secs(10);

/// A lock of its own server, asked by people called by numbers.
struct Bench {
    twin: Twin,
    keys: Keys,
    messages: Vec<(String, String)>,
}

impl Bench {
    fn start() -> Self {
        Self { twin: Twin::start(), keys: keys("a"), messages: Vec::new() }
    }

    fn ask(&mut self, who: u8, verb: Verb) -> Result<[i64; 3], String> {
        let command = Command::new(0, &self.keys, &token(who), verb);
        let step = Step::Ask { command, inbox: format!("inbox:{who}"), draw: Draw::Increment };
        let seen = self.step(&step)?;
        let mut reply = [0; 3];
        for (place, word) in reply.iter_mut().zip(seen) {
            let Answer::Number(number) = word else { panic!("{word:?} is no number") };
            *place = number;
        }
        Ok(reply)
    }

    fn step(&mut self, step: &Step) -> Result<Vec<Answer>, String> {
        let seen = self.twin.see(step);
        self.messages = seen.messages;
        seen.answer
    }

    fn take(&mut self, who: u8) -> [i64; 3] {
        self.ask(who, Verb::Take { ttl: TTL, fencing: true }).expect("an answer")
    }

    fn enter(&mut self, who: u8, side: Side) -> [i64; 3] {
        self.enter_with(who, side, 1)
    }

    fn enter_with(&mut self, who: u8, side: Side, stamp: u64) -> [i64; 3] {
        self.ask(who, Verb::Enter { side, ttl: TTL, wait: true, stamp }).expect("an answer")
    }

    fn attempt(&mut self, who: u8, side: Side) -> [i64; 3] {
        self.ask(who, Verb::Enter { side, ttl: TTL, wait: false, stamp: 1 }).expect("an answer")
    }

    fn extend(&mut self, who: u8, side: Side, ttl: Duration) -> bool {
        self.ask(who, Verb::Extend { side, ttl }).expect("an answer")[0] == 1
    }

    fn leave(&mut self, who: u8, side: Side) -> bool {
        self.ask(who, Verb::Leave { side, refuse_for: None }).expect("an answer")[0] == 1
    }

    fn refuse(&mut self, who: u8, side: Side) {
        let verb = Verb::Leave { side, refuse_for: Some(TTL) };
        self.ask(who, verb).expect("an answer");
    }

    fn mint(&mut self, who: u8) -> i64 {
        self.ask(who, Verb::Mint).expect("an answer")[0]
    }

    fn pass(&mut self, ms: i64) {
        self.step(&Step::Age(ms)).expect("time passes");
    }

    fn info(&mut self, side: Side) -> Vec<Answer> {
        let step = Step::Call(side.info(&self.keys));
        self.step(&step).expect("an answer")
    }

    /// Whom the last step told that it was let in, and from which refresh on.
    fn told(&self) -> Vec<(u8, u64)> {
        let told = self.messages.iter().map(|(inbox, text)| {
            let (name, message) = Message::parse(text).expect("a grant");
            let who = (1..=20).find(|who| token(*who).as_str() == name).expect("somebody");
            assert_eq!(*inbox, format!("inbox:{who}"), "each hears of itself only");
            (who, message.stamp)
        });
        told.collect()
    }

    /// Milliseconds until a key ends, on the server.
    fn remaining(&self, key: &str) -> i64 {
        let answer = self.twin.server().command(&["PTTL", key]).expect("an answer");
        redis::from_redis_value(answer).expect("a number")
    }

    /// Whether nothing is left but the counter.
    fn is_clean(&self) -> bool {
        self.twin.keys() == [self.keys.fence()]
    }
}
