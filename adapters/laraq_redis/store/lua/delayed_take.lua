-- Hand out due messages by making them due again later, in case they are not forgotten by then.
-- KEYS: due times, messages. ARGV: how many, milliseconds until they are handed out again.
-- Returns the milliseconds until the next one is due, -1 when there is none, and ids and texts in turn.
redis.call('ZREM', KEYS[1], '') -- as in even_when_full.lua
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  redis.call('ZADD', KEYS[1], now + ARGV[2], id)
  found[#found + 1] = id
  found[#found + 1] = redis.call('HGET', KEYS[2], id)
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {first[2] and math.max(first[2] - now, 0) or -1, found}
