//! What the scripts of votes say.

use super::{Answer, Answered, KEEP_MS, Lock, SHARED, Score, State, Words, counter, parse};

/// What stands at a token's own key when it is refused.
const GONE: &str = "gone";

impl Lock<'_> {
    /// `vote.lua`
    pub(in crate::redis_model) fn vote(
        &mut self,
        own: &str,
        args: &[String],
    ) -> Answered<Vec<Answer>> {
        let mut words = Words::new(args);
        let (token, shared, ballot) = (words.text(), words.text() == "s", words.number());
        let (ttl, wait, came) = (words.number(), words.text() == "1", words.number());
        let (live, inbox) = (words.number(), words.text());

        if self.is_gone(own)? {
            return Ok(Answer::numbers([-1, 0, 0]));
        }
        let before = counter(self.keys, self.fence)?;
        let rises = ballot > before;
        let highest = before.max(ballot);
        let state = self.state()?;
        if state == State::Held(token.into()) {
            self.cast(rises, ballot)?;
            self.prolong(self.lock, ttl)?;
            return Ok(Answer::numbers([1, highest, highest]));
        }
        if state == State::Shared && self.keys.zscore(self.readers, token)?.is_some() {
            self.cast(rises, ballot)?;
            self.share(token, ttl, own, rises.then_some(ballot))?;
            return Ok(Answer::numbers([1, if rises { ballot } else { 0 }, highest]));
        }
        let mut blocked = match state {
            State::Free | State::Left => false,
            State::Shared => !shared,
            State::Held(_) => true,
        };
        if !blocked && self.keys.exists(self.waiting)? {
            blocked = self.is_before(self.writers, token, came)?
                || (!shared && self.is_before(self.queue, token, came)?);
        }
        if rises && !blocked {
            self.cast(rises, ballot)?;
            if shared {
                self.share(token, ttl, own, Some(ballot))?;
            } else {
                self.keys.set(self.lock, token, Some(ttl))?;
            }
            return Ok(Answer::numbers([1, ballot, ballot]));
        }
        if wait {
            let until = self.keys.now_ms() + live;
            self.keys.hset(self.waiting, token, &format!("{until} {came} 0 {inbox}"))?;
            let line = if shared { self.queue } else { self.writers };
            self.keys.zadd(line, Score::whole(came), token)?;
            self.prolong(self.waiting, KEEP_MS)?;
            self.prolong(line, KEEP_MS)?;
        }
        Ok(Answer::numbers([0, i64::from(blocked), before]))
    }

    /// `vote_keep.lua`
    pub(in crate::redis_model) fn keep(
        &mut self,
        own: &str,
        args: &[String],
    ) -> Answered<Vec<Answer>> {
        let mut words = Words::new(args);
        let (token, shared) = (words.text(), words.text() == "s");
        let (ballot, ttl) = (words.number(), words.number());

        if self.is_gone(own)? {
            return Ok(Answer::numbers([-1, 0, 0]));
        }
        let highest = counter(self.keys, self.fence)?;
        let state = self.state()?;
        let held = state == State::Held(token.into());
        let others = match state {
            State::Free | State::Left => false,
            State::Shared => !shared,
            State::Held(_) => !held,
        };
        if others {
            return Ok(Answer::numbers([0, 1, highest]));
        }
        if held {
            self.prolong(self.lock, ttl)?;
        } else if shared {
            self.share(token, ttl, own, Some(ballot))?;
        } else {
            self.keys.set(self.lock, token, Some(ttl))?;
        }
        self.cast(ballot > highest, ballot)?;
        if self.keys.exists(self.waiting)? {
            self.forget(token)?;
        }
        Ok(Answer::numbers([1, 0, highest.max(ballot)]))
    }

    /// `vote_yield.lua`
    pub(in crate::redis_model) fn give_back(
        &mut self,
        own: &str,
        args: &[String],
    ) -> Answered<Vec<Answer>> {
        let mut words = Words::new(args);
        let token = words.text();
        let ballot = words.text().parse::<i64>().ok();
        let (stay, refused) = (words.text() == "1", words.number());

        let mut state = self.state()?;
        let mut ours = false;
        if state == State::Held(token.into()) && self.is_at_most(self.fence, ballot)? {
            self.keys.del(self.lock)?;
            (state, ours) = (State::Free, true);
        } else if state == State::Shared
            && self.keys.zscore(self.readers, token)?.is_some()
            && self.is_at_most(own, ballot)?
        {
            self.keys.zrem(self.readers, token)?;
            self.keys.del(own)?;
            (state, ours) = (self.state()?, true);
        }
        if !stay && self.keys.exists(self.waiting)? {
            self.forget(token)?;
            self.tell_the_next(&state)?;
        }
        if ballot.is_none() {
            self.keys.del(own)?;
        }
        if refused > 0 {
            self.keys.set(own, GONE, Some(refused))?;
        }
        Ok(Answer::numbers([i64::from(ours), 0, 0]))
    }

    fn is_at_most(&self, key: &str, ballot: Option<i64>) -> Answered<bool> {
        let number = counter(self.keys, key)?;
        Ok(ballot.is_none_or(|ballot| number <= ballot))
    }

    /// Nudges whoever may come next: the first writer, or all readers before it.
    fn tell_the_next(&mut self, state: &State) -> Answered<()> {
        let writer = self.head(self.writers)?;
        let reader = self.head(self.queue)?;
        let before = |came: Score| writer.as_ref().is_none_or(|writer| came <= writer.came);
        let readers_first = reader.is_some_and(|reader| before(reader.came));
        let mut next = Vec::new();
        if !matches!(state, State::Held(_)) && readers_first {
            for (token, came) in self.keys.zrange_after(self.queue, Score::whole(-1))? {
                let entry = self.keys.hget(self.waiting, &token)?.unwrap_or_default();
                if before(came)
                    && let Some((live, stamp, _, inbox)) = parse(&entry)
                    && live > self.keys.now_ms()
                {
                    next.push((token, stamp.to_owned(), inbox.to_owned()));
                }
            }
        } else if *state == State::Free
            && let Some(writer) = writer
        {
            next.push((writer.token, writer.stamp, writer.inbox));
        }
        for (token, stamp, inbox) in next {
            self.keys.publish(&inbox, &format!("{token} 0 {stamp}"));
        }
        Ok(())
    }

    fn is_gone(&self, own: &str) -> Answered<bool> {
        Ok(self.keys.get(own)?.as_deref() == Some(GONE))
    }

    fn cast(&mut self, rises: bool, ballot: i64) -> Answered<()> {
        if rises {
            self.keys.set(self.fence, &ballot.to_string(), None)?;
        }
        Ok(())
    }

    fn is_before(&mut self, line: &str, token: &str, came: i64) -> Answered<bool> {
        let first = self.head(line)?;
        Ok(first.is_some_and(|first| *first.token != *token && first.came < Score::whole(came)))
    }

    fn share(&mut self, token: &str, ttl: i64, own: &str, ballot: Option<i64>) -> Answered<()> {
        self.lease(token, ttl)?;
        self.keys.set_keeping_ttl(self.lock, SHARED)?;
        self.prolong(self.lock, ttl)?;
        self.prolong(self.readers, ttl)?;
        if let Some(ballot) = ballot {
            self.keys.set_keeping_ttl(own, &ballot.to_string())?;
        }
        self.prolong(own, ttl)
    }
}
