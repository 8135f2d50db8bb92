-- Put jobs into one queue, unless this very put was done before.
-- KEYS: the sequence, delayed, jobs, state, what the writer has put, and the lists, most urgent first.
-- ARGV: the put's place in that memory, its four bytes, milliseconds for which the memory lives on; then for each group of
-- jobs: milliseconds from now, index of their list, how many, their payloads.
-- Returns 1, or 0 when it was done.

--- Values pushed at once: Lua's stack is small.
local PUSHED = 1000

if redis.call('GETRANGE', KEYS[5], ARGV[1], ARGV[1] + 3) == ARGV[2] then return 0 end
local id, now
local at = 4
while ARGV[at] do
  local delay, level, first, last = tonumber(ARGV[at]), ARGV[at + 1], at + 3, at + 2 + ARGV[at + 2]
  if delay <= 0 then
    for from = first, last, PUSHED do
      redis.call('LPUSH', KEYS[6 + level], unpack(ARGV, from, math.min(from + PUSHED - 1, last)))
    end
  else
    if not id then
      local time = redis.call('TIME')
      now = time[1] * 1000 + math.floor(time[2] / 1000)
      id = math.max(time[1] * 1000000 + time[2], tonumber(redis.call('GET', KEYS[1]) or 0))
    end
    for i = first, last do
      id = id + 1
      local name = string.format('%.0f', id)
      redis.call('HSET', KEYS[3], name, ARGV[i])
      redis.call('HSET', KEYS[4], name, '0:0:' .. level)
      redis.call('ZADD', KEYS[2], now + delay, name)
    end
  end
  at = last + 1
end
if id then redis.call('SET', KEYS[1], string.format('%.0f', id)) end
-- Last: a put that failed in the middle is done again.
redis.call('SETRANGE', KEYS[5], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[5], ARGV[3])
return 1
