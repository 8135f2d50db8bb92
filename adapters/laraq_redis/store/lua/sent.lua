-- Forget jobs that were called, unless they were parked anew since.
-- KEYS: as in line.lua, without the last. ARGV: the name of the line, owners.
for i = 2, #ARGV do
  if redis.call('ZREM', KEYS[2], ARGV[i]) == 1 then
    redis.call('HDEL', KEYS[3], ARGV[i])
  end
end
if redis.call('ZCARD', KEYS[1]) + redis.call('ZCARD', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[4], ARGV[1])
end
