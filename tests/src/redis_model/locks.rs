//! What the scripts of mutexes and reader-writer locks say.

mod ballots;

use std::sync::Arc;

use lock_proto::redis::FENCES;

use super::keyspace::{Answered, Keyspace, Score};
use super::{Answer, Omission, Words};

/// What stands at the lock while readers hold it.
const SHARED: &str = "readers";
/// How long a queue that nobody refreshes is kept.
pub(super) const KEEP_MS: i64 = 60_000;

/// A lock, as a script sees it.
pub(super) struct Lock<'a> {
    keys: &'a mut Keyspace,
    lock: &'a str,
    fence: &'a str,
    waiting: &'a str,
    writers: &'a str,
    queue: &'a str,
    readers: &'a str,
}

/// Who has the lock.
#[derive(Clone, PartialEq, Eq)]
enum State {
    Free,
    /// Free this moment: its one holder is giving it back.
    Left,
    Shared,
    Held(Arc<str>),
}

/// A waiter that is alive, and first in its queue.
struct Waiter {
    token: Arc<str>,
    came: Score,
    stamp: String,
    claim: i64,
    inbox: String,
}

impl<'a> Lock<'a> {
    pub(super) fn new(keys: &'a mut Keyspace, names: &'a [String]) -> Self {
        let [lock, fence, waiting, writers, queue, readers, ..] = names else {
            panic!("a lock has six keys: {names:?}");
        };
        Self { keys, lock, fence, waiting, writers, queue, readers }
    }

    /// `acquire.lua`
    pub(super) fn acquire(&mut self, gone: &str, args: &[String]) -> Answered<Vec<Answer>> {
        let mut words = Words::new(args);
        let (token, shared) = (words.text(), words.text() == "s");
        let (ttl, wait, stamp) = (words.number(), words.text() == "1", words.text());
        let (claim, live, inbox) = (words.text(), words.number(), words.text());

        if self.keys.exists(gone)? && !self.keys.omits(Omission::Refusal) {
            return Ok(Answer::numbers([-1]));
        }
        let state = self.state()?;
        let ours = match &state {
            State::Held(holder) => **holder == *token,
            State::Shared => self.keys.zscore(self.readers, token)?.is_some(),
            State::Free | State::Left => false,
        };
        if ours {
            self.forget_own(token)?;
            self.claim_ttl(token, shared, ttl)?;
            return Ok(Answer::numbers([1, self.mint(shared)?]));
        }
        let line = if shared { self.queue } else { self.writers };
        self.enqueue(line, token, stamp, claim, live, inbox)?;
        if let Some(fence) = self.hand_over(&state, Some(token))? {
            self.claim_ttl(token, shared, ttl)?;
            return Ok(Answer::numbers([1, fence]));
        }
        let first = self.keys.zrank(line, token)?.unwrap_or(0) == 0;
        if !wait {
            self.forget(token)?;
        }
        if !first {
            return Ok(Answer::numbers([0]));
        }
        Ok(Answer::numbers([0, self.keys.pttl(self.lock)?.max(0)]))
    }

    /// `extend.lua`
    pub(super) fn extend(&mut self, args: &[String]) -> Answered<Vec<Answer>> {
        let mut words = Words::new(args);
        let (token, ttl) = (words.text(), words.number());
        let state = self.state()?;
        if state == State::Held(token.into()) {
            self.prolong(self.lock, ttl)?;
            return Ok(Answer::numbers([1]));
        }
        if state == State::Shared && self.keys.zscore(self.readers, token)?.is_some() {
            self.lease(token, ttl)?;
            self.prolong(self.lock, ttl)?;
            self.prolong(self.readers, ttl)?;
            return Ok(Answer::numbers([1]));
        }
        if state == State::Free && self.keys.omits(Omission::HeldExtend) {
            self.keys.set(self.lock, token, Some(ttl))?;
            return Ok(Answer::numbers([1]));
        }
        Ok(Answer::numbers([0]))
    }

    /// `release.lua`
    pub(super) fn release(&mut self, gone: Option<&str>, args: &[String]) -> Answered<Vec<Answer>> {
        let mut words = Words::new(args);
        let (token, refused) = (words.text(), words.number());
        let value = self.keys.get(self.lock)?;
        let held = value.as_deref() == Some(token)
            || (value.is_some() && self.keys.omits(Omission::ComparedRelease));
        let shared = value.as_deref() == Some(SHARED) && self.keys.zrem(self.readers, token)?;
        if held {
            self.keys.del(self.lock)?;
            self.keys.del(self.readers)?;
            if self.keys.omits(Omission::LastingCounter) {
                self.keys.del(self.fence)?;
            }
        }
        if self.keys.exists(self.waiting)? {
            self.forget_own(token)?;
            let state = if held { State::Left } else { self.state()? };
            if !self.keys.omits(Omission::HandOver) {
                self.hand_over(&state, None)?;
            }
        } else if shared {
            self.state()?;
        }
        if refused > 0 {
            self.keys.set(gone.expect("a refusal has a key"), "1", Some(refused))?;
        }
        Ok(Answer::numbers([i64::from(held || shared)]))
    }

    /// `mint.lua`
    pub(super) fn mint_for(&mut self, args: &[String]) -> Answered<Vec<Answer>> {
        let ours = self.keys.get(self.lock)?.as_deref() == Some(Words::new(args).text());
        Ok(Answer::numbers([if ours { mint(self.keys, self.fence, 1)? } else { 0 }]))
    }

    /// `info.lua`
    pub(super) fn info(&self) -> Answered<Vec<Answer>> {
        let waiters = living(self.keys, self.waiting)?;
        let value = self.keys.get(self.lock)?.unwrap_or_default();
        let shared = &*value == SHARED;
        let fence = counter(self.keys, self.fence)?;
        let mut answer = Answer::numbers([fence, waiters, self.keys.pttl(self.lock)?]);
        answer.push(Answer::Text(if shared { String::new() } else { (*value).into() }));
        let now = self.keys.now_ms();
        if shared {
            for (token, ends) in self.keys.zrange_after(self.readers, Score::whole(now))? {
                answer.push(Answer::Text((*token).into()));
                answer.push(Answer::Number(ends.floor() - now));
            }
        }
        Ok(answer)
    }

    /// Whoever holds it alone has numbers to pass on.
    fn mint(&mut self, shared: bool) -> Answered<i64> {
        mint(self.keys, self.fence, if shared { 1 } else { FENCES.into() })
    }

    fn prolong(&mut self, key: &str, ttl: i64) -> Answered<()> {
        prolong(self.keys, key, ttl)
    }

    fn claim_ttl(&mut self, token: &str, shared: bool, ttl: i64) -> Answered<()> {
        self.prolong(self.lock, ttl)?;
        if shared {
            self.lease(token, ttl)?;
            self.prolong(self.readers, ttl)?;
        }
        Ok(())
    }

    /// Lets a reader have at least `ttl` more.
    fn lease(&mut self, token: &str, ttl: i64) -> Answered<()> {
        let ends = Score::whole(self.keys.now_ms() + ttl);
        let before = self.keys.zscore(self.readers, token)?;
        self.keys.zadd(self.readers, before.map_or(ends, |before| before.max(ends)), token)
    }

    /// Who has the lock, once readers whose lease is over are taken out.
    fn state(&mut self) -> Answered<State> {
        match self.keys.get(self.lock)? {
            None => {
                self.keys.del(self.readers)?;
                return Ok(State::Free);
            }
            Some(holder) if &*holder != SHARED => return Ok(State::Held(holder)),
            Some(_) => {}
        }
        if self.keys.omits(Omission::ReaderLease) {
            return Ok(State::Shared);
        }
        let now = Score::whole(self.keys.now_ms());
        self.keys.zrem_up_to(self.readers, now)?;
        let Some((_, last)) = self.keys.zlast(self.readers)? else {
            self.keys.del(self.lock)?;
            return Ok(State::Free);
        };
        self.keys.pexpireat(self.lock, last.floor())?;
        self.keys.pexpireat(self.readers, last.floor())?;
        Ok(State::Shared)
    }

    fn forget(&mut self, token: &str) -> Answered<()> {
        if self.keys.hdel(self.waiting, token)? {
            self.keys.zrem(self.writers, token)?;
            self.keys.zrem(self.queue, token)?;
        }
        Ok(())
    }

    /// Who holds the lock waits for it no more.
    fn forget_own(&mut self, token: &str) -> Answered<()> {
        if self.keys.omits(Omission::OwnEntry) { Ok(()) } else { self.forget(token) }
    }

    fn enqueue(
        &mut self,
        line: &str,
        token: &str,
        stamp: &str,
        claim: &str,
        live: i64,
        inbox: &str,
    ) -> Answered<()> {
        let stamp = later_stamp(self.keys, self.waiting, token, stamp)?;
        let until = self.keys.now_ms() + live;
        self.keys.hset(self.waiting, token, &format!("{until} {stamp} {claim} {inbox}"))?;
        line_up(self.keys, line, token)?;
        if self.keys.omits(Omission::ServerScores) {
            let behind = inbox.parse::<i64>().unwrap_or(0) * 1_000_000;
            self.keys.zadd(line, Score::whole(self.keys.now_us() - behind), token)?;
        }
        if self.keys.pttl(self.waiting)?.min(self.keys.pttl(line)?) < KEEP_MS / 2 {
            self.keys.pexpire(self.waiting, KEEP_MS)?;
            self.keys.pexpire(line, KEEP_MS)?;
        }
        Ok(())
    }

    /// The first of a queue that is alive; the dead before it are dropped.
    fn head(&mut self, line: &str) -> Answered<Option<Waiter>> {
        while let Some((token, came)) = self.keys.zfirst(line)? {
            let entry = self.keys.hget(self.waiting, &token)?.unwrap_or_default();
            if let Some((live, stamp, claim, inbox)) = parse(&entry)
                && live > self.keys.now_ms()
            {
                let (stamp, inbox) = (stamp.into(), inbox.into());
                return Ok(Some(Waiter { token, came, stamp, claim, inbox }));
            }
            self.keys.zrem(line, &token)?;
            self.keys.hdel(self.waiting, &token)?;
        }
        Ok(None)
    }

    /// Lets a waiter in for as long as it claimed; all but the caller are told.
    fn grant(
        &mut self,
        waiter: &Waiter,
        shared: bool,
        told: Option<&str>,
    ) -> Answered<Option<i64>> {
        let (token, claim) = (&*waiter.token, waiter.claim);
        let fence = self.mint(shared)?;
        self.forget(token)?;
        if shared {
            let ends = Score::whole(self.keys.now_ms() + claim);
            self.keys.zadd(self.readers, ends, token)?;
            self.keys.set_keeping_ttl(self.lock, SHARED)?;
            self.prolong(self.lock, claim)?;
            self.prolong(self.readers, claim)?;
        } else {
            self.keys.set(self.lock, token, Some(claim))?;
        }
        if told == Some(token) {
            return Ok(Some(fence));
        }
        self.keys.publish(&waiter.inbox, &format!("{token} {fence} {}", waiter.stamp));
        Ok(None)
    }

    /// Lets in whoever may enter: after a writer the readers that wait, while readers hold only
    /// readers and only if no writer waits, else whoever came first. All readers go together. The
    /// answer is the fence of the caller, if it is among them.
    fn hand_over(&mut self, state: &State, caller: Option<&str>) -> Answered<Option<i64>> {
        if matches!(state, State::Held(_)) {
            return Ok(None);
        }
        if self.keys.omits(Omission::DeadHead) && self.has_dead_head()? {
            return Ok(None);
        }
        if let Some(caller) = caller
            && *state == State::Free
            && self.keys.omits(Omission::QueueFirst)
        {
            return self.barge(caller);
        }
        let writer = self.head(self.writers)?;
        let mut reader = self.head(self.queue)?;
        let readers_first = match (&reader, &writer) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(reader), Some(writer)) => match state {
                State::Left => true,
                State::Free => reader.came < writer.came,
                State::Shared | State::Held(_) => false,
            },
        };
        let mut fence = None;
        if readers_first {
            while let Some(waiter) = reader {
                fence = self.grant(&waiter, true, caller)?.or(fence);
                reader = self.head(self.queue)?;
            }
        } else if let Some(writer) = writer
            && *state != State::Shared
        {
            fence = self.grant(&writer, false, caller)?;
        }
        Ok(fence)
    }

    /// Whether the first writer is dead.
    fn has_dead_head(&self) -> Answered<bool> {
        let Some((token, _)) = self.keys.zfirst(self.writers)? else { return Ok(false) };
        let entry = self.keys.hget(self.waiting, &token)?.unwrap_or_default();
        Ok(parse(&entry).is_none_or(|(live, ..)| live <= self.keys.now_ms()))
    }

    /// Lets the caller in, whoever waits.
    fn barge(&mut self, token: &str) -> Answered<Option<i64>> {
        if self.keys.zscore(self.writers, token)?.is_none() {
            return Ok(None);
        }
        self.forget(token)?;
        self.keys.set(self.lock, token, Some(1))?;
        self.mint(false).map(Some)
    }
}

/// `give_back.lua`
pub(super) fn give_back(
    keys: &mut Keyspace,
    lock: &str,
    waiting: &str,
    token: &str,
) -> Answered<Vec<Answer>> {
    let own = keys.get(lock)?.as_deref() == Some(token);
    let answer = if !own && !keys.omits(Omission::ComparedRelease) {
        0
    } else if keys.exists(waiting)? && !keys.omits(Omission::LookedForWaiters) {
        2
    } else {
        keys.del(lock)?;
        1
    };
    Ok(Answer::numbers([answer]))
}

/// `<live until, ms> <stamp> <claim, ms> <inbox>`
fn parse(entry: &str) -> Option<(i64, &str, i64, &str)> {
    let mut words = entry.splitn(4, ' ');
    let live = words.next()?.parse().ok()?;
    let (stamp, claim) = (words.next()?, words.next()?.parse().ok()?);
    Some((live, stamp, claim, words.next()?))
}

/// The number in a fencing counter; nothing or nonsense is 0.
pub(super) fn counter(keys: &Keyspace, fence: &str) -> Answered<i64> {
    Ok(keys.get(fence)?.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// The first of `count` numbers above every one before them, and no less than the server's
/// microseconds.
pub(super) fn mint(keys: &mut Keyspace, fence: &str, count: i64) -> Answered<i64> {
    let before = counter(keys, fence)?;
    let number = if keys.omits(Omission::OwnNumber) {
        return Ok(before);
    } else if keys.omits(Omission::ServerTime) || keys.omits(Omission::LastingCounter) {
        before + 1
    } else {
        (before + 1).max(keys.now_us())
    };
    keys.set(fence, &(number + count - 1).to_string(), None)?;
    Ok(number)
}

/// Never shortens a lease.
pub(super) fn prolong(keys: &mut Keyspace, key: &str, ttl: i64) -> Answered<()> {
    if keys.pttl(key)? < ttl || keys.omits(Omission::LongerLease) {
        keys.pexpire(key, ttl)?;
    }
    Ok(())
}

/// The larger of a refresh's stamp and the one that stands there: a refresh may come late.
pub(super) fn later_stamp(
    keys: &Keyspace,
    waiting: &str,
    token: &str,
    stamp: &str,
) -> Answered<String> {
    let entry = keys.hget(waiting, token)?.unwrap_or_default();
    let before = entry.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
    let own = stamp.parse().expect("a stamp is a number");
    Ok(before.map_or(own, |before| before.max(own)).to_string())
}

/// Puts a waiter at the end of its queue, or leaves it in its place.
pub(super) fn line_up(keys: &mut Keyspace, line: &str, token: &str) -> Answered<()> {
    if keys.zscore(line, token)?.is_none() {
        let last = keys.zlast(line)?.map_or(0, |(_, score)| score.floor());
        keys.zadd(line, Score::whole(keys.now_us().max(last + 1)), token)?;
    }
    Ok(())
}

/// How many waiters are alive.
pub(super) fn living(keys: &Keyspace, waiting: &str) -> Answered<i64> {
    let entries = keys.hvals(waiting)?;
    let until = entries.iter().filter_map(|entry| entry.split(' ').next()?.parse::<i64>().ok());
    let living = until.filter(|until| until * 1000 > keys.now_us()).count();
    Ok(living.try_into().expect("a queue is short"))
}
