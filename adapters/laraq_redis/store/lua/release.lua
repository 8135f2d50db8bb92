-- Free a lock that its owner still holds; 1 when it did.
-- KEYS: the lock. ARGV: owner.
local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time[1] * 1000 + math.floor(time[2] / 1000))
return redis.call('ZREM', KEYS[1], ARGV[1])
