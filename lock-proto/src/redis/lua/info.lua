-- Who holds a mutex or a reader-writer lock. Changes nothing.
--
-- KEYS  lock fence waiting writers queue readers
-- Answer  {fence or 0, how many wait, ms the lock still runs (-1: for ever), token or '',
--          then for each reader its token and the ms that its lease still runs}
local waiters = 0
for _, entry in ipairs(redis.call('HVALS', WAITING)) do
  local live = string.match(entry, '^(%d+)')
  if live and tonumber(live) > now_ms() then
    waiters = waiters + 1
  end
end
local value = redis.call('GET', LOCK) or ''
local answer = { tonumber(redis.call('GET', FENCE)) or 0, waiters, redis.call('PTTL', LOCK), value }
if value == SHARED then
  answer[4] = ''
  local readers = redis.call('ZRANGEBYSCORE', READERS, '(' .. text(now_ms()), '+inf', 'WITHSCORES')
  for i = 1, #readers, 2 do
    answer[#answer + 1] = readers[i]
    answer[#answer + 1] = tonumber(readers[i + 1]) - now_ms()
  end
end
return answer
