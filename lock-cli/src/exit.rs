//! How the program ends when it isn't the command that says so.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use lock_blocking::LockError;

/// The doctor has found that locks are in danger.
pub(crate) const DANGER: u8 = 1;
/// The command line or the environment asks for what can't be (`EX_USAGE`).
pub(crate) const USAGE: u8 = 64;
/// The locks can't be reached (`EX_UNAVAILABLE`).
pub(crate) const UNAVAILABLE: u8 = 69;
/// The answer can't be written (`EX_IOERR`).
pub(crate) const OUTPUT: u8 = 74;
/// The lock was not free in time (`EX_TEMPFAIL`).
pub(crate) const CONFLICT: u8 = 75;
/// The lock was lost while the command ran. The first that sysexits.h leaves free.
pub(crate) const LOST: u8 = 79;
/// As shells say that a command can't be run, or can't be found.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
pub(crate) const NOT_FOUND: u8 = 127;
/// What a process that a signal ended counts from.
const SIGNALLED: i32 = 128;
const SIGPIPE: i32 = 13;

/// Why there is nothing else to do but to say so and end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line or the environment asks for what can't be.
    #[error("{0}")]
    Usage(String),
    /// The backend says no.
    #[error(transparent)]
    Lock(LockError),
    /// The command can't be started.
    #[error("can't run {}", program.display())]
    Spawn {
        /// The command.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The operating system refuses something that should always work.
    #[error("can't {what}")]
    System {
        /// What it refuses.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The answer can't be written.
    #[error("can't write the answer")]
    Output(#[source] io::Error),
}

impl Failure {
    /// The exit code that tells of it.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::Lock(
                LockError::InvalidName(_)
                | LockError::InvalidConfig { .. }
                | LockError::Unsupported(_),
            ) => USAGE,
            Self::Lock(_) | Self::System { .. } => UNAVAILABLE,
            Self::Spawn { source, .. } if source.kind() == io::ErrorKind::NotFound => NOT_FOUND,
            Self::Spawn { .. } => NOT_EXECUTABLE,
            Self::Output(source) if source.kind() == io::ErrorKind::BrokenPipe => {
                of_signal(SIGPIPE)
            }
            Self::Output(_) => OUTPUT,
        }
    }

    /// The message for people, with every cause once; none where the reader of our answers went
    /// away, as other programs are killed without a word then.
    pub(crate) fn message(&self) -> Option<String> {
        let silent =
            matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe);
        (!silent).then(|| chain(self))
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        Self::Lock(error)
    }
}

/// The exit code of a process that `signal` ended.
pub(crate) fn of_signal(signal: i32) -> u8 {
    u8::try_from(SIGNALLED + signal).unwrap_or(u8::MAX)
}

/// An error and its causes, each once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.ends_with(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    message
}
