-- End a load; drop those of its members that are still pending, unless they are kept.
-- ARGV: id, load, 1 to keep them.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
local number = redis.call('HGET', KEYS[1], 'load:' .. ARGV[2])
if not number then
  return tally()
end
redis.call('HDEL', KEYS[1], 'load:' .. ARGV[2])
redis.call('ZREM', KEYS[4], cjson.encode({ARGV[1], ARGV[2]}))
count('loads', -1)
if ARGV[3] ~= '1' then
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
    count('total', -redis.call('HDEL', KEYS[2], job))
  end
end
return changed(ARGV[1])
