-- Drop failed jobs that still have the moment the caller saw; say how many.
-- KEYS: records by id, moments by id. ARGV: pairs of id and moment, an empty moment meaning any.
local dropped = 0
for i = 1, #ARGV, 2 do
  local moment = redis.call('ZSCORE', KEYS[2], ARGV[i])
  if moment and (ARGV[i + 1] == '' or tonumber(moment) == tonumber(ARGV[i + 1])) then
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.call('HDEL', KEYS[1], ARGV[i])
    dropped = dropped + 1
  end
end
return dropped
