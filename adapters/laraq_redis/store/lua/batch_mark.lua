-- Note that the callbacks of an event were sent, or that nothing is left to send; 1 when that is new.
-- ARGV: id, event as it stands in `sent`, 1 for the mark CLOSED.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
if ARGV[3] == '1' then
  redis.call('ZREM', KEYS[3], ARGV[1])
  return redis.call('HSETNX', KEYS[1], 'closed', 1)
end
local sent = redis.call('HGET', KEYS[1], 'sent')
if sent:find(ARGV[2], 1, true) then
  return 0
end
redis.call('HSET', KEYS[1], 'sent', sent .. ARGV[2])
return 1
