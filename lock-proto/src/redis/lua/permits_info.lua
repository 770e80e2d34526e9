-- Who holds permits of a semaphore. Changes nothing.
--
-- KEYS  permits fence waiting takers
-- Answer  {fence or 0, how many wait, 0, '', then for each permit its holder's token and the ms
--          that its lease still runs}
local waiters = 0
for _, entry in ipairs(redis.call('HVALS', WAITING)) do
  local live = string.match(entry, '^(%d+)')
  if live and tonumber(live) > now_ms then
    waiters = waiters + 1
  end
end
local answer = { tonumber(redis.call('GET', FENCE)) or 0, waiters, 0, '' }
local permits = redis.call('ZRANGEBYSCORE', PERMITS, '(' .. moment(now_ms), '+inf', 'WITHSCORES')
for i = 1, #permits, 2 do
  answer[#answer + 1] = permits[i]
  answer[#answer + 1] = math.ceil(tonumber(permits[i + 1]) - now_ms)
end
return answer
