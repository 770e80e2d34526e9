-- Asks for a mutex or one side of a reader-writer lock, and stands in the queue for it.
--
-- KEYS  lock fence waiting writers queue readers gone
-- ARGV  token, side ('x' alone, 's' shared), ttl ms, wait ('1' or '0'), stamp, claim ms, live ms, inbox
-- Answer  {1, fence}                       it is ours for at least ttl
--         {0, ms until the lock expires}   it is not, and nobody waits before us
--         0                                it is not, and somebody waits before us
--         -1                               the token was given up before
--
-- Asking again with the same token keeps the place, and answers yes if it is ours by now.
local token, side, ttl, wait, stamp, claim, live, inbox = unpack(ARGV)
ttl = tonumber(ttl)

if redis.call('EXISTS', KEYS[7]) == 1 then
  return -1
end

local function claim_ttl()
  prolong(LOCK, ttl)
  if side == 's' then
    local ends = tonumber(redis.call('ZSCORE', READERS, token)) or 0
    redis.call('ZADD', READERS, text(math.max(ends, now_ms() + ttl)), token)
    prolong(READERS, ttl)
  end
end

local from, holder = state()
if holder == token or (from == 'shared' and redis.call('ZSCORE', READERS, token)) then
  forget(token)
  claim_ttl()
  return {1, mint(side == 'x' and FENCES or 1)}
end

local line = side == 'x' and WRITERS or QUEUE
enqueue(line, token, stamp, claim, tonumber(live), inbox)
local fence = hand_over(from, token)
if fence then
  claim_ttl()
  return {1, fence}
end
local first = redis.call('ZRANK', line, token) == 0
if wait == '0' then
  forget(token)
end
return first and {0, remaining()} or 0
