//! The real one of the two servers.

use std::collections::BTreeMap;
use std::sync::Arc;

use lock_proto::redis::{SCRIPTS, ScriptCall, Verb};
use redis::{Cmd, Connection, ConnectionLike as _, Value as Answered};

use super::compare::Bracket;
use super::{Seen, Step};
use crate::redis::Server;
use crate::redis_model::{Answer, Draw, Entry, Score, Value};

/// Every key with its type, its end and its value.
const DUMP: &str = r"
local dump = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  local value
  if kind == 'string' then value = redis.call('GET', key)
  elseif kind == 'hash' then value = redis.call('HGETALL', key)
  else value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end
  dump[#dump + 1] = {key, kind, redis.call('PEXPIRETIME', key), value}
end
return dump";

/// Moves every end of a key and of a lease, and nobody's place in a queue.
const AGE: &str = r"
local ms = tonumber(ARGV[1])
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  local word = string.match(key, ':dlock:(%a+)')
  if kind == 'zset' and (not word or word == 'readers') then
    local members = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #members, 2 do
      redis.call('ZADD', key, string.format('%.3f', tonumber(members[i + 1]) - ms), members[i])
    end
  elseif kind == 'hash' then
    local fields = redis.call('HGETALL', key)
    for i = 1, #fields, 2 do
      local live, rest = string.match(fields[i + 1], '^(%d+)( .*)$')
      if live then
        redis.call('HSET', key, fields[i], string.format('%.0f', tonumber(live) - ms) .. rest)
      end
    end
  end
  local ends = redis.call('PEXPIRETIME', key)
  if ends > 0 then
    redis.call('PEXPIREAT', key, string.format('%.0f', ends - ms))
  end
end";

/// Puts a value in another's place.
const SPOIL: &str = "
redis.call('DEL', KEYS[1])
redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))
return 1";

/// How DistributedLock.Redis for .NET gives a mutex back.
const COMPARE_DELETE: &str = "
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0";

/// How DistributedLock.Redis for .NET takes a permit.
const PERMIT: &str = "
redis.replicate_commands()
local nowResult = redis.call('time')
local nowMillis = (tonumber(nowResult[1]) * 1000.0) + (tonumber(nowResult[2]) / 1000.0)
redis.call('zremrangebyscore', KEYS[1], '-inf', nowMillis)
if redis.call('zcard', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('zadd', KEYS[1], nowMillis + tonumber(ARGV[2]), ARGV[3])
  local keyTtl = redis.call('pttl', KEYS[1])
  if keyTtl < tonumber(ARGV[4]) then
    redis.call('pexpire', KEYS[1], ARGV[4])
  end
  return 1
end
return 0";

/// Where it is said that nothing more comes of a step.
const END: &str = "end of step";

/// A server with a connection for commands and one that hears everything.
pub(super) struct Real {
    server: Server,
    connection: Connection,
    listener: Connection,
    digests: BTreeMap<&'static str, String>,
}

impl Real {
    pub(super) fn start() -> Self {
        let server = Server::start();
        let connect = || server.connection().expect("the server answers");
        let (mut connection, mut listener) = (connect(), connect());
        let own = [DUMP, AGE, SPOIL, COMPARE_DELETE, PERMIT];
        let sources = SCRIPTS.iter().map(|script| script.source).chain(own);
        let digests = sources.map(|source| {
            let load = redis::cmd("SCRIPT").arg("LOAD").arg(source).to_owned();
            (source, load.query(&mut connection).expect("the script compiles"))
        });
        let digests = digests.collect();
        redis::cmd("PSUBSCRIBE").arg("*").exec(&mut listener).expect("the server answers");
        Self { server, connection, listener, digests }
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    pub(super) fn flush(&mut self) {
        redis::cmd("FLUSHALL").exec(&mut self.connection).expect("the server answers");
    }

    /// Lets `ms` milliseconds pass.
    pub(super) fn age(&mut self, ms: i64) -> Seen {
        let age = self.script(AGE, &[], &[&ms.to_string()]);
        let dump = self.script(DUMP, &[], &[]);
        let mut answers = self.send(&[age, dump]);
        let entries = entries(answers.pop().expect("two were asked"));
        Seen { answer: Ok(Vec::new()), messages: Vec::new(), entries }
    }

    /// Takes a step between two looks at the clock.
    pub(super) fn take(&mut self, step: &Step) -> (Bracket, Seen) {
        let mut commands = vec![redis::cmd("TIME")];
        commands.extend(self.commands(step));
        let dump = self.script(DUMP, &[], &[]);
        let end = redis::cmd("PUBLISH").arg(END).arg("").to_owned();
        commands.extend([redis::cmd("TIME"), dump, end]);
        let mut answers = self.send(&commands);
        answers.pop();
        let entries = entries(answers.pop().expect("as many answers as commands"));
        let end = micros(&answers.pop().expect("as many answers as commands"));
        let start = micros(&answers.remove(0));
        let plain =
            matches!(step, Step::Ask { command, .. } if matches!(command.verb, Verb::Take { .. }));
        let answer = if plain { Ok(taken(&answers)) } else { words(&answers.remove(0)) };
        let seen = Seen { answer, messages: self.heard(), entries };
        (Bracket { start, end }, seen)
    }

    fn commands(&self, step: &Step) -> Vec<Cmd> {
        match step {
            Step::Ask { command, inbox, draw } => match (&command.verb, command.script(inbox)) {
                (Verb::Take { ttl, fencing }, _) => {
                    let lock = command.keys.lock();
                    let set = set_nx(lock, command.token.as_str(), ttl.as_millis());
                    let fence = match draw {
                        Draw::Increment => redis::cmd("INCR").arg(command.keys.fence()).to_owned(),
                        Draw::Mint => self.mint(command),
                    };
                    if *fencing { vec![set, fence] } else { vec![set] }
                }
                (_, Some(call)) => vec![self.call(&call)],
                (verb, None) => panic!("no script for {verb:?}"),
            },
            Step::Call(call) => vec![self.call(call)],
            Step::Set { key, value, ttl_ms } => {
                vec![set_nx(key, value, ttl_ms.unsigned_abs().into())]
            }
            Step::CompareDelete { key, value } => {
                vec![self.script(COMPARE_DELETE, &[key], &[value])]
            }
            Step::Permit { key, member, limit, ttl_ms } => {
                let (limit, ttl, life) = (limit.to_string(), ttl_ms.to_string(), 3 * ttl_ms);
                vec![self.script(PERMIT, &[key], &[&limit, &ttl, member, &life.to_string()])]
            }
            Step::Delete(key) => vec![redis::cmd("DEL").arg(key).to_owned()],
            Step::Spoil { key, value } => vec![self.spoil(key, value)],
            Step::Age(_) => Vec::new(),
        }
    }

    fn mint(&self, command: &lock_proto::redis::Command) -> Cmd {
        let mut mint = command.clone();
        mint.verb = Verb::Mint;
        self.call(&mint.script("").expect("to mint is a script"))
    }

    fn spoil(&self, key: &str, value: &Value) -> Cmd {
        let (command, words): (&str, Vec<String>) = match value {
            Value::Text(text) => ("SET", vec![text.to_string()]),
            Value::Hash(fields) => {
                let words = fields.iter().flat_map(|(field, text)| [field, text]);
                ("HSET", words.map(|word| word.to_string()).collect())
            }
            Value::Sorted(members) => {
                let words = members.iter();
                let words =
                    words.flat_map(|(name, score)| [format!("{score:?}"), name.to_string()]);
                ("ZADD", words.collect())
            }
        };
        let mut spoil = redis::cmd("EVALSHA");
        spoil.arg(&self.digests[SPOIL]).arg(1).arg(key).arg(command).arg(words);
        spoil
    }

    fn call(&self, call: &ScriptCall) -> Cmd {
        let keys: Vec<&str> = call.keys.iter().map(String::as_str).collect();
        let args: Vec<&str> = call.args.iter().map(String::as_str).collect();
        self.script(call.script.source, &keys, &args)
    }

    fn script(&self, source: &str, keys: &[&str], args: &[&str]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.digests[source]).arg(keys.len());
        for word in keys.iter().chain(args) {
            command.arg(word);
        }
        command
    }

    fn send(&mut self, commands: &[Cmd]) -> Vec<Answered> {
        let packed: Vec<u8> = commands.iter().flat_map(Cmd::get_packed_command).collect();
        let answers = self.connection.req_packed_commands(&packed, 0, commands.len());
        answers.expect("the server answers")
    }

    /// What was published up to the end of the step.
    fn heard(&mut self) -> Vec<(String, String)> {
        let mut heard = Vec::new();
        loop {
            let message = self.listener.recv_response().expect("the listener is connected");
            let [_, _, channel, text]: [String; 4] =
                redis::from_redis_value(message).expect("the pattern, the channel and the text");
            if channel == END {
                return heard;
            }
            heard.push((channel, text));
        }
    }
}

fn set_nx(key: &str, value: &str, ttl_ms: u128) -> Cmd {
    let mut command = redis::cmd("SET");
    command.arg(key).arg(value).arg("NX").arg("PX").arg(ttl_ms.to_string());
    command
}

fn micros(time: &Answered) -> i64 {
    let [seconds, micros]: [i64; 2] = redis::from_redis_value_ref(time).expect("it is a time");
    seconds * 1_000_000 + micros
}

/// The answers to `SET` and to what draws a fence, as one.
fn taken(answers: &[Answered]) -> Vec<Answer> {
    let set = answers[0] != Answered::Nil;
    let fence = answers.get(1).and_then(|answer| words(answer).ok()?.pop());
    let fence = fence.unwrap_or(Answer::Number(0));
    vec![Answer::Number(set.into()), fence, Answer::Number(0)]
}

fn words(answer: &Answered) -> Result<Vec<Answer>, String> {
    if let Answered::ServerError(error) = answer {
        return Err(format!("{} {}", error.code(), error.details().unwrap_or_default()));
    }
    if let Answered::Array(answers) = answer {
        return Ok(answers.iter().map(word).collect());
    }
    Ok(vec![word(answer)])
}

fn word(answer: &Answered) -> Answer {
    if let Answered::Int(number) = answer {
        return Answer::Number(*number);
    }
    if let Answered::Okay | Answered::Nil = answer {
        return Answer::Number((*answer == Answered::Okay).into());
    }
    Answer::Text(redis::from_redis_value_ref(answer).expect("it is a text"))
}

fn entries(dump: Answered) -> BTreeMap<Arc<str>, Entry> {
    let dump: Vec<(String, String, i64, Answered)> =
        redis::from_redis_value(dump).expect("a dump is as its script says");
    let entries = dump.into_iter().map(|(key, kind, ends, value)| {
        let value = match &*kind {
            "string" => Value::Text(text(value).into()),
            "hash" => Value::Hash(pairs(value).map(|(field, word)| (field, word.into())).collect()),
            "zset" => Value::Sorted(pairs(value).map(|(name, at)| (name, score(&at))).collect()),
            _ => panic!("{key} is a {kind}"),
        };
        (key.into(), Entry { value, expires: (ends >= 0).then_some(ends) })
    });
    entries.collect()
}

fn text(value: Answered) -> String {
    redis::from_redis_value(value).expect("it is a text")
}

fn pairs(value: Answered) -> impl Iterator<Item = (Arc<str>, String)> {
    let words: Vec<String> = redis::from_redis_value(value).expect("it is a list");
    let pairs: Vec<_> =
        words.chunks_exact(2).map(|pair| (pair[0][..].into(), pair[1].clone())).collect();
    pairs.into_iter()
}

/// To the nearest thousandth, since Redis prints all digits that a double may need.
fn score(text: &str) -> Score {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let whole: i64 = whole.parse().unwrap_or_else(|_| panic!("a score of {text}"));
    let digits: i64 = format!("{fraction:0<4.4}").parse().expect("a fraction has digits");
    Score::thousandths(whole * 1000 + (digits + 5) / 10)
}
