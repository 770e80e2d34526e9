-- Prolongs held permits of a semaphore. Never shortens a lease, never takes a permit back.
--
-- KEYS  permits fence waiting takers
-- ARGV  token, count, ttl ms
-- Answer  1 they are ours for at least ttl, 0 not all of them are ours
local token, count, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

prune()
for number = 1, count do
  if not redis.call('ZSCORE', PERMITS, member(token, number)) then
    return 0
  end
end
lease(token, count, ttl)
return 1
