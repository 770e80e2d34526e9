//! What waits for one server.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use lock_engine::Clock;
use lock_engine::redis::Parcel;
use lock_proto::{Fault, Instant as Moment};
use redis::RedisResult;

use super::line::Line;
use crate::wait::Bench;

/// More parcels than this are not written in one piece: the first of them would wait for the last,
/// and the server would rest while they are gathered.
const MOST_ABOARD: usize = 32;
/// A parcel that listens does not wait longer than this for the subscription: without messages a
/// waiter is let in when it asks again.
const LISTENING_WITHIN: Duration = Duration::from_millis(500);

/// What waits for one server, and how the server stands.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) closed: bool,
    pub(super) standing: Standing,
    /// Whether the thread waits to be told of what comes.
    pub(super) sleeping: bool,
    /// Where those may wait who sent the last parcels, and how many these are.
    bench: Arc<Bench>,
    seated: usize,
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

/// What is written in one piece.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) aboard: Vec<Waiting>,
    /// What came too late for it.
    pub(super) overdue: Vec<Waiting>,
}

impl Queue {
    /// Nothing waits yet; `report` is for who wants to know of the first attempt to connect.
    pub(super) fn new(report: Option<Report>) -> Self {
        Self { report, ..Self::default() }
    }

    /// Adds a parcel, and says where its sender may wait: where those do whose parcels are written
    /// with it.
    pub(super) fn add(&mut self, waiting: Waiting) -> Arc<Bench> {
        self.waiting.push_back(waiting);
        if self.seated == MOST_ABOARD {
            (self.bench, self.seated) = (Arc::default(), 0);
        }
        self.seated += 1;
        Arc::clone(&self.bench)
    }

    /// Takes parcels that can't be sent any more.
    pub(super) fn take_overdue(&mut self) -> VecDeque<Waiting> {
        let now = Clock::System.now();
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let (overdue, rest) = waiting.partition(|waiting| waiting.is_overdue(now));
        self.waiting = rest;
        overdue
    }

    /// Takes the next parcels to write in one piece. While others are unanswered the server has
    /// something to do, and a piece is to be full.
    pub(super) fn take_piece(&mut self, unanswered: bool, hears: bool) -> Piece {
        let mut piece = Piece::default();
        if self.waiting.is_empty() || unanswered && self.waiting.len() < MOST_ABOARD {
            return piece;
        }
        let now = Clock::System.now();
        let mut passed_over = 0;
        while piece.aboard.len() < MOST_ABOARD
            && let Some(waiting) = self.waiting.get(passed_over)
        {
            let overdue = waiting.is_overdue(now);
            if !overdue && !waiting.is_ready(hears) {
                passed_over += 1;
                continue;
            }
            let list = if overdue { &mut piece.overdue } else { &mut piece.aboard };
            list.extend(self.waiting.remove(passed_over));
        }
        if self.waiting.is_empty() {
            (self.bench, self.seated) = (Arc::default(), 0);
        }
        piece
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
}

impl Waiting {
    pub(super) fn new(parcel: Parcel, hops: u32) -> Self {
        Self { parcel, since: Instant::now(), hops }
    }

    /// Whether it need not wait for the subscription.
    pub(super) fn is_ready(&self, hears: bool) -> bool {
        hears || self.listening_for().is_none()
    }

    pub(super) fn is_overdue(&self, now: Moment) -> bool {
        self.parcel.not_after() < now
    }

    /// For how long it waits for the subscription still.
    fn listening_for(&self) -> Option<Duration> {
        let waits = self.parcel.listens();
        waits.then(|| LISTENING_WITHIN.checked_sub(self.since.elapsed())).flatten()
    }
}
