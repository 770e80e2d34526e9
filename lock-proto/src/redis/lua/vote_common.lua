
-- What the scripts of votes share besides.

-- Lets `token` share the lock for at least `ttl`, at `ballot` if that is given.
local function share(token, ttl, key, ballot)
  local ends = tonumber(redis.call('ZSCORE', READERS, token)) or 0
  redis.call('ZADD', READERS, text(math.max(ends, now_ms() + ttl)), token)
  redis.call('SET', LOCK, SHARED, 'KEEPTTL')
  prolong(LOCK, ttl)
  prolong(READERS, ttl)
  if ballot then
    redis.call('SET', key, ballot, 'KEEPTTL')
  end
  prolong(key, ttl)
end

-- What is known of a waiter, if it is alive.
local function alive(token)
  local entry = redis.call('HGET', WAITING, token) or ''
  local live, stamp, inbox = string.match(entry, '^(%d+) (%d+) %d+ (.*)$')
  if live and tonumber(live) > now_ms() then
    return { token = token, stamp = stamp, inbox = inbox }
  end
end

