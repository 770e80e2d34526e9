//! How a client finds the node of a cluster that has its lock, and what it makes of refusals.

use lock_proto::Fault;
use lock_proto::redis::{Command, Reply, Verb};

use super::World;
use super::client::Flight;
use super::nodes::{Detour, MASTERS};
use super::rules::{Habit, Rule};
use crate::redis_model::STRAYED;

/// More often a request is not sent on.
const MOST_HOPS: u32 = 5;

/// What a node says to one command.
pub(super) type Said = Result<Reply, Refusal>;

/// Why a node does not answer a command.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    Detour(Detour),
    Error(String),
}

/// Which of the two drivers a client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    /// That of the async adapters. One command that is sent elsewhere stands for all that were
    /// written with it, and what was done of them is not known.
    Whole,
    /// That of the adapter for threads, which looks at each answer.
    Each,
}

/// The way of a request through a cluster.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Way {
    pub(super) node: usize,
    hops: u32,
}

impl World<'_> {
    /// The way that a client's requests go.
    pub(super) fn way(&self, client: usize) -> Way {
        Way { node: self.clients[client].map, hops: 0 }
    }

    /// A node is asked; the answer, unless the request is sent on to another.
    pub(super) fn ask_node(&mut self, flight: &Flight) -> Option<Result<Reply, Fault>> {
        let said = self.visit(flight);
        self.note_refusals(&flight.command, &said);
        let driver = self.clients[flight.client].driver;
        let refused = match driver {
            Driver::Whole => said.iter().find_map(|said| said.as_ref().err()?.detour()),
            Driver::Each => said[0].as_ref().err().and_then(Refusal::detour),
        };
        let Some(detour) = refused else { return Some(self.answer(flight, said)) };
        self.look_for_the_slot(flight.client, detour, driver);
        if let Detour::Moved(_) = detour
            && flight.way.hops < MOST_HOPS
            && !self.has_habit(Habit::LossOnMoved)
        {
            let way = Way { hops: flight.way.hops + 1, ..self.way(flight.client) };
            self.clients[flight.client].sent.push_back(Flight { way, ..flight.clone() });
            return None;
        }
        Some(self.refused(&flight.command, detour, driver))
    }

    /// A request comes to a node, command by command.
    pub(super) fn visit(&mut self, flight: &Flight) -> Vec<Said> {
        let mut said = Vec::new();
        for command in steps(&flight.command) {
            if !said.is_empty() && self.entropy.happens(64) {
                self.reshard();
            }
            said.push(self.visit_with(&Flight { command, ..flight.clone() }));
        }
        said
    }

    fn visit_with(&mut self, step: &Flight) -> Said {
        let node = step.way.node;
        let call = step.command.script("");
        let keys: Vec<&str> = match &call {
            Some(call) => call.keys.iter().map(String::as_str).collect(),
            None => vec![step.command.keys.lock()],
        };
        self.nodes.check_way(node, &keys, self.now).map_err(Refusal::Detour)?;
        let open = self.nodes.is_open(node);
        self.nodes.store(node).set_migrating(open);
        let reply = self.execute(step);
        self.nodes.store(node).set_migrating(false);
        reply.map_err(Refusal::Error)
    }

    /// What the driver makes of what a node did.
    fn answer(&self, flight: &Flight, mut said: Vec<Said>) -> Result<Reply, Fault> {
        let second = said.get(1).map(|said| said.as_ref().map_or(0, |reply| reply[0]));
        let first = match said.swap_remove(0) {
            Ok(reply) => reply,
            Err(Refusal::Error(text)) if text == STRAYED => return Err(Fault::unknown(text)),
            Err(Refusal::Error(text)) => return Err(Fault::refused(text)),
            Err(Refusal::Detour(detour)) => unreachable!("{detour:?} was looked at"),
        };
        let Some(fence) = second else { return Ok(first) };
        // A script mints for the holder only: it was set by an earlier try.
        let whole = self.clients[flight.client].driver == Driver::Whole;
        let found = whole && fence > 0 && !self.has_habit(Habit::SilentRetries);
        let taken = first[0] == 1 || found;
        Ok(if taken { [1, fence, 0] } else { [0, 0, 0] })
    }

    /// What the driver makes of a refusal.
    fn refused(&self, command: &Command, detour: Detour, driver: Driver) -> Result<Reply, Fault> {
        let no = match detour {
            Detour::TryAgain => self.has_habit(Habit::NoOnTryAgain),
            Detour::Moved(_) => self.has_habit(Habit::LossOnMoved),
            Detour::Ask | Detour::Down | Detour::Refused => false,
        };
        if no {
            return Ok([0, 0, 0]);
        }
        let doubtful = driver == Driver::Whole
            && steps(command).len() > 1
            && !self.has_habit(Habit::UntoldSteps);
        let text = format!("{detour:?}");
        Err(if doubtful { Fault::unknown(text) } else { Fault::not_sent(text) })
    }

    /// A client that was sent elsewhere, or found nobody, asks any master who has the slot, or
    /// takes the word of the one that sent it.
    fn look_for_the_slot(&mut self, client: usize, detour: Detour, driver: Driver) {
        match detour {
            Detour::Moved(to) if driver == Driver::Each => self.clients[client].map = to,
            Detour::Moved(_) | Detour::Refused => {
                let asked = self.entropy.pick(MASTERS);
                self.clients[client].map = self.nodes.believed_by(asked);
            }
            Detour::Ask | Detour::TryAgain | Detour::Down => {}
        }
    }

    fn note_refusals(&mut self, command: &Command, said: &[Said]) {
        let try_again = match command.verb {
            Verb::Extend { .. } => "TRYAGAIN to a holder",
            Verb::GiveBack | Verb::Leave { .. } => "TRYAGAIN to whoever leaves",
            Verb::Take { .. } | Verb::Enter { .. } | Verb::Mint => "TRYAGAIN to whoever asks",
            Verb::Vote { .. } | Verb::Keep { .. } | Verb::StepBack { .. } | Verb::Quit { .. } => {
                unreachable!("one server decides")
            }
        };
        for said in said {
            match said {
                Ok(_) => {}
                Err(Refusal::Error(text)) if text == STRAYED => {
                    self.trace.saw("a script lost its keys half-way");
                }
                Err(Refusal::Error(_)) => {}
                Err(Refusal::Detour(detour)) => self.trace.saw(match detour {
                    Detour::TryAgain => try_again,
                    Detour::Ask => "ASK",
                    Detour::Moved(_) => "MOVED",
                    Detour::Down => "CLUSTERDOWN",
                    Detour::Refused => "a node that is gone was asked",
                }),
            }
        }
    }

    pub(super) fn has_habit(&self, habit: Habit) -> bool {
        self.breaks(Rule::Driver(habit))
    }
}

impl Refusal {
    fn detour(&self) -> Option<Detour> {
        match self {
            Self::Detour(detour) => Some(*detour),
            Self::Error(_) => None,
        }
    }
}

/// What is written for a command: a fence is always minted by script, for a cluster's connections
/// come and go.
fn steps(command: &Command) -> Vec<Command> {
    let Verb::Take { ttl, fencing: true } = command.verb else { return vec![command.clone()] };
    let step = |verb| Command::new(command.server, &command.keys, &command.token, verb);
    vec![step(Verb::Take { ttl, fencing: false }), step(Verb::Mint)]
}
