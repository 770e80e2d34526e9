//! What marks a lock as ours.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::borrow::Borrow;
use core::fmt;

use crate::Seed;
use crate::file::Identity;
use crate::info::Holder;

/// The value of a held lock: `<host>_<pid>_<32 hexadecimal digits>`, as DistributedLock.Redis for
/// .NET has it; before the host may stand the owner and an `@`.
///
/// Each acquisition has its own, so nobody can give back what another has taken.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(Arc<str>);

impl Token {
    /// A token that nobody else has.
    #[must_use]
    pub fn new(identity: &Identity, owner: Option<&str>, seed: &Seed) -> Self {
        let mut digits = seed.jitter();
        let (high, low) = (digits.next_u64(), digits.next_u64());
        let (host, pid) = (&identity.host, identity.pid);
        let token = match owner {
            Some(owner) => format!("{owner}@{host}_{pid}_{high:016x}{low:016x}"),
            None => format!("{host}_{pid}_{high:016x}{low:016x}"),
        };
        Self(token.into())
    }

    /// The token as it stands on the server.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a token of this library or its .NET sibling says of a holder; of any other, nothing.
    #[must_use]
    pub fn holder(token: &str) -> Holder {
        parse(token).unwrap_or_default()
    }
}

fn parse(token: &str) -> Option<Holder> {
    let (rest, digits) = token.rsplit_once('_')?;
    // The further permits of one taker have a number behind their token.
    let digits = digits.split_once(':').map_or(digits, |(digits, _)| digits);
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let (name, pid) = rest.rsplit_once('_')?;
    let (owner, host) = match name.rsplit_once('@') {
        Some((owner, host)) => (Some(owner), host),
        None => (None, name),
    };
    Some(Holder {
        owner: owner.map(String::from),
        host: Some(host.into()),
        pid: Some(pid.parse().ok()?),
        ..Holder::default()
    })
}

impl Borrow<str> for Token {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever knows a token can give the lock back.
        f.write_str("Token(..)")
    }
}
