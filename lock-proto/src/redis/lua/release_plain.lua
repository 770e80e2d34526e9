-- A mutex that nobody waits for, before anything else is set up: the common case costs the server
-- a quarter less so.
if ARGV[2] == '0' and redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('DEL', KEYS[1], KEYS[6])
  return {1}
end
