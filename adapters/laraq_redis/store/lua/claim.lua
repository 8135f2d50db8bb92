-- Claim a start for the first who asks; 1 for that one, however often it asks. Works on a full server too, see
-- even_when_full.lua.
-- KEYS: the claim. ARGV: who asks, seconds.
local holder = redis.call('GET', KEYS[1])
if holder then
  return holder == ARGV[1] and 1 or 0
end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
