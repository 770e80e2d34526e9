-- Prolongs a held mutex or one side of a reader-writer lock. Never shortens a lease, never takes a
-- lock that is not ours.
--
-- KEYS  lock fence waiting writers queue readers
-- ARGV  token, ttl ms
-- Answer  1 it is ours for at least ttl, 0 it is not ours
local token, ttl = ARGV[1], tonumber(ARGV[2])

local from, holder = state()
if holder == token then
  prolong(LOCK, ttl)
  return 1
end
local ends = from == 'shared' and tonumber(redis.call('ZSCORE', READERS, token))
if ends then
  redis.call('ZADD', READERS, text(math.max(ends, now_ms() + ttl)), token)
  prolong(LOCK, ttl)
  prolong(READERS, ttl)
  return 1
end
return 0
