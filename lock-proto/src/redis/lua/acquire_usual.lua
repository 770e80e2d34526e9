-- The usual place in the queue for a mutex that another holds alone, before anything else is set up:
-- what the rest of this script would do, with fewer calls. Whatever is unusual is left to the rest.
-- Numbers are written as text, since the server would have to spell them, and answers of several
-- parts are avoided, since it would have to make a table of each.
if ARGV[2] == 'x' and ARGV[4] == '1' and redis.call('EXISTS', KEYS[7]) == 0 then
  local token = ARGV[1]
  local holder = redis.call('GET', KEYS[1])
  local before = redis.pcall('ZCARD', KEYS[4])
  if holder and holder ~= token and holder ~= 'readers' and type(before) == 'number' then
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local place = string.format('%.0f', now)
    -- Nobody who came before may stand behind, as it could if the clock went back.
    if before == 0 or redis.call('ZCOUNT', KEYS[4], place, '+inf') == 0 then
      local live = string.format('%.0f', math.floor(now / 1000) + ARGV[7])
      local entry = live .. ' ' .. ARGV[5] .. ' ' .. ARGV[6] .. ' ' .. ARGV[8]
      if redis.call('HSETNX', KEYS[3], token, entry) == 1 then
        local placed = redis.call('ZADD', KEYS[4], 'NX', place, token)
        -- KEEP_MS of common.lua: nobody else gives them longer.
        redis.call('PEXPIRE', KEYS[3], '60000')
        redis.call('PEXPIRE', KEYS[4], '60000')
        if before > 0 and (placed == 1 or redis.call('ZRANK', KEYS[4], token) > 0) then
          return {0, 0, 1}
        end
        return {0, math.max(redis.call('PTTL', KEYS[1]), 0), 0}
      end
    end
  end
end
