-- The owner whose lease ends last, or nothing when every lease is over.
-- KEYS: the lock.
local time = redis.call('TIME')
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if last[2] and tonumber(last[2]) > time[1] * 1000 + math.floor(time[2] / 1000) then
  return last[1]
end
return false
