-- The usual place in the queue for a mutex that another holds alone, before anything else is set up:
-- what the rest of this script would do, with fewer calls. Whatever is unusual is left to the rest.
-- Numbers are written as text, in two parts where they are long, since the server would take twice as
-- long to spell them; and an answer of several parts is avoided, since it is a table each time.
local call = redis.call
if ARGV[2] == 'x' and ARGV[4] == '1' and call('EXISTS', KEYS[7]) == 0 then
  local token, queue = ARGV[1], KEYS[4]
  local holder = call('GET', KEYS[1])
  local before = redis.pcall('ZCARD', queue)
  if holder and holder ~= token and holder ~= 'readers' and type(before) == 'number' then
    local time = call('TIME')
    local place = time[1] .. string.format('%06d', time[2])
    -- Nobody who came before may stand behind, as it could if the clock went back.
    if before == 0 or call('ZCOUNT', queue, place, '+inf') == 0 then
      local live = math.floor(time[2] / 1000) + ARGV[7]
      live = string.format('%d%03d', time[1] + math.floor(live / 1000), live % 1000)
      local entry = live .. ' ' .. ARGV[5] .. ' ' .. ARGV[6] .. ' ' .. ARGV[8]
      if call('HSETNX', KEYS[3], token, entry) == 1 then
        local placed = call('ZADD', queue, 'NX', place, token)
        -- `keep` of common.lua.
        if math.min(call('PTTL', KEYS[3]), call('PTTL', queue)) < 30000 then
          call('PEXPIRE', KEYS[3], '60000')
          call('PEXPIRE', queue, '60000')
        end
        if before > 0 and (placed == 1 or call('ZRANK', queue, token) > 0) then
          return 0
        end
        return {0, math.max(call('PTTL', KEYS[1]), 0)}
      end
    end
  end
end
