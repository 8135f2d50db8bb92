-- Keep one failed job in place of an earlier one.
-- KEYS: records by id, moments by id. ARGV: id, record, moment (microseconds since the epoch).
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
return 1
