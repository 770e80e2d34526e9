-- The usual place in the queue for a mutex that another holds alone, before anything else is set up:
-- what the rest of this script would do, with fewer calls. Whatever is unusual is left to the rest.
if ARGV[2] == 'x' and ARGV[4] == '1' and redis.call('EXISTS', KEYS[7]) == 0 then
  local token = ARGV[1]
  local holder = redis.call('GET', KEYS[1])
  if holder and holder ~= token and holder ~= 'readers' and not redis.call('HGET', KEYS[3], token) then
    local last = redis.pcall('ZRANGE', KEYS[4], -1, -1, 'WITHSCORES')
    if not last.err and not redis.call('ZSCORE', KEYS[4], token) then
      local time = redis.call('TIME')
      local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
      local live = string.format('%.0f', math.floor(now / 1000) + tonumber(ARGV[7]))
      redis.call('HSET', KEYS[3], token, live .. ' ' .. ARGV[5] .. ' ' .. ARGV[6] .. ' ' .. ARGV[8])
      redis.call('ZADD', KEYS[4], string.format('%.0f', math.max(now, (tonumber(last[2]) or 0) + 1)), token)
      -- KEEP_MS of common.lua: nobody else gives them longer.
      redis.call('PEXPIRE', KEYS[3], '60000')
      redis.call('PEXPIRE', KEYS[4], '60000')
      return {0, math.max(redis.call('PTTL', KEYS[1]), 0), redis.call('ZRANK', KEYS[4], token)}
    end
  end
end
