-- Take from several limits, all or none. Each is a hash: what was used of its window, and the window's end in epoch
-- milliseconds of this server. The keys expire with their windows, but the end in the hash decides: only one clock
-- is looked at, once.
-- KEYS: the limits. ARGV: maximum, milliseconds and cost of each.
-- Returns 1 when granted, the milliseconds to wait when not, then what is left of each.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local wait, used, ends_at = 0, {}, {}
for i, key in ipairs(KEYS) do
  local maximum, length, cost = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local window = redis.call('HMGET', key, 'used', 'ends_at')
  used[i], ends_at[i] = tonumber(window[1] or 0), tonumber(window[2] or 0)
  if ends_at[i] <= now then
    used[i], ends_at[i] = 0, now - now % length + length
  end
  if used[i] + cost > maximum then
    wait = math.max(wait, ends_at[i] - now)
  end
end
local answer = {wait == 0 and 1 or 0, wait}
for i, key in ipairs(KEYS) do
  if wait == 0 then
    used[i] = used[i] + ARGV[3 * i]
    redis.call('HSET', key, 'used', used[i], 'ends_at', ends_at[i])
    redis.call('PEXPIREAT', key, ends_at[i])
  end
  answer[2 + i] = math.max(ARGV[3 * i - 2] - used[i], 0)
end
return answer
