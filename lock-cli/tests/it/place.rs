//! A directory of locks or a server of them, and programs that run on it.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use tempfile::TempDir;

/// What a command does that holds a lock until its input ends.
pub(crate) const HOLD: &str = "echo ready; read end; exit 0";

pub(crate) struct Place {
    directory: TempDir,
    /// Where the locks are, if not in the directory.
    url: Option<String>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::with_prefix("dlock").unwrap(), url: None }
    }

    /// A place whose locks are where `url` says.
    pub(crate) fn at(url: &str) -> Self {
        Self { url: Some(url.to_owned()), ..Self::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.path("locks")
    }

    /// `dlock` on the locks of this place.
    pub(crate) fn dlock<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        self.on_place(env!("CARGO_BIN_EXE_dlock"), args)
    }

    /// Any program, whose own calls of `dlock` are on the locks of this place.
    pub(crate) fn on_place<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program);
        let files = || format!("file://{}", self.locks().display());
        let url = self.url.clone().unwrap_or_else(files);
        command.args(args).env("DLOCK_URL", url).current_dir(self.directory.path());
        command.env("LC_ALL", "C.UTF-8").env("DLOCK", env!("CARGO_BIN_EXE_dlock"));
        command
    }

    /// What `dlock` with `args` answers, without any input.
    pub(crate) fn output<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.dlock(args).stdin(Stdio::null()).output().unwrap()
    }

    /// The exit code of `dlock` with `args`.
    pub(crate) fn code<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> i32 {
        code(&self.output(args))
    }

    /// A `dlock run` with `args` whose command holds the lock when this returns.
    pub(crate) fn hold(&self, args: &[&str]) -> Session {
        self.session(args, HOLD)
    }

    /// A `dlock run` with `args` whose command is `script`, which says when it is ready.
    pub(crate) fn session(&self, args: &[&str], script: &str) -> Session {
        let mut session = self.run(&[args, &["--", "sh", "-c", script]].concat());
        assert_eq!(session.line(), "ready");
        session
    }

    /// A `dlock run` with `args` that waits for its lock when this returns.
    pub(crate) fn wait(&self, args: &[&str]) -> Session {
        let mut session = self.run(&[&["--verbose"], args].concat());
        let said = session.error();
        assert!(said.starts_with("dlock: waiting for "), "{said:?}");
        session
    }

    /// Programs inherit which signals are ignored: under nohup none could be told to hang up.
    fn run(&self, args: &[&str]) -> Session {
        let dlock = ["--default-signal", env!("CARGO_BIN_EXE_dlock"), "run"];
        Session::start(self.on_place("env", [&dlock, args].concat()))
    }

    /// The only file of a lock that there is.
    pub(crate) fn lock_file(&self) -> PathBuf {
        let entries = std::fs::read_dir(self.locks()).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }
}

/// A program that runs, and is killed at the end of the test.
pub(crate) struct Session {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    errors: BufReader<std::process::ChildStderr>,
}

impl Session {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            errors: BufReader::new(child.stderr.take().unwrap()),
            child,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its output.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next line of its errors.
    pub(crate) fn error(&mut self) -> String {
        let mut line = String::new();
        self.errors.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Ends its input, and waits until it and all who have its output open are gone.
    pub(crate) fn end(mut self) -> End {
        drop(self.input.take());
        self.ended()
    }

    /// Waits until it and all who have its output open are gone.
    pub(crate) fn ended(mut self) -> End {
        let (mut output, mut errors) = (String::new(), String::new());
        self.output.read_to_string(&mut output).unwrap();
        self.errors.read_to_string(&mut errors).unwrap();
        let status = self.child.wait().unwrap();
        End { code: status.code(), output, errors }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a session left.
#[derive(Debug)]
pub(crate) struct End {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The one line that says what went wrong.
pub(crate) fn complaint(output: &Output) -> &str {
    let errors = text(&output.stderr);
    assert!(errors.starts_with("dlock: ") && errors.ends_with('\n'), "{errors:?}");
    assert_eq!(errors.lines().count(), 1, "{errors:?}");
    errors.trim_end()
}

/// Whether a program of util-linux is there; CI has to have them all.
pub(crate) fn available(program: &str) -> bool {
    let found = Path::new("/usr/bin").join(program).exists();
    assert!(found || std::env::var_os("CI").is_none(), "{program} is missing");
    if !found {
        // Past the harness, which keeps what tests print to itself.
        let _ = writeln!(std::io::stderr(), "skipped: {program} is missing");
    }
    found
}
