-- Give a key a new name, or merge it into the key that has this name; 1 when it was there.
-- KEYS: the old name, the new one. ARGV: 1 for a hash of counts, which are added up.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then
  return 0
end
if redis.call('RENAMENX', KEYS[1], KEYS[2]) == 1 then
  return 1
end
if kind == 'hash' then
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    if ARGV[1] == '1' then
      redis.call('HINCRBY', KEYS[2], all[i], all[i + 1])
    else
      redis.call('HSETNX', KEYS[2], all[i], all[i + 1])
    end
  end
elseif kind == 'zset' then
  redis.call('ZUNIONSTORE', KEYS[2], 2, KEYS[2], KEYS[1], 'AGGREGATE', 'MAX')
elseif kind == 'set' then
  redis.call('SUNIONSTORE', KEYS[2], KEYS[2], KEYS[1])
end
redis.call('DEL', KEYS[1])
return 1
