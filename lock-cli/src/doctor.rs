//! `dlock doctor`.

use lock_blocking::{Finding, RedisLockProvider, Severity};
use serde_json::{Value, json};

use crate::cli::DoctorArgs;
use crate::describe::plain;
use crate::exit::{DANGER, Failure};
use crate::output::print;
use crate::place::{self, Scheme};

/// Says what is wrong with the servers.
pub(crate) fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    let url = place::url(&args.place)?;
    let servers = url.filter(|url| {
        // What is no URL at all is refused in better words where it is read.
        place::scheme(url) == Scheme::Redis || !url.contains(':')
    });
    let Some(url) = servers else {
        let problem = "there is nothing to examine: only servers can be, as in \
                       --url redis://host:6379";
        return Err(Failure::Usage(problem.to_owned()));
    };
    let findings = RedisLockProvider::new(&url)?.examine()?;
    if args.json {
        print(&format!("{}\n", findings.iter().map(in_json).collect::<Value>()))?;
    } else {
        print(&findings.iter().map(in_words).collect::<String>())?;
    }
    let danger = findings.iter().any(|finding| finding.severity() == Severity::Danger);
    Ok(if danger { DANGER } else { 0 })
}

fn in_words(finding: &Finding) -> String {
    format!("{}: {}\n", severity(finding), plain(&finding.to_string()))
}

fn in_json(finding: &Finding) -> Value {
    json!({ "severity": severity(finding), "message": finding.to_string() })
}

fn severity(finding: &Finding) -> &'static str {
    if finding.severity() == Severity::Danger { "danger" } else { "advice" }
}
