-- Count the jobs of one queue. KEYS: reserved, delayed, jobs, state, and the lists.
-- Returns how many are pending (in the lists, or due and not moved there yet), delayed and reserved.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local pending = redis.call('ZCOUNT', KEYS[2], '-inf', now)
for i = 5, #KEYS do
  pending = pending + redis.call('LLEN', KEYS[i])
end
return {pending, redis.call('ZCOUNT', KEYS[2], '(' .. now, '+inf'), redis.call('ZCARD', KEYS[1])}
