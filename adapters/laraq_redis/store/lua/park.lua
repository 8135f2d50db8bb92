-- Keep a job in the place it had or has, else at the end; then call.
-- ARGV behind those of line.lua: owner, place or 0, demands, message.
local owner, since = ARGV[5], tonumber(ARGV[6])
redis.call('ZREM', called, owner)
since = tonumber(redis.call('ZSCORE', waiting, owner) or (since > 0 and since or time[1] * 1000000 + time[2]))
redis.call('ZADD', waiting, since, owner)
redis.call('HSET', jobs, owner, string.format('%.0f', since) .. '\n' .. ARGV[7] .. '\n' .. ARGV[8])
return call()
