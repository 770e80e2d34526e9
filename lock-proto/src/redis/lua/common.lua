-- What the scripts of mutexes and reader-writer locks share.
--
-- Data of one lock:
--   lock     string  the token of its one holder, or SHARED while readers hold it; expires
--   fence    string  the last fencing token; never expires, never deleted
--   waiting  hash    token -> "<live until, ms> <stamp> <claim, ms> <inbox>" of each waiter
--   writers  zset    tokens of those that want it alone, by the microsecond they came
--   queue    zset    tokens of those that would share it, likewise
--   readers  zset    tokens of those that share it, by the end of their leases in ms
--
-- An entry counts only while its waiter refreshes it. All times are the server's.
local LOCK, FENCE, WAITING, WRITERS, QUEUE, READERS = unpack(KEYS)
local SHARED = 'readers'
local KEEP_MS = 60000
-- How many numbers are minted for one that holds it alone: the first is its own, and the others for
-- those of its process to whom it passes the lock on.
local FENCES = 32

local clock

local function now_us()
  if not clock then
    local time = redis.call('TIME')
    clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
  end
  return clock
end

local function now_ms()
  return math.floor(now_us() / 1000)
end

local function text(number)
  return string.format('%.0f', number)
end

-- The first of some numbers that are greater than every one before them, as long as the clock does
-- not go back across a loss of the counter.
local function mint(count)
  local fence = math.max((tonumber(redis.call('GET', FENCE)) or 0) + 1, now_us())
  redis.call('SET', FENCE, text(fence + count - 1))
  return fence
end

local function remaining()
  return math.max(redis.call('PTTL', LOCK), 0)
end

-- Never shortens a lease.
local function prolong(key, ms)
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, text(ms))
  end
end

-- 'free', 'shared' or 'held'.
local function state()
  local value = redis.call('GET', LOCK)
  if value and value ~= SHARED then
    return 'held', value
  end
  if not value then
    redis.call('DEL', READERS)
    return 'free'
  end
  redis.call('ZREMRANGEBYSCORE', READERS, '-inf', text(now_ms()))
  local last = redis.call('ZRANGE', READERS, '-1', '-1', 'WITHSCORES')
  if not last[1] then
    redis.call('DEL', LOCK)
    return 'free'
  end
  redis.call('PEXPIREAT', LOCK, last[2])
  redis.call('PEXPIREAT', READERS, last[2])
  return 'shared'
end

local function forget(token)
  if redis.call('HDEL', WAITING, token) == 1 then
    redis.call('ZREM', WRITERS, token)
    redis.call('ZREM', QUEUE, token)
  end
end

-- Keeps a queue, and what is known of its waiters, for half a minute or more. To look twice costs
-- half as much as to prolong twice.
local function keep(queue)
  if math.min(redis.call('PTTL', WAITING), redis.call('PTTL', queue)) < KEEP_MS / 2 then
    redis.call('PEXPIRE', WAITING, text(KEEP_MS))
    redis.call('PEXPIRE', queue, text(KEEP_MS))
  end
end

-- Puts a waiter at the end of a queue, or keeps its place; a stamp never goes back.
local function enqueue(queue, token, stamp, claim, live, inbox)
  local before = string.match(redis.call('HGET', WAITING, token) or '', '^%d+ (%d+)')
  if before and tonumber(before) > tonumber(stamp) then
    stamp = before
  end
  redis.call('HSET', WAITING, token, text(now_ms() + live) .. ' ' .. stamp .. ' ' .. claim .. ' ' .. inbox)
  if not redis.call('ZSCORE', queue, token) then
    local last = redis.call('ZRANGE', queue, '-1', '-1', 'WITHSCORES')[2]
    redis.call('ZADD', queue, text(math.max(now_us(), (tonumber(last) or 0) + 1)), token)
  end
  keep(queue)
end

-- The first of a queue whose waiter is alive; drops the dead before it.
local function head(queue)
  while true do
    local first = redis.call('ZRANGE', queue, '0', '0', 'WITHSCORES')
    if not first[1] then
      return nil
    end
    local entry = redis.call('HGET', WAITING, first[1]) or ''
    local live, stamp, claim, inbox = string.match(entry, '^(%d+) (%d+) (%d+) (.*)$')
    if live and tonumber(live) > now_ms() then
      return {
        token = first[1], came = tonumber(first[2]), stamp = stamp, claim = tonumber(claim), inbox = inbox
      }
    end
    redis.call('ZREM', queue, first[1])
    redis.call('HDEL', WAITING, first[1])
  end
end

-- Lets one waiter in for as long as it claimed, and tells it.
local function grant(waiter, shared, told)
  local fence = mint(shared and 1 or FENCES)
  forget(waiter.token)
  if shared then
    redis.call('ZADD', READERS, text(now_ms() + waiter.claim), waiter.token)
    redis.call('SET', LOCK, SHARED, 'KEEPTTL')
    if redis.call('PTTL', LOCK) < waiter.claim then
      redis.call('PEXPIRE', LOCK, text(waiter.claim))
    end
    prolong(READERS, waiter.claim)
  else
    redis.call('SET', LOCK, waiter.token, 'PX', text(waiter.claim))
  end
  if waiter.token == told then
    return fence
  end
  redis.call('PUBLISH', waiter.inbox, waiter.token .. ' ' .. text(fence) .. ' ' .. waiter.stamp)
end

-- Lets in whoever may enter, `from` the state that the lock is in: phase-fair, so readers that wait
-- go before the next writer when a writer leaves ('left'), and after it when readers hold. The
-- caller is not told by a message: its fence is the answer, nil if it has to wait.
local function hand_over(from, caller)
  local fence
  if from == 'held' then
    return nil
  end
  local writer = head(WRITERS)
  local reader = head(QUEUE)
  local readers_first = reader and (not writer or from == 'left' or (from == 'free' and reader.came < writer.came))
  if readers_first then
    while reader do
      fence = grant(reader, true, caller) or fence
      reader = head(QUEUE)
    end
  elseif writer and from ~= 'shared' then
    fence = grant(writer, false, caller)
  end
  return fence
end
