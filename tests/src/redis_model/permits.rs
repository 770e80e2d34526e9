//! What the scripts of semaphores say.

use std::sync::Arc;

use super::keyspace::{Answered, Keyspace, Score};
use super::locks::{KEEP_MS, counter, later_stamp, line_up, living, mint, prolong};
use super::{Answer, Omission, Words};

/// Redis refuses what .NET would not take for a time either.
const LONGEST_MS: i64 = 2_147_483_647;

/// A semaphore, as a script sees it.
pub(super) struct Semaphore<'a> {
    keys: &'a mut Keyspace,
    permits: &'a str,
    fence: &'a str,
    waiting: &'a str,
    takers: &'a str,
}

/// A taker that is alive, and first in the queue.
struct Taker {
    token: Arc<str>,
    stamp: String,
    claim: i64,
    inbox: String,
    count: usize,
    limit: usize,
}

impl<'a> Semaphore<'a> {
    pub(super) fn new(keys: &'a mut Keyspace, names: &'a [String]) -> Self {
        let [permits, fence, waiting, takers, ..] = names else {
            panic!("a semaphore has four keys: {names:?}");
        };
        Self { keys, permits, fence, waiting, takers }
    }

    /// `permits_acquire.lua`
    pub(super) fn acquire(&mut self, gone: &str, args: &[String]) -> Answered<Vec<Answer>> {
        let mut words = Words::new(args);
        let (token, count, limit) = (words.text(), words.number(), words.text());
        let (ttl, wait, stamp) = (words.number(), words.text() == "1", words.text());
        let (claim, live, inbox) = (words.text(), words.number(), words.text());

        if self.keys.exists(gone)? {
            return Ok(Answer::numbers([-1, 0, 0]));
        }
        self.prune()?;
        let permits = usize::try_from(count).expect("a count is not negative");
        if self.keys.zscore(self.permits, token)?.is_some() {
            self.forget(token)?;
            self.lease(token, permits, ttl)?;
            return Ok(Answer::numbers([1, mint(self.keys, self.fence, 1)?, 0]));
        }
        let stamp = later_stamp(self.keys, self.waiting, token, stamp)?;
        let until = nearest_ms(self.keys.now_us() + live * 1000);
        let entry = format!("{until} {stamp} {claim} {inbox} {count} {limit}");
        self.keys.hset(self.waiting, token, &entry)?;
        line_up(self.keys, self.takers, token)?;
        prolong(self.keys, self.waiting, KEEP_MS)?;
        prolong(self.keys, self.takers, KEEP_MS)?;

        if let Some(fence) = self.hand_over(Some(token))? {
            self.lease(token, permits, ttl)?;
            return Ok(Answer::numbers([1, fence, 0]));
        }
        let ahead = self.keys.zrank(self.takers, token)?.unwrap_or(0);
        if !wait {
            self.forget(token)?;
            self.hand_over(None)?;
        }
        let first = self.keys.zfirst(self.permits)?.map_or(0, |(_, ends)| self.until(ends));
        Ok(Answer::numbers([0, first.max(0), ahead.try_into().expect("a queue is short")]))
    }

    /// `permits_extend.lua`
    pub(super) fn extend(&mut self, args: &[String]) -> Answered<Vec<Answer>> {
        let mut words = Words::new(args);
        let (token, count, ttl) = (words.text(), words.count(), words.number());
        self.prune()?;
        for number in 1..=count {
            if self.keys.zscore(self.permits, &member(token, number))?.is_none() {
                return Ok(Answer::numbers([0]));
            }
        }
        self.lease(token, count, ttl)?;
        Ok(Answer::numbers([1]))
    }

    /// `permits_release.lua`
    pub(super) fn release(&mut self, gone: Option<&str>, args: &[String]) -> Answered<Vec<Answer>> {
        let mut words = Words::new(args);
        let (token, count, refused) = (words.text(), words.count(), words.number());
        let mut ours = false;
        for number in 1..=count {
            ours |= self.keys.zrem(self.permits, &member(token, number))?;
        }
        if self.keys.exists(self.waiting)? {
            self.forget(token)?;
            self.prune()?;
            self.hand_over(None)?;
        }
        if refused > 0 {
            self.keys.set(gone.expect("a refusal has a key"), "1", Some(refused))?;
        }
        Ok(Answer::numbers([i64::from(ours)]))
    }

    /// `permits_info.lua`
    pub(super) fn info(&self) -> Answered<Vec<Answer>> {
        let waiters = living(self.keys, self.waiting)?;
        let mut answer = Answer::numbers([counter(self.keys, self.fence)?, waiters, 0]);
        answer.push(Answer::Text(String::new()));
        for (token, ends) in self.keys.zrange_after(self.permits, self.now())? {
            answer.push(Answer::Text((*token).into()));
            answer.push(Answer::Number(self.until(ends)));
        }
        Ok(answer)
    }

    /// Permits whose lease is over are free.
    fn prune(&mut self) -> Answered<()> {
        if self.keys.omits(Omission::PermitLease) {
            return Ok(());
        }
        self.keys.zrem_up_to(self.permits, self.now())
    }

    /// Lets `token` have its permits for at least `ttl` more.
    fn lease(&mut self, token: &str, count: usize, ttl: i64) -> Answered<()> {
        let ends = Score::thousandths(self.keys.now_us() + ttl * 1000);
        for number in 1..=count {
            let name = member(token, number);
            let before = self.keys.zscore(self.permits, &name)?;
            self.keys.zadd(self.permits, before.map_or(ends, |before| before.max(ends)), &name)?;
        }
        prolong(self.keys, self.permits, (3 * ttl).min(LONGEST_MS))
    }

    fn forget(&mut self, token: &str) -> Answered<()> {
        if self.keys.hdel(self.waiting, token)? {
            self.keys.zrem(self.takers, token)?;
        }
        Ok(())
    }

    /// The first taker that is alive; the dead before it are dropped.
    fn head(&mut self) -> Answered<Option<Taker>> {
        while let Some((token, _)) = self.keys.zfirst(self.takers)? {
            let entry = self.keys.hget(self.waiting, &token)?.unwrap_or_default();
            if let Some((live, taker)) = parse(&token, &entry)
                && live * 1000 > self.keys.now_us()
            {
                return Ok(Some(taker));
            }
            self.keys.zrem(self.takers, &token)?;
            self.keys.hdel(self.waiting, &token)?;
        }
        Ok(None)
    }

    /// Lets takers in, in their order, as long as there is room for the next. The answer is the
    /// fence of the caller, if it is among them; all others are told.
    fn hand_over(&mut self, caller: Option<&str>) -> Answered<Option<i64>> {
        let mut fence = None;
        while let Some(taker) = self.head()?
            && self.keys.zcard(self.permits)? + taker.count <= taker.limit
        {
            let token = &*taker.token;
            let minted = mint(self.keys, self.fence, 1)?;
            self.forget(token)?;
            self.lease(token, taker.count, taker.claim)?;
            if caller == Some(token) {
                fence = Some(minted);
            } else {
                let text = format!("{token} {minted} {}", taker.stamp);
                self.keys.publish(&taker.inbox, &text);
            }
        }
        Ok(fence)
    }

    fn now(&self) -> Score {
        Score::thousandths(self.keys.now_us())
    }

    /// Milliseconds until then, rounded up.
    fn until(&self, ends: Score) -> i64 {
        -(self.keys.now_us() - ends.in_thousandths()).div_euclid(1000)
    }
}

/// The name of a taker's first, second ... permit.
fn member(token: &str, number: usize) -> String {
    if number == 1 { token.into() } else { format!("{token}:{number}") }
}

/// `<live until, ms> <stamp> <claim, ms> <inbox> <count> <limit>`
fn parse(token: &Arc<str>, entry: &str) -> Option<(i64, Taker)> {
    let words: Vec<&str> = entry.split(' ').collect();
    let [live, stamp, claim, inbox, count, limit] = words[..] else { return None };
    let taker = Taker {
        token: token.clone(),
        stamp: stamp.into(),
        claim: claim.parse().ok()?,
        inbox: inbox.into(),
        count: count.parse().ok()?,
        limit: limit.parse().ok()?,
    };
    Some((live.parse().ok()?, taker))
}

/// As C prints a number without its fraction: to the nearest, from the middle to the even one.
fn nearest_ms(micros: i64) -> i64 {
    let whole = micros.div_euclid(1000);
    match micros.rem_euclid(1000).cmp(&500) {
        std::cmp::Ordering::Less => whole,
        std::cmp::Ordering::Greater => whole + 1,
        std::cmp::Ordering::Equal => whole + whole.rem_euclid(2),
    }
}
