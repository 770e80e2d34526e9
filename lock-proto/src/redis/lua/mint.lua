-- Mints a fencing token for the holder of a mutex.
--
-- KEYS  lock fence waiting writers queue readers
-- ARGV  token
-- Answer  fence, or 0 if the lock is not ours
if redis.call('GET', LOCK) ~= ARGV[1] then
  return 0
end
return mint(1)
