//! A real server and its model, which do the same and must agree about it.
//!
//! The model has no clock of its own: each step is made once by the server, between two looks at
//! its clock, and then by the model as if at the first of them. What depends on the time may differ
//! by the time between the two, everything else not at all. Afterwards the model goes on with the
//! server's numbers, so differences don't add up.

mod compare;
mod random;
mod real;
mod step;

use std::collections::BTreeMap;
use std::sync::Arc;

use lock_proto::redis::{Command, Reply};

use crate::redis_model::{Answer, Draw, Entry, Snapshot, Store};
pub use random::{compare_calls, keys, token};
use real::Real;
pub use step::Step;

/// A server and its model.
pub struct Twin {
    real: Real,
    model: Store,
    compared: u64,
    unclear: u64,
}

/// What can be seen of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// What was answered.
    pub answer: Result<Vec<Answer>, String>,
    /// What was published: channels and texts.
    pub messages: Vec<(String, String)>,
    /// Every key afterwards.
    pub entries: BTreeMap<Arc<str>, Entry>,
}

impl Twin {
    /// An empty server and its model.
    ///
    /// # Panics
    ///
    /// If the server does not start.
    #[must_use]
    pub fn start() -> Self {
        Self { real: Real::start(), model: Store::new(), compared: 0, unclear: 0 }
    }

    /// Asks both, and answers what the server did.
    ///
    /// # Errors
    ///
    /// What the server answered, if it was an error.
    ///
    /// # Panics
    ///
    /// If the model disagrees.
    pub fn ask(&mut self, command: &Command, inbox: &str) -> Result<Reply, String> {
        let (command, inbox) = (command.clone(), inbox.to_owned());
        let answer = self.see(&Step::Ask { command, inbox, draw: Draw::Increment }).answer?;
        let mut reply = [0; 3];
        for (place, answer) in reply.iter_mut().zip(answer) {
            let Answer::Number(number) = answer else { panic!("a text: {answer:?}") };
            *place = number;
        }
        Ok(reply)
    }

    /// Takes a step, and answers what could be seen of it.
    ///
    /// # Panics
    ///
    /// If the model disagrees.
    pub fn see(&mut self, step: &Step) -> Seen {
        self.run(step).unwrap_or_else(|difference| panic!("{step:?}: {difference}"))
    }

    /// Takes a step, and answers what could be seen of it on the server.
    ///
    /// # Errors
    ///
    /// How the model disagrees.
    pub fn run(&mut self, step: &Step) -> Result<Seen, String> {
        if let Step::Age(ms) = step {
            let seen = self.real.age(*ms);
            self.adopt(&seen);
            return Ok(seen);
        }
        let before = self.model.entries().clone();
        let (bracket, seen) = self.real.take(step);
        self.compared += 1;
        let [first, second] = [bracket.start, bracket.end].map(|clock| self.expect(step, clock));
        let result = bracket.compare(&before, &first, &seen);
        if let Err(difference) = result
            && bracket.compare(&before, &second, &seen).is_err()
        {
            // Something ended while the server looked at it, or a millisecond began between two
            // looks at the clock: who is to say when?
            let nothing = BTreeMap::new();
            let ticked = bracket.ticks() && bracket.compare(&nothing, &first, &seen).is_ok();
            if !ticked && !bracket.ends_a_deadline(&before) {
                return Err(difference);
            }
            self.unclear += 1;
        }
        self.adopt(&seen);
        Ok(seen)
    }

    /// Deletes everything.
    ///
    /// # Panics
    ///
    /// If the server does not answer.
    pub fn flush(&mut self) {
        self.real.flush();
        self.model.flush();
    }

    /// How many steps were compared, and of how many it could not be said what they should do.
    #[must_use]
    pub fn compared(&self) -> (u64, u64) {
        (self.compared, self.unclear)
    }

    /// The keys that are there.
    #[must_use]
    pub fn keys(&self) -> Vec<&str> {
        self.model.entries().keys().map(|key| &**key).collect()
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &crate::redis::Server {
        self.real.server()
    }

    /// What the model would do at this time.
    fn expect(&self, step: &Step, clock: i64) -> Seen {
        let mut model = self.model.clone();
        model.set_clock(clock.unsigned_abs());
        let answer = step.on(&mut model);
        let messages = model.take_messages().into_iter();
        let messages = messages.map(|(to, text)| (to.to_string(), text.to_string())).collect();
        Seen { answer, messages, entries: model.entries().clone() }
    }

    fn adopt(&mut self, seen: &Seen) {
        self.model.restart_with(Snapshot::of(seen.entries.clone()));
    }
}
