-- What the scripts of semaphores share.
--
-- Data of one semaphore:
--   permits  zset    one member for each permit that is out, by the end of its lease in ms; a taker
--                    of many has its token, then its token with ':2', ':3' ... behind it; expires
--   fence    string  the last fencing token; never expires, never deleted
--   waiting  hash    token -> "<live until, ms> <stamp> <claim, ms> <inbox> <count> <limit>"
--   takers   zset    tokens of those that wait, by the microsecond they came
--
-- The permits are as DistributedLock.Redis for .NET keeps them. All times are the server's.
local PERMITS, FENCE, WAITING, TAKERS = unpack(KEYS)
local KEEP_MS = 60000
local LONGEST_MS = 2147483647

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now_ms = now_us / 1000

local function text(number)
  return string.format('%.0f', number)
end

-- A lease ends at a fraction of a millisecond, so that prolonging it always changes it.
local function moment(ms)
  return string.format('%.3f', ms)
end

local function mint()
  local fence = math.max((tonumber(redis.call('GET', FENCE)) or 0) + 1, now_us)
  redis.call('SET', FENCE, text(fence))
  return fence
end

local function prune()
  redis.call('ZREMRANGEBYSCORE', PERMITS, '-inf', moment(now_ms))
end

local function member(token, number)
  if number == 1 then
    return token
  end
  return token .. ':' .. number
end

-- Never shortens a lease.
local function prolong(key, ms)
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, text(ms))
  end
end

-- Lets `token` have `count` permits for at least `ttl`.
local function lease(token, count, ttl)
  for number = 1, count do
    local name = member(token, number)
    local ends = tonumber(redis.call('ZSCORE', PERMITS, name)) or 0
    redis.call('ZADD', PERMITS, moment(math.max(ends, now_ms + ttl)), name)
  end
  prolong(PERMITS, math.min(3 * ttl, LONGEST_MS))
end

local function forget(token)
  if redis.call('HDEL', WAITING, token) == 1 then
    redis.call('ZREM', TAKERS, token)
  end
end

-- The first taker that is alive; drops the dead before it.
local function head()
  while true do
    local token = redis.call('ZRANGE', TAKERS, '0', '0')[1]
    if not token then
      return nil
    end
    local entry = redis.call('HGET', WAITING, token) or ''
    local live, stamp, claim, inbox, count, limit =
      string.match(entry, '^(%d+) (%d+) (%d+) (%S*) (%d+) (%d+)$')
    if live and tonumber(live) > now_ms then
      return {
        token = token, stamp = stamp, claim = tonumber(claim), inbox = inbox,
        count = tonumber(count), limit = tonumber(limit)
      }
    end
    redis.call('ZREM', TAKERS, token)
    redis.call('HDEL', WAITING, token)
  end
end

-- Lets in whoever comes next as long as there is room for it. The caller is not told by a message:
-- its fence is the answer, nil if it has to wait.
local function hand_over(caller)
  local fence
  local taker = head()
  while taker and redis.call('ZCARD', PERMITS) + taker.count <= taker.limit do
    local minted = mint()
    forget(taker.token)
    lease(taker.token, taker.count, taker.claim)
    if taker.token == caller then
      fence = minted
    else
      redis.call('PUBLISH', taker.inbox, taker.token .. ' ' .. text(minted) .. ' ' .. taker.stamp)
    end
    taker = head()
  end
  return fence
end
