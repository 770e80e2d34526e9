-- Asks one of several servers for its vote, and stands in the queue for the next.
--
-- KEYS  lock fence waiting writers queue readers token
-- ARGV  token, side ('x' alone, 's' shared), ballot, ttl ms, wait ('1' or '0'), came µs, live ms, inbox
-- Answer  {1, ballot, highest ballot}   it is ours for at least ttl at that ballot; at 0: at none
--                                       that may be counted
--         {0, 1 or 0, highest ballot}   it is not; 1: somebody is before us, 0: only a higher
--                                       ballot is
--         {-1, 0, 0}                    the token was given up before
--
-- The fence is the highest ballot that was ever granted. A waiter's place is when it came, by its
-- own clock, so that all servers agree on it. `token` says 'gone', or at which ballot we share it.
local token, side, ballot, ttl, wait, came, live, inbox = unpack(ARGV)
ballot, ttl, came = tonumber(ballot), tonumber(ttl), tonumber(came)

if redis.call('GET', KEYS[7]) == 'gone' then
  return {-1, 0, 0}
end
local highest = tonumber(redis.call('GET', FENCE)) or 0
local rises = ballot > highest

local function cast()
  if rises then
    highest = ballot
    redis.call('SET', FENCE, text(ballot))
  end
end

local from, holder = state()
if holder == token then
  cast()
  prolong(LOCK, ttl)
  return {1, highest, highest}
end
if from == 'shared' and redis.call('ZSCORE', READERS, token) then
  cast()
  share(token, ttl, KEYS[7], rises and text(ballot))
  return {1, rises and ballot or 0, highest}
end

local function before_us(queue)
  local first = head(queue)
  return first and first.token ~= token and first.came < came
end

local blocked = from == 'held' or (from == 'shared' and side == 'x')
if not blocked and redis.call('EXISTS', WAITING) == 1 then
  blocked = before_us(WRITERS) or (side == 'x' and before_us(QUEUE))
end
if rises and not blocked then
  cast()
  if side == 'x' then
    redis.call('SET', LOCK, token, 'PX', text(ttl))
  else
    share(token, ttl, KEYS[7], text(ballot))
  end
  return {1, ballot, ballot}
end
if wait == '1' then
  local entry = { text(now_ms() + tonumber(live)), text(came), '0', inbox }
  redis.call('HSET', WAITING, token, table.concat(entry, ' '))
  local queue = side == 'x' and WRITERS or QUEUE
  redis.call('ZADD', queue, text(came), token)
  prolong(WAITING, KEEP_MS)
  prolong(queue, KEEP_MS)
end
return {0, blocked and 1 or 0, highest}
