-- A mutex that nobody holds, shares or waits for, before anything else is set up: the common case
-- costs the server a third less so.
if ARGV[2] == 'x' and redis.call('EXISTS', KEYS[1], KEYS[3], KEYS[6], KEYS[7]) == 0 then
  local ballot = tonumber(ARGV[3])
  -- A server without memory lets a script write only once it has deleted something, as the rest does.
  if ballot > (tonumber(redis.call('GET', KEYS[2])) or 0) and not redis.pcall('SET', KEYS[2], ARGV[3]).err then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[4])
    return {1, ballot, ballot}
  end
end
