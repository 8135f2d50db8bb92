-- Give jobs of one queue back.
-- KEYS: reserved, delayed, jobs, state, and the lists, most urgent first.
-- ARGV: 1 when their starts stay counted, then for each lease milliseconds to wait, the payload that takes the place of
-- the one there unless it is empty, id, attempts and reserved_at.
-- Returns the ids of those that were not the caller's and are left alone.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local counted, lost = ARGV[1] == '1', {}
-- Backwards: unused jobs go to the head of their list, the first one last, so that they come out as they went in.
for i = #ARGV - 4, 2, -5 do
  local delay, changed, id = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2]
  local state = redis.call('HGET', KEYS[4], id)
  local used, since, on = string.match(state or '', '^(%d+):(%d+):(%d+)$')
  if used == ARGV[i + 3] and since == ARGV[i + 4] then
    redis.call('ZREM', KEYS[1], id)
    if not counted then used = used - 1 end
    if changed ~= '' then redis.call('HSET', KEYS[3], id, changed) end
    if delay > 0 then
      redis.call('ZADD', KEYS[2], now + delay, id)
      redis.call('HSET', KEYS[4], id, used .. ':0:' .. on)
    else
      local payload = redis.call('HGET', KEYS[3], id)
      redis.call('HDEL', KEYS[3], id)
      redis.call('HDEL', KEYS[4], id)
      if payload then
        redis.call(counted and 'LPUSH' or 'RPUSH', KEYS[5 + on], mark(payload, tonumber(used)))
      end
    end
  else
    lost[#lost + 1] = id
  end
end
return lost
