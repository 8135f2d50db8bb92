-- Delete the acknowledged jobs, then reserve up to `limit` jobs, an earlier queue before a later one.
-- KEYS: the sequence; then for each queue: reserved, delayed, jobs, state, and its lists, most urgent first.
-- ARGV: milliseconds of a lease (0: hand out without one), limit, how many of the queues to reserve from, lists per
--       queue; then for each queue with acknowledgements: its index from 0, how many, their ids.
-- Returns this server's time in microseconds; the earliest due time or lease end of these queues in milliseconds,
-- '' when unknown; 'index:id:attempts:length of its payload' of each job, with spaces between; all payloads, one behind
-- the other, since a client reads one value faster than many.

--- Due jobs moved to their lists in one step: bounds its latency.
local PROMOTED = 100

-- At its memory limit Redis refuses a script that begins with a growing write, but lets one that has begun with
-- another finish, and workers must be able to drain a full server.
redis.call('ZREM', KEYS[2], '')

local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local now, stamp = math.floor(micros / 1000), string.format('%.0f', micros)
local lease, limit, queues, levels = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local at = 5
while ARGV[at] do
  local first, last = at + 2, at + 1 + ARGV[at + 1]
  local key = 2 + ARGV[at] * (4 + levels)
  redis.call('ZREM', KEYS[key], unpack(ARGV, first, last))
  redis.call('HDEL', KEYS[key + 2], unpack(ARGV, first, last))
  redis.call('HDEL', KEYS[key + 3], unpack(ARGV, first, last))
  at = last + 1
end

local first_due, told, sent = '', {}, {}
local left, more = limit, false

-- ids, payloads, attempts and levels of jobs that begin a lease now
local function hand_out(index, key, ids, payloads, attempts, level)
  local scores, jobs, states = {}, {}, {}
  for i, id in ipairs(ids) do
    told[#told + 1] = index .. ':' .. id .. ':' .. attempts[i] .. ':' .. #payloads[i]
    sent[#sent + 1] = payloads[i]
    scores[2 * i - 1], scores[2 * i] = now + lease, id
    jobs[2 * i - 1], jobs[2 * i] = id, payloads[i]
    states[2 * i - 1], states[2 * i] = id, attempts[i] .. ':' .. stamp .. ':' .. level[i]
  end
  left = left - #ids
  return scores, jobs, states
end

local function lease_again(index, key)
  local ended = redis.call('ZRANGEBYSCORE', KEYS[key], '-inf', now, 'LIMIT', 0, left)
  if #ended == 0 then return end
  local found, known = redis.call('HMGET', KEYS[key + 2], unpack(ended)), redis.call('HMGET', KEYS[key + 3], unpack(ended))
  local ids, payloads, attempts, level = {}, {}, {}, {}
  for i, id in ipairs(ended) do
    if found[i] and known[i] then
      local used, _, on = string.match(known[i], '^(%d+):(%d+):(%d+)$')
      ids[#ids + 1], payloads[#payloads + 1] = id, found[i]
      attempts[#attempts + 1], level[#level + 1] = used + 1, on
    else
      redis.call('ZREM', KEYS[key], id) -- somebody deleted a key of ours by hand
    end
  end
  if #ids == 0 then return end
  local scores, _, states = hand_out(index, key, ids, payloads, attempts, level)
  if lease > 0 then
    redis.call('ZADD', KEYS[key], unpack(scores))
    redis.call('HSET', KEYS[key + 3], unpack(states))
  else
    redis.call('ZREM', KEYS[key], unpack(ids))
    redis.call('HDEL', KEYS[key + 2], unpack(ids))
    redis.call('HDEL', KEYS[key + 3], unpack(ids))
  end
end

local function promote(key)
  local due = redis.call('ZRANGEBYSCORE', KEYS[key + 1], '-inf', now, 'LIMIT', 0, PROMOTED)
  if #due == 0 then return end
  more = more or #due == PROMOTED
  local found, known = redis.call('HMGET', KEYS[key + 2], unpack(due)), redis.call('HMGET', KEYS[key + 3], unpack(due))
  for i = 1, #due do
    if found[i] and known[i] then
      local used, _, on = string.match(known[i], '^(%d+):(%d+):(%d+)$')
      redis.call('LPUSH', KEYS[key + 4 + on], mark(found[i], tonumber(used)))
    end
  end
  redis.call('ZREM', KEYS[key + 1], unpack(due))
  redis.call('HDEL', KEYS[key + 2], unpack(due))
  redis.call('HDEL', KEYS[key + 3], unpack(due))
end

local function pop(index, key, on)
  local items = redis.call('RPOP', KEYS[key + 4 + on], left)
  if not items or #items == 0 then return end
  -- By the clock, so that ids do not come again after a restart that lost the last seconds: an acknowledgement from
  -- before it would delete a stranger.
  local id = math.max(micros, tonumber(redis.call('GET', KEYS[1]) or 0))
  local ids, payloads, attempts, level = {}, {}, {}, {}
  for i, item in ipairs(items) do
    local payload, used = unmark(item)
    ids[i], payloads[i] = string.format('%.0f', id + i), payload
    attempts[i], level[i] = used + 1, on
  end
  local scores, jobs, states = hand_out(index, key, ids, payloads, attempts, level)
  if lease > 0 then
    redis.call('SET', KEYS[1], ids[#ids])
    redis.call('ZADD', KEYS[key], unpack(scores))
    redis.call('HSET', KEYS[key + 2], unpack(jobs))
    redis.call('HSET', KEYS[key + 3], unpack(states))
  end
end

for index = 0, queues - 1 do
  if left <= 0 then break end
  local key = 2 + index * (4 + levels)
  promote(key)
  lease_again(index, key)
  for on = 0, levels - 1 do
    if left > 0 then pop(index, key, on) end
  end
end

if left > 0 and limit > 0 then
  local first = more and now or nil
  for index = 0, queues - 1 do
    local key = 2 + index * (4 + levels)
    for _, set in ipairs({KEYS[key], KEYS[key + 1]}) do
      local head = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
      if head[2] and (not first or tonumber(head[2]) < first) then first = tonumber(head[2]) end
    end
  end
  first_due = first and string.format('%.0f', first) or ''
end
return {micros, first_due, table.concat(told, ' '), table.concat(sent)}
