-- End a lease and its owner's place in the line, and hand the lock over to the first who waits.
-- ARGV behind those of line.lua: owner, milliseconds for which the next one holds the lock.
-- Returns 1 when the owner still held it, then the next owner and its job.
local owner = ARGV[5]
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now)
local held = redis.call('ZREM', KEYS[5], owner)
redis.call('ZREM', waiting, owner)
redis.call('ZREM', called, owner)
redis.call('HDEL', jobs, owner)
local answer = {held}
local first = redis.call('ZRANGE', waiting, 0, 0)[1]
if held == 1 and first then
  redis.call('ZADD', KEYS[5], now + ARGV[6], first)
  redis.call('PEXPIREAT', KEYS[5], now + ARGV[6])
  take(first, answer)
  look_again(now + look)
end
return answer
