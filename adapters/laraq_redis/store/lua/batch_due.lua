-- Members of a sorted set whose moment, epoch milliseconds of this server, was that long ago; the earliest first.
-- KEYS: the set. ARGV: milliseconds, how many at most.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1], 'LIMIT', 0, ARGV[2])
