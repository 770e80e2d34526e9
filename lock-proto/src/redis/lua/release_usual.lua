-- The usual end of a hold that others wait to have alone, before anything else is set up: what the
-- rest of this script would do, with fewer calls. Whatever is unusual is left to the rest.
if ARGV[2] == '0' and redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('EXISTS', KEYS[5], KEYS[6]) == 0 then
  local first = redis.pcall('ZRANGE', KEYS[4], '0', '0')[1]
  local entry = first and first ~= ARGV[1] and redis.pcall('HGET', KEYS[3], first)
  local last = redis.pcall('GET', KEYS[2])
  if type(entry) == 'string' and type(last) ~= 'table' then
    local live, stamp, claim, inbox = string.match(entry, '^(%d+) (%d+) (%d+) (.*)$')
    local time = redis.call('TIME')
    local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
    if live and tonumber(live) > math.floor(now / 1000) then
      -- A server without memory lets a script write only once it has deleted something.
      if redis.call('HDEL', KEYS[3], first, ARGV[1]) == 2 then
        redis.call('ZREM', KEYS[4], ARGV[1])
      end
      redis.call('ZREM', KEYS[4], first)
      local fence = math.max((tonumber(last) or 0) + 1, now)
      -- The numbers of one hold: FENCES of common.lua.
      redis.call('SET', KEYS[2], string.format('%.0f', fence + 31))
      redis.call('SET', KEYS[1], first, 'PX', claim)
      redis.call('PUBLISH', inbox, first .. ' ' .. string.format('%.0f', fence) .. ' ' .. stamp)
      return {1}
    end
  end
end
