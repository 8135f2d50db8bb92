-- Drop messages, and push texts onto lists for those that were here.
-- KEYS: due times, messages, counts by queue, then the lists.
-- ARGV: of each message its id and how many pushes, then of each push the number of its list among KEYS and the text.
-- Returns how many messages were here.
local moved, i = 0, 1
while i <= #ARGV do
  local text = redis.call('HGET', KEYS[2], ARGV[i])
  if text then
    moved = moved + 1
    redis.call('ZREM', KEYS[1], ARGV[i])
    redis.call('HDEL', KEYS[2], ARGV[i])
    local length = string.match(text, '^%d+')
    local queue = string.sub(text, #length + 2, #length + 1 + length)
    if redis.call('HINCRBY', KEYS[3], queue, -1) <= 0 then
      redis.call('HDEL', KEYS[3], queue)
    end
    for push = 1, ARGV[i + 1] do
      redis.call('LPUSH', KEYS[tonumber(ARGV[i + 2 * push])], ARGV[i + 2 * push + 1])
    end
  end
  i = i + 2 + 2 * ARGV[i + 1]
end
return moved
