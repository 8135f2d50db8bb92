-- Drop a value that is still the one the caller means; 1 when it was.
-- KEYS: the value. ARGV: what it must be.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
