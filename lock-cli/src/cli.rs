//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{duration, exit};

/// Runs commands while holding a lock
///
/// A lock has a name, and at any moment one process has it. dlock runs a command while it holds a
/// lock, so that of all the commands under one name one runs at a time: the cron job that is
/// still busy when it is started again, the script that two people start at once.
///
/// The lock is let go when the command ends, however it ends. dlock passes on what the command
/// is given and what it says: its input, output, exit code and signals.
#[derive(Debug, Parser)]
#[command(
    name = "dlock",
    version,
    max_term_width = 90,
    after_help = "Every command has its own manual: dlock run --help",
    after_long_help = include_str!("help/dlock.txt")
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(RunArgs),
    Try(TryArgs),
    Info(InfoArgs),
    List(ListArgs),
    Doctor(DoctorArgs),
    #[command(hide = true)]
    Exec(ExecArgs),
}

/// Runs a command while holding a lock
///
/// Waits until the lock NAME is free, takes it, runs CMD with its ARGS, and lets go of the lock
/// when CMD has ended. The two dashes before CMD are needed.
///
/// Standard input, output and error of CMD are those of dlock. TERM, INT, HUP, QUIT, USR1 and USR2
/// are forwarded to CMD while it runs; an interrupt that was typed on the terminal is not, because
/// the terminal has sent it to CMD already. Signals that dlock was started to ignore, as by nohup,
/// are ignored by both. While dlock waits for the lock, TERM, INT, HUP and QUIT end the wait.
///
/// If the lock is lost while CMD runs (somebody deleted the lock file, say), CMD gets TERM, and
/// KILL if it has not ended after --kill-after. If dlock itself is killed, the lock is free at
/// once (on servers, when its lease has run out), and on Linux CMD is killed with it. All of this concerns CMD, not what it started: where
/// CMD is a shell script, let its last command be an exec.
#[derive(Debug, Args)]
#[command(
    override_usage = "dlock run [OPTIONS] NAME -- CMD [ARG]...\n       \
                      dlock run [OPTIONS] --file PATH -- CMD [ARG]...",
    after_long_help = include_str!("help/run.txt")
)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,

    /// Waits at most this long for the lock, as in 500ms, 5s or 1m30s; 0s only tries
    ///
    /// Without it, dlock waits for ever.
    #[arg(long, short, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,

    #[command(flatten)]
    pub(crate) conflict: ConflictArgs,

    /// The lease, as in 30s: how long the lock stays held when dlock and its machine are gone
    ///
    /// It is prolonged three times in that time as long as dlock runs; a lock whose server can't be
    /// reached for so long is lost. Locks on files need none. Without it, what the URL says, or
    /// 30s.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) ttl: Option<Duration>,

    /// Kills the command this long after it was asked to end because the lock was lost
    ///
    /// It is killed sooner if the lock's lease ends sooner, so that it is dead before somebody else
    /// has the lock. Locks on files have no lease but that of --ttl.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    pub(crate) kill_after: Duration,

    /// What to call the holder when others ask: one line of at most 255 bytes
    ///
    /// Without it, the name of the program that is run.
    #[arg(long, value_name = "TEXT")]
    pub(crate) owner: Option<String>,

    /// Doesn't say so when the lock was not free in time: the exit code tells
    #[arg(long, short, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Says on standard error for whom it waits and when it has the lock
    ///
    /// On a terminal, dlock says for whom it waits in any case.
    #[arg(long, short)]
    pub(crate) verbose: bool,

    /// Writes dlock's own messages as JSON, one object a line, to standard error
    #[arg(long)]
    pub(crate) json: bool,

    /// The command and its arguments, after two dashes
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// Tells whether a lock could be had right now
///
/// Takes the lock NAME and lets go of it at once, and says "free" if that worked, else who holds
/// it. By the time you read the answer it may be otherwise: to do something only if the lock is
/// free, use dlock run --timeout 0s.
#[derive(Debug, Args)]
#[command(after_long_help = include_str!("help/try.txt"))]
pub(crate) struct TryArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,
    #[command(flatten)]
    pub(crate) conflict: ConflictArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Tells who holds a lock
///
/// Says whether the lock NAME is held, by whom and since when, without disturbing anybody. Who
/// holds a lock for reading, or by flock(1), leaves no name. By the time you read the answer it
/// may be otherwise.
#[derive(Debug, Args)]
#[command(after_long_help = include_str!("help/info.txt"))]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Lists the locks that there are, held or not
///
/// A lock is listed from when it was first taken.
#[derive(Debug, Args)]
#[command(after_long_help = include_str!("help/list.txt"))]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Says what is wrong with the servers that locks stand on
///
/// Asks each server that the URL names how it is set up, and says what can cost a lock. On Redis: a
/// server that may delete locks to make room, or forget them when it restarts; one that is named
/// twice, too old, or a replica; a clock that runs too fast or too slow. On PostgreSQL: a pooler that
/// gives each transaction another session; a standby; time-outs of the role or the database; too few
/// connections, or too few locks. It takes about a second, and takes no lock. Run it when you set the
/// servers up, and in your monitoring.
#[derive(Debug, Args)]
#[command(after_long_help = include_str!("help/doctor.txt"))]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,

    /// Answers with an array of objects with the fields severity and message
    #[arg(long)]
    pub(crate) json: bool,
}

/// Becomes a command that is killed when its parent is; what dlock run starts on Linux
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// The process that is to be the parent
    #[arg(long)]
    pub(crate) parent: i32,
    /// Writes errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// Where the locks are.
#[derive(Clone, Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Where the locks are, as in file:///var/lock/app, postgres://host/db or redis://host:6379
    ///
    /// Without it, the value of DLOCK_URL, else the user's own directory; see FILES. Others on this
    /// machine can read a command line: a URL with a password belongs into DLOCK_URL.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<OsString>,
}

/// Which lock is meant.
#[derive(Clone, Debug, Args)]
pub(crate) struct WhichArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,

    /// Locks exactly this file, instead of a lock with a name
    ///
    /// It is made if need be, with its directory. flock(1) on the same file excludes dlock, and is excluded by it.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["url", "name", "permits"])]
    pub(crate) file: Option<PathBuf>,

    /// Shares the lock with others who share it
    #[arg(long, short, conflicts_with = "permits")]
    pub(crate) shared: bool,

    /// Takes one of the N permits of the semaphore NAME: up to N may be out at a time
    ///
    /// All who use a semaphore have to agree on N. On files the semaphore NAME and the lock NAME
    /// have nothing to do with each other; on Redis a name is one or the other.
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) permits: Option<u32>,

    /// The lock's name: any text, which dlock turns into a file name; on Redis, its key
    #[arg(required_unless_present = "file", value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// What it means that the lock is not free.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConflictArgs {
    /// The exit code when the lock was not free in time
    #[arg(long, short = 'E', value_name = "N", default_value_t = exit::CONFLICT)]
    pub(crate) conflict_exit_code: u8,
}

/// How to answer.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct OutputArgs {
    /// How to answer: for people or for programs
    ///
    /// Without it, for people on a terminal and for programs elsewhere.
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// For whom to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Human,
    /// For programs
    Json,
}

impl Command {
    /// Whether messages on standard error are for programs.
    pub(crate) fn reports_in_json(&self) -> bool {
        match self {
            Self::Run(args) => args.json,
            Self::Exec(args) => args.json,
            Self::Try(_) | Self::Info(_) | Self::List(_) | Self::Doctor(_) => false,
        }
    }
}

impl OutputArgs {
    /// The format that was asked for.
    pub(crate) fn format(self) -> Option<Format> {
        if self.json { Some(Format::Json) } else { self.format }
    }
}
