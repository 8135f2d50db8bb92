-- Cancel a batch that is not cancelled.
-- ARGV: id.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
if redis.call('HSETNX', KEYS[1], 'cancelled_at', now()) == 0 then
  return tally()
end
return changed(ARGV[1])
