-- Prolongs on one of several servers what is held, and takes what is missing there. Never shortens
-- a lease, never takes what is another's.
--
-- KEYS  lock fence waiting writers queue readers token
-- ARGV  token, side ('x' alone, 's' shared), ballot, ttl ms
-- Answer  {1, 0, highest ballot}   it is ours for at least ttl
--         {0, 1, highest ballot}   it is another's
--         {-1, 0, 0}               the token was given up before
local token, side, ballot, ttl = unpack(ARGV)
ballot, ttl = tonumber(ballot), tonumber(ttl)

if redis.call('GET', KEYS[7]) == 'gone' then
  return {-1, 0, 0}
end
local highest = tonumber(redis.call('GET', FENCE)) or 0
local from, holder = state()
if holder ~= token and (from == 'held' or (from == 'shared' and side == 'x')) then
  return {0, 1, highest}
end

-- What is held comes first: a server without memory lets a script write only once it has changed
-- something that needs none.
if holder == token then
  prolong(LOCK, ttl)
elseif side == 's' then
  share(token, ttl, KEYS[7], text(ballot))
else
  redis.call('SET', LOCK, token, 'PX', text(ttl))
end
if ballot > highest then
  highest = ballot
  redis.call('SET', FENCE, text(ballot))
end
if redis.call('EXISTS', WAITING) == 1 then
  forget(token)
end
return {1, 0, highest}
