-- Read before a script whose first key is the sequence and whose second one is a sorted set; see even_when_full.lua.
redis.call('ZREM', KEYS[2], '')
