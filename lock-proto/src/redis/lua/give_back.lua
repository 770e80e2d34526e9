-- Gives a mutex back that nobody waits for: what is usual costs the server little.
--
-- KEYS  lock waiting
-- ARGV  token, which has never stood in the queue
-- Answer  1 it was ours, 0 it was not, 2 somebody waits: nothing was done, and release.lua is to be asked
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 2
end
return redis.call('DEL', KEYS[1])
