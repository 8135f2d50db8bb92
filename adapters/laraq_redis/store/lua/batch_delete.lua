-- Drop batches that are still as the caller saw them; say how many. The memory is freed in the background.
-- KEYS: finished batches, ends of loads, batches by their creation, then the counts and the members of each.
-- ARGV: id, cancelled_at and finished_at of each, empty for none.
local dropped = 0
for i = 1, #ARGV / 3 do
  local id, counts = ARGV[3 * i - 2], KEYS[2 * i + 2]
  local moments = redis.call('HMGET', counts, 'created_at', 'cancelled_at', 'finished_at')
  if moments[1] and (moments[2] or '') == ARGV[3 * i - 1] and (moments[3] or '') == ARGV[3 * i] then
    for _, field in ipairs(redis.call('HKEYS', counts)) do
      if field:sub(1, 5) == 'load:' then
        redis.call('ZREM', KEYS[2], cjson.encode({id, field:sub(6)}))
      end
    end
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZREM', KEYS[3], id)
    redis.call('UNLINK', counts, KEYS[2 * i + 3])
    dropped = dropped + 1
  end
end
return dropped
