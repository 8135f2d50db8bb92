-- Delete the first jobs of a set. KEYS: the set (reserved or delayed), jobs, state. ARGV: how many at most.
-- Returns how many.
local ids = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1)
if #ids > 0 then
  redis.call('ZREM', KEYS[1], unpack(ids))
  redis.call('HDEL', KEYS[2], unpack(ids))
  redis.call('HDEL', KEYS[3], unpack(ids))
end
return #ids
