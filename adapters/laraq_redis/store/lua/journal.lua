-- Replace what writers say. KEYS: the journal. ARGV: writer and entries in turn.
redis.call('HSET', KEYS[1], unpack(ARGV))
