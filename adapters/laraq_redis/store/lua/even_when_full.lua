-- Read before scripts without which no job could end, for workers must be able to drain a full server: at its memory
-- limit Redis refuses a script that begins with a growing write, but lets one finish that has begun with another.
-- KEYS: a hash first.
redis.call('HDEL', KEYS[1], '')
