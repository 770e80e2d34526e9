-- Asks for permits of a semaphore, and stands in the queue for them.
--
-- KEYS  permits fence waiting takers gone
-- ARGV  token, count, limit, ttl ms, wait ('1' or '0'), stamp, claim ms, live ms, inbox
-- Answer  {1, fence, 0}                         they are ours for at least ttl
--         {0, ms until the next permit expires, how many wait before us}
--         {-1, 0, 0}                            the token was given up before
local token, count, limit, ttl, wait, stamp, claim, live, inbox = unpack(ARGV)
count = tonumber(count)
ttl = tonumber(ttl)

if redis.call('EXISTS', KEYS[5]) == 1 then
  return {-1, 0, 0}
end
prune()
if redis.call('ZSCORE', PERMITS, token) then
  forget(token)
  lease(token, count, ttl)
  return {1, mint(), 0}
end

local before = string.match(redis.call('HGET', WAITING, token) or '', '^%d+ (%d+)')
if before and tonumber(before) > tonumber(stamp) then
  stamp = before
end
redis.call('HSET', WAITING, token, table.concat({
  text(now_ms + tonumber(live)), stamp, claim, inbox, text(count), limit
}, ' '))
if not redis.call('ZSCORE', TAKERS, token) then
  local last = redis.call('ZRANGE', TAKERS, '-1', '-1', 'WITHSCORES')[2]
  redis.call('ZADD', TAKERS, text(math.max(now_us, (tonumber(last) or 0) + 1)), token)
end
prolong(WAITING, KEEP_MS)
prolong(TAKERS, KEEP_MS)

local fence = hand_over(token)
if fence then
  lease(token, count, ttl)
  return {1, fence, 0}
end
local ahead = redis.call('ZRANK', TAKERS, token)
if wait == '0' then
  forget(token)
  hand_over()
end
local first = redis.call('ZRANGE', PERMITS, '0', '0', 'WITHSCORES')[2]
return {0, math.max(math.ceil((tonumber(first) or now_ms) - now_ms), 0), ahead}
