-- End every lease on a lock; 1 when there was one.
-- KEYS: the lock.
local time = redis.call('TIME')
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('DEL', KEYS[1])
return last[2] and tonumber(last[2]) > time[1] * 1000 + math.floor(time[2] / 1000) and 1 or 0
