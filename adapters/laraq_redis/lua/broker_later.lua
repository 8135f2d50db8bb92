-- Keep jobs that are not due yet.
-- KEYS: the sequence, then delayed, jobs and state of the queue. ARGV: for each job: milliseconds from now, index of
-- its list, payload.
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local id = math.max(micros, tonumber(redis.call('GET', KEYS[1]) or 0))
for i = 1, #ARGV, 3 do
  id = id + 1
  local name = string.format('%.0f', id)
  redis.call('HSET', KEYS[3], name, ARGV[i + 2])
  redis.call('HSET', KEYS[4], name, '0:0:' .. ARGV[i + 1])
  redis.call('ZADD', KEYS[2], math.floor(micros / 1000) + ARGV[i], name)
end
redis.call('SET', KEYS[1], string.format('%.0f', id))
