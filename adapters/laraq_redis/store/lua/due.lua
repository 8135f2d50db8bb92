-- The lines of a home that are due. Returns the milliseconds until another one is, -1 when none is, then the lines.
-- KEYS: the lines of the home. ARGV: how many.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lines = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
local next = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
table.insert(lines, 1, next and next - now or -1)
return lines
