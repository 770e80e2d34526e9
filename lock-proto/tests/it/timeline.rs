//! Drives one machine by a script of words, and writes down all that it says: the
//! time in milliseconds, the input, and the requests and [events] that it led to.
//!
//! | Word | Input |
//! | --- | --- |
//! | `next` | time passes until the machine's deadline |
//! | `+5ms` | so much time passes, and nobody tells the machine |
//! | `timeout`, `nudge`, `release`, `disconnect` | as the method of that name |
//! | `extend=5s` | the caller wants the lock for so long |
//! | `grant=…` | a message; see [`Backend::message`] |
//! | `refused`, `not-sent`, `unknown` | a fault answers the oldest unanswered request |
//! | anything else | a reply of the backend answers it; see [`Backend::reply`] |
//!
//! A reply that ends in `!` answers the newest unanswered request; one that begins with `2:`
//! answers that of the second server.

use std::fmt::Write as _;
use std::time::Duration;

use expect_test::Expect;
use lock_proto::{
    Demand, Event, Fault, Instant, LockError, LockName, LossReason, Machine, Request, RequestId,
};

/// What a script needs to know of a backend.
pub(crate) trait Backend: Machine {
    /// The reply that `word` names.
    fn reply(word: &str, now: Instant) -> Self::Reply;
    /// The command as the transcript shows it.
    fn describe(command: &Self::Command) -> String;
    /// Which server the command is for.
    fn server(_command: &Self::Command) -> usize {
        0
    }
    /// The message that `word` names, if it names one.
    fn message(_word: &str) -> Option<Self::Message> {
        None
    }
}

/// Runs `script` and compares what was said with `expected`.
pub(crate) fn check<M: Backend>(machine: M, script: &str, expected: Expect) {
    let mut timeline = Timeline::new(machine);
    for word in script.split_whitespace() {
        timeline.play(word);
    }
    expected.assert_eq(&timeline.transcript);
}

/// The same from the end of `opening` on, which another test shows.
pub(crate) fn check_after<M: Backend>(machine: M, opening: &str, script: &str, expected: Expect) {
    let mut timeline = Timeline::new(machine);
    opening.split_whitespace().for_each(|word| timeline.play(word));
    timeline.transcript.clear();
    script.split_whitespace().for_each(|word| timeline.play(word));
    expected.assert_eq(&timeline.transcript);
}

pub(crate) fn name() -> LockName {
    LockName::new("orders").expect("a short name")
}

pub(crate) fn permits(count: u32, limit: u32) -> Demand {
    Demand::permits(count, limit).expect("a sensible demand")
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The moment `millis` milliseconds after the origin.
pub(crate) fn at(millis: u64) -> Instant {
    Instant::ZERO + ms(millis)
}

struct Timeline<M: Backend> {
    machine: M,
    now: Instant,
    unanswered: Vec<(RequestId, usize)>,
    transcript: String,
}

impl<M: Backend> Timeline<M> {
    fn new(machine: M) -> Self {
        let mut timeline =
            Self { machine, now: Instant::ZERO, unanswered: Vec::new(), transcript: String::new() };
        timeline.say("start");
        timeline.listen();
        timeline
    }

    fn play(&mut self, word: &str) {
        let now = self.now;
        if let Some(wait) = word.strip_prefix('+') {
            self.now = now + duration(wait);
            return;
        }
        match word {
            "next" => {
                let due = self.machine.poll_timeout().expect("the machine has a deadline");
                assert!(due.at >= now, "asked to be woken in the past");
                self.now = due.at;
                self.say(&format!("{:?}", due.timer));
                self.machine.handle_timeout(due.at);
                let next = self.machine.poll_timeout();
                assert!(next.is_none_or(|next| next.at > due.at), "asked to be woken in the past");
            }
            "timeout" => self.input(word, |machine| machine.handle_timeout(now)),
            "nudge" => self.input(word, |machine| machine.handle_nudge(now)),
            "release" => self.input(word, |machine| machine.release(now)),
            "disconnect" => self.input(word, |machine| {
                machine.handle_disconnect(LossReason::Revoked, now);
            }),
            _ => {
                if let Some(ttl) = word.strip_prefix("extend=") {
                    self.input(word, |machine| machine.extend(duration(ttl), now));
                } else if let Some(message) = M::message(word) {
                    self.input(word, |machine| machine.handle_message(message, now));
                } else {
                    self.answer(word);
                }
            }
        }
        self.listen();
    }

    fn input(&mut self, word: &str, handle: impl FnOnce(&mut M)) {
        self.say(word);
        handle(&mut self.machine);
    }

    fn answer(&mut self, word: &str) {
        self.say(word);
        let (word, newest) =
            word.strip_suffix('!').map_or((word, false), |shortened| (shortened, true));
        let (word, server) = match word.split_once(':') {
            Some((number, word)) => (word, number.parse::<usize>().ok()),
            None => (word, None),
        };
        let of_server = |number| self.unanswered.iter().position(|(_, at)| at + 1 == number);
        let position = match server {
            Some(number) => of_server(number).expect("this server owes an answer"),
            None if newest => self.unanswered.len() - 1,
            None => 0,
        };
        let (id, _) = self.unanswered.remove(position);
        let reply = match word {
            "refused" => Err(Fault::refused("no space left")),
            "not-sent" => Err(Fault::not_sent("too late")),
            "unknown" => Err(Fault::unknown("nobody knows")),
            _ => Ok(M::reply(word, self.now)),
        };
        self.machine.handle_reply(id, reply, self.now);
    }

    /// Adds what the machine says to the line of the input.
    fn listen(&mut self) {
        let mut said = Vec::new();
        loop {
            if let Some(event) = self.machine.poll_event() {
                said.push(format!("[{}]", describe_event(&event)));
            } else if let Some(Request { id, command, .. }) = self.machine.poll_request() {
                self.unanswered.push((id, M::server(&command)));
                said.push(M::describe(&command));
            } else {
                break;
            }
        }
        self.transcript.push_str(&said.join(", "));
        self.transcript.truncate(self.transcript.trim_end().len());
        self.transcript.push('\n');
    }

    fn say(&mut self, input: &str) {
        let micros = self.now.as_nanos() / 1_000;
        let (millis, rest) = (micros / 1_000, micros % 1_000);
        let now = format!("{millis}.{rest:03}");
        write!(self.transcript, "{now:<8} {input:<12} ").expect("a string takes everything");
    }
}

pub(crate) fn describe_event(event: &Event) -> String {
    match event {
        Event::Acquired { valid_until, fence } => {
            let until = valid_until.map(|at| format!(" until {at:?}")).unwrap_or_default();
            let fence = fence.map(|fence| format!(" with fence {fence}")).unwrap_or_default();
            format!("acquired{until}{fence}")
        }
        Event::Extended { valid_until } => format!("extended until {valid_until:?}"),
        Event::Warned { valid_until } => format!("warned: it runs out at {valid_until:?}"),
        Event::Lost(reason) => format!("lost: {reason}"),
        Event::Failed(LockError::Timeout(budget)) => format!("timed out after {budget:?}"),
        Event::Failed(error) => format!("failed: {error}"),
        Event::Released => "released".into(),
        Event::Closed { clean } => if *clean { "closed" } else { "closed, not clean" }.into(),
        _ => "an event that this transcript doesn't know".into(),
    }
}

fn duration(text: &str) -> Duration {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let number: u64 = digits.parse().expect("a whole number");
    match &text[digits.len()..] {
        "us" => Duration::from_micros(number),
        "ms" => ms(number),
        "s" => Duration::from_secs(number),
        unit => panic!("{unit} is no unit"),
    }
}
