-- The usual end of a hold that others wait to have alone, before anything else is set up: what the
-- rest of this script would do, with fewer calls. Whatever is unusual is left to the rest.
local call = redis.call
if ARGV[2] == '0' and call('GET', KEYS[1]) == ARGV[1] and call('EXISTS', KEYS[5], KEYS[6]) == 0 then
  local first = redis.pcall('ZRANGE', KEYS[4], '0', '0')[1]
  local entry = first and first ~= ARGV[1] and redis.pcall('HGET', KEYS[3], first)
  local last = redis.pcall('GET', KEYS[2])
  if type(entry) == 'string' and type(last) ~= 'table' then
    local live, stamp, claim, inbox = string.match(entry, '^(%d+) (%d+) (%d+) (.*)$')
    local time = call('TIME')
    local seconds, micros = time[1], tonumber(time[2])
    local now = seconds * 1000000 + micros
    -- The numbers of one hold, FENCES of common.lua, are now and what follows in this second.
    if live and live * 1000 > now and (tonumber(last) or 0) < now and micros < 999969 then
      -- A server without memory lets a script write only once it has deleted something.
      if call('HDEL', KEYS[3], first, ARGV[1]) == 2 then
        call('ZREM', KEYS[4], ARGV[1])
      end
      call('ZREM', KEYS[4], first)
      call('SET', KEYS[2], seconds .. string.format('%06d', micros + 31))
      call('SET', KEYS[1], first, 'PX', claim)
      call('PUBLISH', inbox, first .. ' ' .. seconds .. string.format('%06d', micros) .. ' ' .. stamp)
      return 1
    end
  end
end
