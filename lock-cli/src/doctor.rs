//! `dlock doctor`.

use lock_blocking::{PostgresLockProvider, RedisLockProvider, Severity};
use serde_json::{Value, json};

use crate::cli::DoctorArgs;
use crate::describe::plain;
use crate::exit::{DANGER, Failure};
use crate::output::print;
use crate::place::{self, Scheme};

/// What was found: how bad it is, and what it is.
type Finding = (Severity, String);

/// Says what is wrong with the servers.
pub(crate) fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    let findings = examine(place::url(&args.place)?.as_deref())?;
    if args.json {
        print(&format!("{}\n", findings.iter().map(in_json).collect::<Value>()))?;
    } else {
        print(&findings.iter().map(in_words).collect::<String>())?;
    }
    let danger = findings.iter().any(|(severity, _)| *severity == Severity::Danger);
    Ok(if danger { DANGER } else { 0 })
}

fn examine(url: Option<&str>) -> Result<Vec<Finding>, Failure> {
    let nothing = || {
        let problem = "there is nothing to examine: only servers can be, as in \
                       --url redis://host:6379";
        Failure::Usage(problem.to_owned())
    };
    let url = url.ok_or_else(nothing)?;
    match place::scheme(url) {
        Scheme::Postgres => {
            let findings = PostgresLockProvider::new(url)?.examine()?.into_iter();
            Ok(findings.map(|finding| (finding.severity(), finding.to_string())).collect())
        }
        Scheme::Memory | Scheme::Other if url.contains(':') => Err(nothing()),
        // What is no URL at all is refused in better words where it is read.
        Scheme::Redis | Scheme::Memory | Scheme::Other => {
            let findings = RedisLockProvider::new(url)?.examine()?.into_iter();
            Ok(findings.map(|finding| (finding.severity(), finding.to_string())).collect())
        }
    }
}

fn in_words((severity, message): &Finding) -> String {
    format!("{}: {}\n", called(*severity), plain(message))
}

fn in_json((severity, message): &Finding) -> Value {
    json!({ "severity": called(*severity), "message": message })
}

fn called(severity: Severity) -> &'static str {
    if severity == Severity::Danger { "danger" } else { "advice" }
}
