//! What waits for one server.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use lock_engine::Clock;
use lock_engine::redis::Parcel;
use lock_proto::Fault;
use redis::RedisResult;

use super::line::Line;

/// More parcels than this are not taken at once.
const BATCH: usize = 1024;
/// A parcel that listens does not wait longer than this for the subscription: without messages a
/// waiter is let in when it asks again.
const LISTENING_WITHIN: Duration = Duration::from_millis(500);

/// What waits for one server, and how the server stands.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) closed: bool,
    pub(super) standing: Standing,
    /// Who wants to know what came of the first attempt to connect.
    pub(super) report: Option<Report>,
}

/// How a server stands.
#[derive(Default)]
pub(super) enum Standing {
    #[default]
    Down,
    /// A thread connects.
    Dialling,
    /// It has: this came of it.
    Dialled(RedisResult<Line>),
    Up,
}

/// Tells of the first attempt to connect to the server of that number.
pub(super) struct Report {
    pub(super) server: usize,
    pub(super) to: Sender<(usize, Result<(), Fault>)>,
}

/// A parcel that waits.
pub(super) struct Waiting {
    pub(super) parcel: Parcel,
    since: Instant,
    /// How often a server sent it to another.
    pub(super) hops: u32,
}

impl Queue {
    /// Takes parcels that can't be sent any more.
    pub(super) fn take_overdue(&mut self) -> Vec<Waiting> {
        let now = Clock::System.now();
        self.take(|waiting| waiting.parcel.not_after() < now)
    }

    /// Takes parcels to send.
    pub(super) fn take_batch(&mut self, hears: bool) -> Vec<Waiting> {
        let now = Clock::System.now();
        self.take(|waiting| waiting.parcel.not_after() >= now && waiting.is_ready(hears))
    }

    /// Takes what came of connecting, once.
    pub(super) fn take_dialled(&mut self) -> Option<RedisResult<Line>> {
        match std::mem::take(&mut self.standing) {
            Standing::Dialled(outcome) => Some(outcome),
            other @ (Standing::Down | Standing::Dialling | Standing::Up) => {
                self.standing = other;
                None
            }
        }
    }

    /// Whether there is anything to send.
    pub(super) fn is_ready(&self, hears: bool) -> bool {
        self.waiting.iter().any(|waiting| waiting.is_ready(hears))
    }

    /// How long until a parcel is overdue or has waited for the subscription long enough.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let now = Clock::System.now();
        let deadlines = self.waiting.iter().map(|waiting| {
            // Past the last moment, not at it.
            let rest = waiting.parcel.not_after().since(now) + Duration::from_millis(1);
            waiting.listening_for().map_or(rest, |left| rest.min(left))
        });
        deadlines.min()
    }

    /// Takes the first of those that are meant, in their order.
    fn take(&mut self, meant: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let mut taken = Vec::new();
        let mut rest = VecDeque::new();
        for waiting in self.waiting.drain(..) {
            if taken.len() < BATCH && meant(&waiting) {
                taken.push(waiting);
            } else {
                rest.push_back(waiting);
            }
        }
        self.waiting = rest;
        taken
    }
}

impl Waiting {
    pub(super) fn new(parcel: Parcel, hops: u32) -> Self {
        Self { parcel, since: Instant::now(), hops }
    }

    fn is_ready(&self, hears: bool) -> bool {
        hears || self.listening_for().is_none()
    }

    /// For how long it waits for the subscription still.
    fn listening_for(&self) -> Option<Duration> {
        let waits = self.parcel.listens();
        waits.then(|| LISTENING_WITHIN.checked_sub(self.since.elapsed())).flatten()
    }
}
