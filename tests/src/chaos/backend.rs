//! Whose locks are tried.

use std::fmt;
use std::str::FromStr;

/// Whose locks are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever wants chaos chooses among them")]
pub enum Backend {
    /// One Redis server.
    Redis,
    /// Three Redis servers that vote.
    Redlock,
    /// A Redis Cluster of three masters with a replica each.
    Cluster,
    /// A PostgreSQL server.
    Postgres,
    /// Files.
    File,
    /// Memory, of which each process has its own: locks that exclude nobody, for the judge to find
    /// out.
    Broken,
}

impl Backend {
    /// All whose locks work.
    pub const ALL: [Self; 5] =
        [Self::Redis, Self::Redlock, Self::Cluster, Self::Postgres, Self::File];

    /// Whether a lock ends when nobody prolongs it, and not with its process.
    pub(super) fn has_leases(self) -> bool {
        matches!(self, Self::Redis | Self::Redlock | Self::Cluster)
    }

    /// Whether a server that forgets may give a fencing token out twice.
    pub(super) fn may_repeat_fences(self) -> bool {
        self == Self::Redlock
    }

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Redlock => "redlock",
            Self::Cluster => "cluster",
            Self::Postgres => "postgres",
            Self::File => "file",
            Self::Broken => "broken",
        }
    }
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().chain([Self::Broken]);
        let names: Vec<&str> = known.clone().map(Self::name).collect();
        let found = known.into_iter().find(|backend| backend.name() == name);
        found.ok_or_else(|| format!("no backend is called {name:?}: {}", names.join(", ")))
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
