-- Let leases of one queue run for another while, by this server's clock.
-- KEYS: reserved and state of the queue. ARGV: milliseconds, then id, attempts and reserved_at of each lease.
-- Returns the ids of those that are no longer the caller's.
redis.call('ZREM', KEYS[1], '') -- as in even_when_full.lua
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local lost = {}
for i = 2, #ARGV, 3 do
  local state = redis.call('HGET', KEYS[2], ARGV[i])
  if state and string.match(state, '^%d+:%d+:') == ARGV[i + 1] .. ':' .. ARGV[i + 2] .. ':' then
    redis.call('ZADD', KEYS[1], 'XX', ends, ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
