-- Drop writers of the journal that wrote nothing since the caller looked; say how many.
-- KEYS: what each writer says. ARGV: pairs of writer and what it said.
local dropped = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], ARGV[i])
    dropped = dropped + 1
  end
end
return dropped
