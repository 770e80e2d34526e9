-- Gives permits of a semaphore back, held or waited for, and hands them on.
--
-- KEYS  permits fence waiting takers [gone]
-- ARGV  token, count, ms for which the token is refused from here on ('0': it need not be)
-- Answer  1 they were ours, 0 they were not
--
-- Afterwards the token neither holds nor waits.
local token, count, refused_ms = unpack(ARGV)

local ours = 0
for number = 1, tonumber(count) do
  ours = math.max(ours, redis.call('ZREM', PERMITS, member(token, number)))
end
if redis.call('EXISTS', WAITING) == 1 then
  forget(token)
  prune()
  hand_over()
end
-- Last, since a server without memory lets a script write only once it has deleted something.
if refused_ms ~= '0' then
  redis.call('SET', KEYS[5], '1', 'PX', refused_ms)
end
return ours
