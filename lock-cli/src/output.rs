//! Answers on standard output.

use std::io::{self, IsTerminal as _, Write as _};

use crate::cli::{Format, OutputArgs};
use crate::exit::Failure;
use crate::reporter;

/// Writes what `human` or `json` gives, whichever is asked for.
pub(crate) fn answer(
    output: OutputArgs,
    human: impl FnOnce() -> String,
    json: impl FnOnce() -> serde_json::Value,
) -> Result<(), Failure> {
    let fallback = || if io::stdout().is_terminal() { Format::Human } else { Format::Json };
    let text = match output.format().unwrap_or_else(fallback) {
        Format::Human => human(),
        Format::Json => format!("{}\n", json()),
    };
    print(&text)
}

/// Writes an answer.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Output)
}

/// Shows the help that was asked for, or says in one line what is wrong with the command line.
pub(crate) fn explain(error: &clap::Error) -> u8 {
    let text = error.render().to_string();
    let failure = if error.use_stderr() {
        let summary = text.split("\n\n").next().unwrap_or_default();
        let summary = summary.strip_prefix("error: ").unwrap_or(summary);
        let words: Vec<_> = summary.split_whitespace().map(without_password).collect();
        Failure::Usage(format!("{} (see dlock --help)", words.join(" ")))
    } else {
        match print(&text) {
            Ok(()) => return 0,
            Err(failure) => failure,
        }
    };
    reporter::fail(&failure, false);
    failure.exit_code()
}

/// A word without what stands before the host of a URL: one in the wrong place is repeated by
/// whoever complains about it.
fn without_password(word: &str) -> String {
    let parts = word.split_once("://").and_then(|(scheme, rest)| {
        let (_, host) = rest.rsplit_once('@')?;
        Some(format!("{scheme}://***@{host}"))
    });
    parts.unwrap_or_else(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_url_in_the_wrong_place_gives_its_password_to_nobody() {
        assert_eq!(without_password("'redis://u:p@ss/w@host'"), "'redis://***@host'");
        assert_eq!(without_password("a@b"), "a@b");
        assert_eq!(without_password("redis://host"), "redis://host");
    }
}
