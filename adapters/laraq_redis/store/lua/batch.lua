-- What the scripts of batches share; read before each of them.
-- Keys of a batch: KEYS[1] hash of its counts, KEYS[2] hash of its members, each `state place load`, KEYS[3] sorted set
-- of finished batches that are not closed, KEYS[4] sorted set of the ends of loads, each `[batch, load]`. Scores and
-- times are epoch milliseconds of this server. A load under way is also a field `load:` with its number.

local function now()
  local time = redis.call('TIME')
  return string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end

-- The counts of the batch in the order of `_TALLY`, empty for none.
local function counts()
  local found = redis.call('HMGET', KEYS[1], 'total', 'done', 'failed', 'dropped', 'loads', 'allow_failures', 'wants',
    'sent', 'closed', 'cancelled_at', 'finished_at')
  for i, value in ipairs(found) do
    found[i] = value or ''
  end
  return found
end

-- The same as one text, a line each: a client reads one value faster than many.
local function tally()
  return table.concat(counts(), '\n')
end

local function count(name, by)
  redis.call('HINCRBY', KEYS[1], name, by)
end

local function begin_load(id, load, milliseconds)
  if redis.call('HEXISTS', KEYS[1], 'load:' .. load) == 0 then
    redis.call('HSET', KEYS[1], 'load:' .. load, redis.call('HINCRBY', KEYS[1], 'loads_begun', 1))
    count('loads', 1)
  end
  redis.call('ZADD', KEYS[4], now() + milliseconds, cjson.encode({id, load}))
  return redis.call('HGET', KEYS[1], 'load:' .. load)
end

-- Make ARGV[first], ARGV[first + 1], ... members.
local function join(load_number, first)
  local place, new = tonumber(redis.call('HGET', KEYS[1], 'places')), 0
  for i = first, #ARGV do
    new = new + redis.call('HSETNX', KEYS[2], ARGV[i], 'pending ' .. place + i - first .. ' ' .. load_number)
  end
  count('places', #ARGV - first + 1)
  count('total', new)
end

-- What follows from a change: whether the batch is finished. Every job comes through here, so no command is in vain.
local function changed(id)
  local c = counts()
  if c[9] ~= '' then
    redis.call('HDEL', KEYS[1], 'closed')
    c[9] = ''
  end
  if tonumber(c[5]) == 0 and tonumber(c[1]) == c[2] + c[3] + c[4] then
    if c[11] == '' then
      c[11] = now()
      redis.call('HSET', KEYS[1], 'finished_at', c[11])
    end
    redis.call('ZADD', KEYS[3], c[11], id)
  elseif c[11] ~= '' then
    redis.call('HDEL', KEYS[1], 'finished_at')
    redis.call('ZREM', KEYS[3], id)
    c[11] = ''
  end
  return table.concat(c, '\n')
end
