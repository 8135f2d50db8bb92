-- Keep a new batch with its first members, and load; one that is known stays.
-- KEYS[5]: batches by their creation. ARGV: id, load, milliseconds, name, options, allow_failures, wants, sent, jobs.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'name', ARGV[4], 'options', ARGV[5], 'allow_failures', ARGV[6], 'wants', ARGV[7],
    'sent', ARGV[8], 'created_at', now(), 'total', 0, 'done', 0, 'failed', 0, 'dropped', 0, 'loads', 0, 'places', 0)
  redis.call('ZADD', KEYS[5], now(), ARGV[1])
  join(begin_load(ARGV[1], ARGV[2], ARGV[3]), 9)
end
return 1
