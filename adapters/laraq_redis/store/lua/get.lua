-- A value and the milliseconds it still lives.
-- KEYS: the value.
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}
