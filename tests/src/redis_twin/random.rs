//! Random calls, which may take any turn that clients, strangers and time can take.

use std::time::Duration;

use lock_proto::file::Identity;
use lock_proto::redis::{Command, Keys, Side, Token, Verb};
use lock_proto::{LockName, Seed};

use super::{Seen, Step, Twin};
use crate::entropy::Entropy;
use crate::redis_model::{Answer, Draw};

/// How many calls are made before everything is deleted.
const RUN: usize = 250;
/// How many bytes choose one step, or fewer.
const BYTES: usize = 16;

const TTLS_MS: [u64; 5] = [100, 1000, 3000, 9000, 30_000];
const PAUSES_MS: [i64; 8] = [1, 90, 700, 1100, 2600, 3100, 12_000, 61_000];
const LIMITS: [u32; 3] = [1, 3, 4];

/// Compares at least so many random calls, from `seed` on; says how many it were, and of how many
/// it could not be said what they should do.
///
/// # Panics
///
/// If the model and the server differ, or too little happened.
#[must_use]
pub fn compare_calls(calls: u64, mut seed: u64) -> (u64, u64) {
    let mut twin = Twin::start();
    let mut seen = Sightings::default();
    while twin.compared().0 < calls {
        run(&mut twin, seed, &mut seen);
        seed += 1;
    }
    let (compared, unclear) = twin.compared();
    assert!(unclear * 50 < compared, "{unclear} of {compared} calls met a deadline");
    assert!(seen.all(), "too little happened: {seen:?}");
    (compared, unclear)
}

/// The keys of the lock `name`.
///
/// # Panics
///
/// If no lock is called so.
#[must_use]
pub fn keys(name: &str) -> Keys {
    let name = LockName::new(name).expect("a short name");
    Keys::new("", &name).expect("a name without marks")
}

/// Somebody's token. The first has an owner with a space, which a message must survive.
#[must_use]
pub fn token(number: u8) -> Token {
    let owner = if number == 1 { Some("night shift") } else { None };
    Token::new(&Identity::new("host", 7), owner, &Seed::from_bytes([number; 32]))
}

/// What must have been met, or the calls prove nothing.
#[derive(Debug, Default)]
struct Sightings {
    granted: bool,
    refused: bool,
    told_one: bool,
    told_many: bool,
    wrong_type: bool,
}

impl Sightings {
    fn add(&mut self, seen: &Seen) {
        match &seen.answer {
            Ok(words) => {
                self.granted |= matches!(words[..], [Answer::Number(1), Answer::Number(2..), _]);
                self.refused |= words.first() == Some(&Answer::Number(-1));
            }
            Err(error) => self.wrong_type |= error.starts_with("WRONGTYPE"),
        }
        self.told_one |= seen.messages.len() == 1;
        self.told_many |= seen.messages.len() > 1;
    }

    fn all(&self) -> bool {
        self.granted && self.refused && self.told_one && self.told_many && self.wrong_type
    }
}

/// Makes the calls of one seed.
fn run(twin: &mut Twin, seed: u64, seen: &mut Sightings) {
    twin.flush();
    let cast = Cast::new();
    let mut entropy = Entropy::from_seed(seed, RUN * BYTES);
    let mut steps = Vec::new();
    while let Some(step) = cast.step(&mut entropy) {
        steps.push(step);
        match twin.run(steps.last().expect("one was pushed")) {
            Ok(outcome) => seen.add(&outcome),
            Err(difference) => {
                let steps: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
                panic!("seed {seed} fails after\n{}\n{difference}", steps.join("\n"));
            }
        }
    }
}

/// Who takes part.
struct Cast {
    locks: Vec<Keys>,
    semaphores: Vec<Keys>,
    /// Locks of which this is one of several servers.
    votes: Vec<Keys>,
    tokens: Vec<Token>,
}

impl Cast {
    fn new() -> Self {
        Self {
            locks: ["a", "{b}:1"].map(keys).into(),
            semaphores: ["s", "t"].map(keys).into(),
            votes: ["v", "w"].map(keys).into(),
            tokens: (0..6).map(token).collect(),
        }
    }

    fn step(&self, entropy: &mut Entropy) -> Option<Step> {
        let roll = entropy.choose(256)?;
        let kind = entropy.pick(4);
        let counted = kind == 0;
        let of_its_kind = match kind {
            0 => &self.semaphores,
            1 => &self.votes,
            _ => &self.locks,
        };
        let others = if counted { &self.locks } else { &self.semaphores };
        let mixed = entropy.happens(4);
        let keys = choose(entropy, if mixed { others } else { of_its_kind });
        Some(match roll {
            0..200 if kind == 1 => self.vote(keys, entropy),
            0..200 => self.ask(keys, counted, entropy),
            200..235 => Step::Age(*choose(entropy, &PAUSES_MS)),
            235..239 => Step::Call(side(counted, entropy).info(keys)),
            239..249 => self.stranger(keys, counted, entropy),
            249..254 => Step::Delete(any_key(keys, entropy)),
            _ => match entropy.pick(4) {
                0 => Step::spoil_with_hash(&any_key(keys, entropy)),
                1 => Step::spoil_with_text(keys.lock(), "a stranger for ever"),
                _ => Step::spoil_with_text(keys.fence(), "nonsense"),
            },
        })
    }

    fn ask(&self, keys: &Keys, counted: bool, entropy: &mut Entropy) -> Step {
        let token = choose(entropy, &self.tokens);
        let ttl = Duration::from_millis(*choose(entropy, &TTLS_MS));
        let side = side(counted, entropy);
        let verb = match entropy.pick(16) {
            0 if !counted => Verb::Take { ttl, fencing: entropy.pick(4) > 0 },
            1 if !counted => Verb::Mint,
            0..9 => {
                let stamp = entropy.pick(4) as u64;
                Verb::Enter { side, ttl, wait: entropy.pick(4) > 0, stamp }
            }
            9..11 => Verb::Extend { side, ttl },
            11 if !counted => Verb::GiveBack,
            _ => {
                let refuse_for = (entropy.pick(4) == 0).then_some(ttl);
                Verb::Leave { side, refuse_for }
            }
        };
        let draw = if entropy.pick(3) == 0 { Draw::Mint } else { Draw::Increment };
        let inbox = format!("dlock:inbox:{}", entropy.pick(3));
        Step::Ask { command: Command::new(0, keys, token, verb), inbox, draw }
    }

    fn vote(&self, keys: &Keys, entropy: &mut Entropy) -> Step {
        let token = choose(entropy, &self.tokens);
        let ttl = Duration::from_millis(*choose(entropy, &TTLS_MS));
        let side = side(false, entropy);
        let ballot = 1_700_000_000_000_000 + entropy.pick(100) as u64;
        let verb = match entropy.pick(16) {
            0..9 => {
                let came = 1_700_000_000_000_000 + entropy.pick(6) as u64;
                Verb::Vote { side, ballot, ttl, wait: entropy.pick(4) > 0, came }
            }
            9..11 => Verb::Keep { side, ballot, ttl },
            11..14 => Verb::StepBack { side, ballot, stay: entropy.pick(2) == 0 },
            _ => Verb::Quit { side, refuse_for: (entropy.pick(4) == 0).then_some(ttl) },
        };
        let inbox = format!("dlock:inbox:{}", entropy.pick(3));
        let command = Command::new(0, keys, token, verb);
        Step::Ask { command, inbox, draw: Draw::Increment }
    }

    fn stranger(&self, keys: &Keys, counted: bool, entropy: &mut Entropy) -> Step {
        let value = format!("web-1_4711_{}", entropy.pick(3));
        let ttl_ms = choose(entropy, &TTLS_MS).cast_signed();
        let key = keys.lock().to_owned();
        match entropy.pick(2) {
            _ if counted => {
                let limit = *choose(entropy, &LIMITS) as usize;
                Step::Permit { key, member: value, limit, ttl_ms }
            }
            0 => Step::Set { key, value, ttl_ms },
            _ => Step::CompareDelete { key, value },
        }
    }
}

fn side(counted: bool, entropy: &mut Entropy) -> Side {
    if counted {
        let limit = *choose(entropy, &LIMITS);
        return Side::Permits { count: 1 + entropy.pick(limit as usize) as u32, limit };
    }
    if entropy.pick(5) < 2 { Side::Exclusive } else { Side::Shared }
}

fn any_key(keys: &Keys, entropy: &mut Entropy) -> String {
    let all =
        [keys.lock(), keys.fence(), keys.waiting(), keys.writers(), keys.queue(), keys.readers()];
    (*choose(entropy, &all)).into()
}

fn choose<'a, T>(entropy: &mut Entropy, from: &'a [T]) -> &'a T {
    &from[entropy.pick(from.len())]
}
