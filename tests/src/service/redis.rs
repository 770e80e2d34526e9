//! What a Redis server may answer.

use lock_proto::redis::{Command, Message, Reply, ServerLock, Verb};
use lock_proto::{Fault, FaultKind, Instant};

use crate::check::Checkable;

/// A fence that a counter in microseconds may have reached.
const FENCE: i64 = 1_700_000_000_000_000;

/// What may be ours on the server.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    /// A lock, or a place in the queue.
    left: bool,
    /// A request that was lost may still arrive.
    on_the_way: bool,
    /// The server refuses our token: what it answered otherwise, it did before.
    refused: bool,
}

impl Checkable for ServerLock {
    type Remains = Traces;

    fn replies(command: &Command, _now: Instant) -> Vec<Reply> {
        let nonsense = [7, 7, 7];
        match command.verb {
            Verb::Take { .. } => vec![[1, FENCE, 0], [0, 0, 0], [1, 3, 0], nonsense],
            Verb::Enter { .. } => {
                vec![[1, FENCE, 0], [0, 900, 0], [0, 30_000, 1], [-1, 0, 0], nonsense]
            }
            Verb::Mint => vec![[FENCE, 0, 0], [0, 0, 0]],
            Verb::GiveBack => vec![[1, 0, 0], [0, 0, 0], [2, 0, 0], nonsense],
            Verb::Extend { .. } | Verb::Leave { .. } => vec![[1, 0, 0], [0, 0, 0], nonsense],
            Verb::Vote { .. } | Verb::Keep { .. } | Verb::StepBack { .. } | Verb::Quit { .. } => {
                unreachable!("one server is never asked to vote")
            }
        }
    }

    fn messages() -> Vec<Message> {
        [1, 2, 5].map(|stamp| Message { fence: 9, stamp }).into()
    }

    fn takes(command: &Command) -> bool {
        !Self::is_cancel(command)
    }

    fn is_cancel(command: &Command) -> bool {
        matches!(command.verb, Verb::GiveBack | Verb::Leave { .. })
    }

    fn answered(traces: &mut Traces, command: &Command, reply: &Result<Reply, Fault>) {
        let known = !matches!(reply, Err(fault) if fault.kind() == FaultKind::Unknown);
        if traces.refused && known && matches!(command.verb, Verb::Enter { .. }) {
            return;
        }
        let queues = matches!(command.verb, Verb::Enter { wait: true, .. });
        match (&command.verb, reply) {
            (Verb::Take { .. } | Verb::Enter { .. }, Ok([0, ..])) => traces.left |= queues,
            (Verb::Take { .. } | Verb::Enter { .. }, Ok(_)) => traces.left = true,
            (Verb::Take { .. } | Verb::Enter { .. }, Err(fault)) => match fault.kind() {
                FaultKind::NotSent => {}
                FaultKind::Refused => {
                    traces.left |= matches!(command.verb, Verb::Enter { .. });
                }
                FaultKind::Unknown | _ => traces.on_the_way = true,
            },
            (Verb::GiveBack, Ok([2, ..])) => {}
            (Verb::GiveBack, Ok(_)) => traces.left = false,
            (Verb::Leave { refuse_for, .. }, Ok(_)) => {
                traces.left = false;
                traces.refused |= refuse_for.is_some();
            }
            (_, _) => {}
        }
    }

    fn nothing_left(traces: &Traces) -> bool {
        !traces.left && !traces.on_the_way
    }
}
