-- Gives a vote back on one of several servers. Who leaves tells whoever may come next.
--
-- KEYS  lock fence waiting writers queue readers token
-- ARGV  token, ballot ('' at any), stay ('1' keeps the place in the queue), ms for which the token is
--       refused from here on ('0': it need not be)
-- Answer  {1, 0, 0} it was ours, {0, 0, 0} it was not, or is ours at a higher ballot
--
-- A vote that was given at a higher ballot stays: this request was overtaken by that one.
local token, ballot, stay, refused_ms = unpack(ARGV)
local all = ballot == ''
ballot = tonumber(ballot) or math.huge

local from, holder = state()
local ours = 0
if holder == token and (tonumber(redis.call('GET', FENCE)) or 0) <= ballot then
  redis.call('DEL', LOCK)
  from, ours = 'free', 1
elseif from == 'shared' and redis.call('ZSCORE', READERS, token) then
  if (tonumber(redis.call('GET', KEYS[7])) or 0) <= ballot then
    redis.call('ZREM', READERS, token)
    redis.call('DEL', KEYS[7])
    from, ours = state(), 1
  end
end

local function tell(waiter)
  redis.call('PUBLISH', waiter.inbox, waiter.token .. ' 0 ' .. waiter.stamp)
end

-- Who stays tells nobody: two that step back would tell each other for ever.
if stay ~= '1' and redis.call('EXISTS', WAITING) == 1 then
  forget(token)
  local writer, reader = head(WRITERS), head(QUEUE)
  if from ~= 'held' and reader and not (writer and writer.came < reader.came) then
    local last = writer and text(writer.came) or '+inf'
    for _, waiting in ipairs(redis.call('ZRANGEBYSCORE', QUEUE, '-inf', last)) do
      local waiter = alive(waiting)
      if waiter then
        tell(waiter)
      end
    end
  elseif from == 'free' and writer then
    tell(writer)
  end
end

if all then
  redis.call('DEL', KEYS[7])
end
-- Last, since a server without memory lets a script write only once it has deleted something.
if refused_ms ~= '0' then
  redis.call('SET', KEYS[7], 'gone', 'PX', refused_ms)
end
return {ours, 0, 0}
