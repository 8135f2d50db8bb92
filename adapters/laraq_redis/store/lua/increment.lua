-- Add to a count whose end is fixed when it starts. Returns the count and the milliseconds it still lives.
-- KEYS: the count. ARGV: amount, milliseconds.
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {count, redis.call('PTTL', KEYS[1])}
