-- Move one job to the list a stock worker reads.
-- KEYS: the set it is in (reserved or delayed), jobs, state, and the list. ARGV: its id, the message to push, and
-- HEAD or TAIL. Returns 1, or 0 when it was not there any more.
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call(ARGV[3] == 'HEAD' and 'RPUSH' or 'LPUSH', KEYS[4], ARGV[2])
return 1
