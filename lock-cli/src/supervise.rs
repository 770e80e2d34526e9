//! The life of the command under its lock.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use lock_blocking::{LockHandle, LossReason};
use rustix::process::Signal;

use crate::child::Running;
use crate::exit::Failure;
use crate::reporter::Reporter;
use crate::run::Happening;

/// A command, and the lock under which it runs.
pub(crate) struct Supervision<'a> {
    pub(crate) command: Running,
    pub(crate) handle: &'a LockHandle,
    pub(crate) reporter: &'a Reporter,
    pub(crate) kill_after: Duration,
}

enum Phase {
    Running,
    /// The lock is lost, and the command was asked to end.
    Ending {
        kill_at: Instant,
    },
    Killed,
}

impl Supervision<'_> {
    /// Runs the command to its end; its exit code, or `None` if the lock was lost before.
    pub(crate) fn run(
        self,
        happenings: &Receiver<Happening>,
        sender: Sender<Happening>,
    ) -> Result<Option<u8>, Failure> {
        let margin = margin(self.kill_after, self.handle.remaining());
        self.tell_of_loss(sender)?;
        let mut phase = Phase::Running;
        loop {
            let happening = match self.next_deadline(&phase, margin) {
                Some(rest) => happenings.recv_timeout(rest),
                None => happenings.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match happening {
                Ok(Happening::Signal(signal)) => {
                    if let Some(signal) = signal.to_forward() {
                        self.command.signal(signal);
                    }
                }
                Ok(Happening::Lost(reason)) => self.lost(&reason, &mut phase, margin),
                Ok(Happening::Ended) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Happening::Answer(_)) => {}
                Err(RecvTimeoutError::Timeout) => self.due(&mut phase, margin),
            }
        }
        let code = self.command.end()?;
        Ok(matches!(phase, Phase::Running).then_some(code))
    }

    fn tell_of_loss(&self, sender: Sender<Happening>) -> Result<(), Failure> {
        let token = self.handle.lost_token();
        let tell = move || {
            if let Some(reason) = token.changed(None) {
                // Nobody listens any more when the program ends.
                let _ = sender.send(Happening::Lost(reason));
            }
        };
        let started = thread::Builder::new().name("loss".to_owned()).spawn(tell);
        started.map(drop).map_err(|source| {
            self.command.signal(Signal::KILL);
            Failure::System { what: "start a thread", source }
        })
    }

    /// How long until something is to be done.
    fn next_deadline(&self, phase: &Phase, margin: Option<Duration>) -> Option<Duration> {
        match phase {
            Phase::Running => Some(self.handle.remaining()?.saturating_sub(margin?)),
            Phase::Ending { kill_at } => Some(kill_at.saturating_duration_since(Instant::now())),
            Phase::Killed => None,
        }
    }

    fn due(&self, phase: &mut Phase, margin: Option<Duration>) {
        match phase {
            Phase::Running => {
                // It may have been prolonged since the deadline was set.
                let rest = self.handle.remaining();
                if rest.zip(margin).is_some_and(|(rest, margin)| rest <= margin) {
                    self.lost(&LossReason::Expired, phase, margin);
                }
            }
            Phase::Ending { .. } => {
                self.reporter.killing(self.command.pid());
                self.command.signal(Signal::KILL);
                *phase = Phase::Killed;
            }
            Phase::Killed => {}
        }
    }

    fn lost(&self, reason: &LossReason, phase: &mut Phase, margin: Option<Duration>) {
        if let Phase::Running = phase {
            self.reporter.lost(reason, Some(self.command.pid()));
            self.command.signal(Signal::TERM);
            // One that is stopped would hear of it only when it goes on.
            self.command.signal(Signal::CONT);
            // One that was taken away has no lease to be in time for.
            let ends = matches!(reason, LossReason::Expired);
            let lease = margin.filter(|_| ends).and_then(|_| self.handle.remaining());
            let grace = lease.map_or(self.kill_after, |rest| rest.min(self.kill_after));
            // A time that no clock reaches is as good as none.
            let kill_at = Instant::now().checked_add(grace);
            *phase = kill_at.map_or(Phase::Killed, |kill_at| Phase::Ending { kill_at });
        }
    }
}

/// How long before its lease ends a lock counts as lost, so that the command is dead when somebody
/// else has it. At most a third of the lease, which renewal keeps from ever being due; `None` for a
/// lock without a lease.
fn margin(kill_after: Duration, lease: Option<Duration>) -> Option<Duration> {
    lease.map(|lease| kill_after.min(lease / 3))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::margin;

    #[test]
    fn a_command_has_its_grace_before_the_lease_ends() {
        let seconds = Duration::from_secs;

        assert_eq!(margin(seconds(5), Some(seconds(30))), Some(seconds(5)));
        assert_eq!(margin(seconds(20), Some(seconds(30))), Some(seconds(10)));
        assert_eq!(margin(seconds(5), None), None);
    }
}
