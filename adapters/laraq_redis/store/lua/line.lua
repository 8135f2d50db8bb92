-- The start of call.lua, park.lua and free.lua: one line of parked jobs.
-- KEYS: those who wait, by their place; those who were called, by the moment to call them again; all of them, each as its
-- place, its demands and its message on a line each; the lines of this home, by the moment they are due; then the lock,
-- or the limits. Moments are epoch milliseconds of this server, places microseconds.
-- ARGV: the name of the line, `lock` or `limits`, milliseconds until the next look at a lock, and to the next call.
local waiting, called, jobs, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local line, kind, look, call_again = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function take(owner, answer)
  redis.call('ZREM', waiting, owner)
  redis.call('ZADD', called, now + call_again, owner)
  table.insert(answer, owner)
  table.insert(answer, redis.call('HGET', jobs, owner))
end

-- Take as many of the first as the windows have room for. Returns the moment to look again.
local function take_by_limits(answer)
  local used, ends_at = {}, {}
  for i = 5, #KEYS do
    local window = redis.call('HMGET', KEYS[i], 'used', 'ends_at')
    used[i], ends_at[i] = tonumber(window[1] or 0), tonumber(window[2] or 0)
    if ends_at[i] <= now then
      used[i] = 0
    end
  end
  while true do
    local owner = redis.call('ZRANGE', waiting, 0, 0)[1]
    if not owner then
      return now + look
    end
    local demands = cjson.decode(string.match(redis.call('HGET', jobs, owner), '^%d+\n([^\n]*)'))
    local opens_at = 0
    for i, demand in ipairs(demands) do
      local maximum, length, cost = unpack(demand)
      if used[4 + i] + cost > maximum then
        opens_at = math.max(opens_at, ends_at[4 + i] > now and ends_at[4 + i] or now - now % length + length)
      end
    end
    if opens_at > 0 then
      return opens_at
    end
    for i, demand in ipairs(demands) do
      used[4 + i] = used[4 + i] + demand[3]
    end
    take(owner, answer)
  end
end

local function look_again(at)
  local again = redis.call('ZRANGE', called, 0, 0, 'WITHSCORES')[2]
  if again or redis.call('ZCARD', waiting) > 0 then
    redis.call('ZADD', due, math.min(at, tonumber(again or at)), line)
  else
    redis.call('ZREM', due, line)
  end
end

-- Call whom nothing stands in the way of. Returns owners and jobs in turn.
local function call()
  local answer = {}
  if tonumber(redis.call('ZSCORE', due, line) or 0) > now then
    return answer
  end
  for _, owner in ipairs(redis.call('ZRANGEBYSCORE', called, '-inf', now)) do
    take(owner, answer)
  end
  local at = now + look
  if kind == 'limits' then
    at = take_by_limits(answer)
  else
    redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now)
    local owner = redis.call('ZRANGE', waiting, 0, 0)[1]
    local lease = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')[2]
    if lease then
      at = math.min(at, tonumber(lease))
    elseif owner then
      take(owner, answer)
    end
  end
  look_again(at)
  return answer
end
