-- Gives a mutex or one side of a reader-writer lock back, held or waited for, and hands it on.
--
-- KEYS  lock fence waiting writers queue readers [gone]
-- ARGV  token, ms for which the token is refused from here on ('0': it need not be)
-- Answer  1 it was ours, 0 it was not
--
-- Afterwards the token neither holds nor waits.
local token, refused_ms = unpack(ARGV)

local value = redis.call('GET', LOCK)
local ours = 0
if value == token then
  -- Readers may still be listed if somebody deleted the lock under them.
  redis.call('DEL', LOCK, READERS)
  ours = 1
elseif value == SHARED then
  ours = redis.call('ZREM', READERS, token)
end
if redis.call('EXISTS', WAITING) == 1 then
  forget(token)
  hand_over(value == token and 'left' or state())
elseif ours == 1 and value == SHARED then
  state()
end
-- Last, since a server without memory lets a script write only once it has deleted something.
if refused_ms ~= '0' then
  redis.call('SET', KEYS[7], '1', 'PX', refused_ms)
end
return ours
