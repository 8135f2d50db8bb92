-- One change of one batch: what `laraq.messages.tally` says of a Tally, in the terms of Redis.
-- KEYS: hash of its counts; hash of its members, each `state place load`; sorted set of finished batches that are not
-- closed; sorted set of the ends of loads, each `[batch, load]`; for `create` batches by their creation. Scores and times
-- are epoch milliseconds of this server. A load under way is also a field `load:` with its number.
-- ARGV: the change, the batch, then what the change says. Returns false when there is no such batch.
local id = ARGV[2]
local total, done, failed, dropped, loads, allow_failures, wants, sent, closed, cancelled_at, finished_at, places =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
local NAMES = {'total', 'done', 'failed', 'dropped', 'loads', 'allow_failures', 'wants', 'sent', 'closed', 'cancelled_at',
  'finished_at', 'places'}
local batch, change = nil, {}

-- One moment for the whole script: where a batch is found by its creation it is the moment that the batch tells.
local moment = nil
local function now()
  if not moment then
    local time = redis.call('TIME')
    moment = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
  end
  return moment
end

local function read()
  batch = redis.call('HMGET', KEYS[1], unpack(NAMES))
  for i = closed, finished_at do
    batch[i] = batch[i] or ''
  end
  return batch[total]
end

-- One text, a line each and empty for none: a client reads one value faster than many.
local function tally()
  return table.concat(batch, '\n', total, finished_at)
end

-- As `tally.changed`. Every job comes through here, so no command is in vain.
local function changed()
  if batch[closed] ~= '' then
    redis.call('HDEL', KEYS[1], 'closed')
    batch[closed] = ''
  end
  if tonumber(batch[loads]) == 0 and tonumber(batch[total]) == batch[done] + batch[failed] + batch[dropped] then
    if batch[finished_at] == '' then
      batch[finished_at] = now()
      redis.call('HSET', KEYS[1], 'finished_at', batch[finished_at])
    end
    redis.call('ZADD', KEYS[3], batch[finished_at], id)
  elseif batch[finished_at] ~= '' then
    redis.call('HDEL', KEYS[1], 'finished_at')
    redis.call('ZREM', KEYS[3], id)
    batch[finished_at] = ''
  end
  return tally()
end

local function count(field, by)
  if by ~= 0 then
    batch[field] = redis.call('HINCRBY', KEYS[1], NAMES[field], by)
  end
end

local function cancel()
  if batch[cancelled_at] == '' then
    batch[cancelled_at] = now()
    redis.call('HSET', KEYS[1], 'cancelled_at', batch[cancelled_at])
  end
end

-- Begin or continue a load, and make ARGV[first], ARGV[first + 1], ... members. ARGV: load, milliseconds.
local function load(first)
  local field, new = 'load:' .. ARGV[3], 0
  if redis.call('HEXISTS', KEYS[1], field) == 0 then
    redis.call('HSET', KEYS[1], field, redis.call('HINCRBY', KEYS[1], 'loads_begun', 1))
    count(loads, 1)
  end
  redis.call('ZADD', KEYS[4], now() + ARGV[4], cjson.encode({id, ARGV[3]}))
  local number = redis.call('HGET', KEYS[1], field)
  for i = first, #ARGV do
    new = new + redis.call('HSETNX', KEYS[2], ARGV[i], 'pending ' .. batch[places] + i - first .. ' ' .. number)
  end
  count(places, #ARGV - first + 1)
  count(total, new)
end

-- A new batch with its first load; one that is known stays. ARGV: load, milliseconds, name, options, allow_failures,
-- wants, sent, jobs.
function change.create()
  if not read() then
    redis.call('HSET', KEYS[1], 'name', ARGV[5], 'options', ARGV[6], 'allow_failures', ARGV[7], 'wants', ARGV[8],
      'sent', ARGV[9], 'created_at', now(), 'total', 0, 'done', 0, 'failed', 0, 'dropped', 0, 'loads', 0, 'places', 0)
    redis.call('ZADD', KEYS[5], now(), id)
    read()
    load(10)
  end
end

-- Jobs of a load; false when the batch was cancelled before it began. ARGV: load, milliseconds, jobs.
function change.add()
  if batch[cancelled_at] ~= '' and redis.call('HEXISTS', KEYS[1], 'load:' .. ARGV[3]) == 0 then
    return false
  end
  load(5)
  return changed()
end

-- The end of a load, and without `keep` of its members that are still pending. ARGV: load, 1 to keep.
function change.end_load()
  local number = redis.call('HGET', KEYS[1], 'load:' .. ARGV[3])
  if not number then
    return tally()
  end
  redis.call('HDEL', KEYS[1], 'load:' .. ARGV[3])
  redis.call('ZREM', KEYS[4], cjson.encode({id, ARGV[3]}))
  count(loads, -1)
  if ARGV[4] ~= '1' then
    local cursor, pending = '0', {}
    repeat
      local page = redis.call('HSCAN', KEYS[2], cursor, 'COUNT', 1000)
      cursor = page[1]
      for i = 1, #page[2], 2 do
        if page[2][i + 1]:match('^pending %d+ (%d+)$') == number then
          pending[#pending + 1] = page[2][i]
        end
      end
    until cursor == '0'
    for _, job in ipairs(pending) do
      count(total, -redis.call('HDEL', KEYS[2], job))
    end
  end
  return changed()
end

-- As `tally.moves` and `tally.moved`: the tally, and how many of the jobs it was news of. ARGV: outcome, the states it
-- ends, 1 if it cancels, how many jobs, the jobs, those that will never run.
function change.settle()
  local outcome, ends, last, joined, news, more = ARGV[3], ARGV[4], 6 + ARGV[6], 0, 0, {}
  for i = 7, #ARGV do
    local job, after = ARGV[i], i <= last and outcome or 'dropped'
    local member = redis.call('HGET', KEYS[2], job)
    local before = member and member:match('^%a+')
    if not member and i <= last then
      member, before = ' ' .. redis.call('HINCRBY', KEYS[1], 'places', 1) - 1 .. ' 0', ''
      joined = joined + 1
    elseif not member or not (i <= last and ends or 'pending'):find(before, 1, true) then
      after = nil
    end
    if after then
      redis.call('HSET', KEYS[2], job, after .. member:sub(#before + 1))
      more[before], more[after] = (more[before] or 0) - 1, (more[after] or 0) + 1
      news = news + (i <= last and 1 or 0)
    end
  end
  if not next(more) then
    return {tally(), 0}
  end
  count(total, joined)
  for field = done, dropped do
    count(field, more[NAMES[field]] or 0)
  end
  if news > 0 and ARGV[5] == '1' and batch[allow_failures] == '0' then
    cancel()
  end
  return {changed(), news}
end

function change.cancel()
  if batch[cancelled_at] ~= '' then
    return tally()
  end
  cancel()
  return changed()
end

-- The callbacks of an event were sent, or nothing is left to send; 1 when that is new. ARGV: the event as it stands in
-- `sent`, 1 for the mark CLOSED.
function change.mark()
  if ARGV[4] == '1' then
    redis.call('ZREM', KEYS[3], id)
    return redis.call('HSETNX', KEYS[1], 'closed', 1)
  end
  if batch[sent]:find(ARGV[3], 1, true) then
    return 0
  end
  redis.call('HSET', KEYS[1], 'sent', batch[sent] .. ARGV[3])
  return 1
end

if ARGV[1] == 'create' or read() then
  return change[ARGV[1]]()
end
return false
