-- Make jobs members as part of a load; nothing when the batch is gone, or cancelled before the load began.
-- ARGV: id, load, milliseconds, jobs.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
if redis.call('HEXISTS', KEYS[1], 'cancelled_at') == 1 and redis.call('HEXISTS', KEYS[1], 'load:' .. ARGV[2]) == 0 then
  return false
end
join(begin_load(ARGV[1], ARGV[2], ARGV[3]), 4)
return changed(ARGV[1])
