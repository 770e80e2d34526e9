//! The lives of the locks of one run, from what happened in it.

use std::collections::BTreeMap;
use std::time::Duration;

use lock_proto::redis::Side;
use lock_proto::{Event, Instant, LockError, LockId};

use crate::trace::{Happening, Moment};

/// The number of a moment: many things can happen at one time.
pub(super) type Place = usize;

/// One acquisition.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) client: usize,
    pub(super) name: &'static str,
    pub(super) side: Side,
    pub(super) asked: Place,
    pub(super) acquired: Option<Place>,
    pub(super) fence: Option<u64>,
    /// Until when its lease lets it believe that it holds.
    pub(super) valid_until: Option<Duration>,
    pub(super) extended: Vec<Place>,
    /// When it held no longer, or waited no longer.
    pub(super) ended: Option<Place>,
    /// Whether it had no say in that.
    pub(super) broken: bool,
    pub(super) ending: String,
    pub(super) closed: Option<Place>,
}

/// Every life, by client and then as they began; and what went wrong, with its place.
pub(super) fn lives(moments: &[Moment]) -> (Vec<Life>, Vec<(Place, String)>) {
    let (mut lives, mut faults) = (Vec::new(), Vec::new());
    let mut current: BTreeMap<(usize, LockId), usize> = BTreeMap::new();
    for (at, Moment { happening, .. }) in moments.iter().enumerate() {
        match happening {
            Happening::Asked { client, lock, name, side } => {
                current.insert((*client, *lock), lives.len());
                lives.push(Life::new(*client, name, *side, at));
            }
            Happening::Told { client, lock, event, .. } => {
                if let Some(life) = current.get(&(*client, *lock)) {
                    lives[*life].hear(at, event);
                }
            }
            Happening::LetGo { client, lock } => {
                if let Some(life) = current.get(&(*client, *lock)) {
                    let held = lives[*life].acquired.is_some();
                    lives[*life].end(at, if held { "released" } else { "cancelled" });
                }
            }
            Happening::Crashed { client } => {
                faults.push((at, format!("client {client} crashes")));
                for life in lives.iter_mut().filter(|life| life.client == *client) {
                    if life.closed.is_none() {
                        life.broken |= life.ended.is_none();
                        life.end(at, "crashed");
                        life.closed = Some(at);
                    }
                }
            }
            Happening::Fault(what) => faults.push((at, what.clone())),
        }
    }
    lives.sort_by_key(|life| life.client);
    (lives, faults)
}

impl Life {
    fn new(client: usize, name: &'static str, side: Side, asked: Place) -> Self {
        Self {
            client,
            name,
            side,
            asked,
            acquired: None,
            fence: None,
            valid_until: None,
            extended: Vec::new(),
            ended: None,
            broken: false,
            ending: String::new(),
            closed: None,
        }
    }

    fn hear(&mut self, at: Place, event: &Event) {
        let elapsed = |instant: &Instant| instant.since(Instant::ZERO);
        match event {
            Event::Acquired { valid_until, fence } => {
                self.acquired = Some(at);
                self.fence = *fence;
                self.valid_until = valid_until.as_ref().map(elapsed);
            }
            Event::Extended { valid_until } => {
                self.extended.push(at);
                self.valid_until = valid_until.as_ref().map(elapsed);
            }
            Event::Lost(reason) => {
                self.broken |= self.ended.is_none();
                self.end(at, &format!("lost: {reason}"));
            }
            Event::Failed(error) => {
                let no_answer = matches!(error, LockError::Connection(_));
                let failed = if no_answer { "failed: no connection" } else { "failed" };
                self.end(at, if error.is_timeout() { "timed out" } else { failed });
            }
            Event::Closed { .. } => self.closed = Some(at),
            Event::Warned { .. } | Event::Released | _ => {}
        }
    }

    fn end(&mut self, at: Place, how: &str) {
        if self.ended.is_none() {
            self.ended = Some(at);
            self.ending = how.into();
        }
    }
}
