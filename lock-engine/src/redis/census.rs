//! Whether servers that vote are as many as they seem.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::{Pipeline, Value};

/// Which server answers at which of a provider's addresses; every clone is the same.
///
/// Two addresses may lead to one server, by way of a proxy or of two names. It would vote twice, and
/// its failure would take two votes at once.
#[derive(Clone, Debug, Default)]
pub struct Census {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// What each server called itself last.
    names: Vec<Option<String>>,
    met_twice: bool,
}

impl Census {
    /// Nobody has answered yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks a server who it is.
    #[must_use]
    pub fn question() -> Pipeline {
        let mut question = Pipeline::with_capacity(1);
        question.cmd("INFO").arg("server");
        question
    }

    /// Takes the answer of the server at the address `place`; false if it has another address. A
    /// server that does not tell who it is counts as itself.
    #[must_use]
    pub fn admit(&self, place: usize, replies: &[Value]) -> bool {
        let Some(name) = replies.first().and_then(run_id) else { return true };
        let mut state = self.state();
        if state.names.len() <= place {
            state.names.resize(place + 1, None);
        }
        // The address may lead elsewhere than before.
        state.names[place] = None;
        if state.names.iter().flatten().any(|other| *other == name) {
            state.met_twice = true;
            return false;
        }
        state.names[place] = Some(name);
        true
    }

    /// Whether a server was ever met at two addresses.
    #[must_use]
    pub fn met_twice(&self) -> bool {
        self.state().met_twice
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a server calls itself from its start to its end.
fn run_id(info: &Value) -> Option<String> {
    let text: String = redis::from_redis_value_ref(info).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("run_id:"))?.trim();
    Some(id.to_owned()).filter(|id| !id.is_empty())
}
