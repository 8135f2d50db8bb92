-- Keep messages until they are due. A message that is here already stays as it is.
-- KEYS: due times in epoch milliseconds of this server, messages, counts by queue, names of brokers.
-- ARGV: the broker; then id, milliseconds, queue and text of each message.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV, 4 do
  if redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 3]) == 1 then
    redis.call('ZADD', KEYS[1], now + ARGV[i + 1], ARGV[i])
    redis.call('HINCRBY', KEYS[3], ARGV[i + 2], 1)
  end
end
redis.call('SADD', KEYS[4], ARGV[1])
return 1
