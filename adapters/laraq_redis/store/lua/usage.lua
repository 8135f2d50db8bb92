-- What was used of a limit's window, and the milliseconds until the window is over.
-- KEYS: the limit.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window = redis.call('HMGET', KEYS[1], 'used', 'ends_at')
if not window[2] or tonumber(window[2]) <= now then
  return {0, 0}
end
return {tonumber(window[1]), tonumber(window[2]) - now}
