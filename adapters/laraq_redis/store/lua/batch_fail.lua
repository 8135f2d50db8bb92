-- Note that jobs failed, and that others will never run. Returns the tally and 1 if that was news of a failure.
-- ARGV: id, how many failed, jobs that failed (each once), jobs that will never run.
local id, failures = ARGV[1], tonumber(ARGV[2])
if redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
local failed, dropped = 0, 0
for i = 3, #ARGV do
  local job, fails = ARGV[i], i < 3 + failures
  local member = redis.call('HGET', KEYS[2], job)
  local before = member and member:match('^%a+')
  if not member and fails then
    redis.call('HSET', KEYS[2], job, 'failed ' .. redis.call('HINCRBY', KEYS[1], 'places', 1) - 1 .. ' 0')
    count('total', 1)
    failed = failed + 1
  elseif fails and (before == 'pending' or before == 'dropped') then
    redis.call('HSET', KEYS[2], job, 'failed' .. member:sub(#before + 1))
    failed = failed + 1
    if before == 'dropped' then
      dropped = dropped - 1
    end
  elseif not fails and before == 'pending' then
    redis.call('HSET', KEYS[2], job, 'dropped' .. member:sub(#before + 1))
    dropped = dropped + 1
  end
end
if failed == 0 and dropped == 0 then
  return {tally(), 0}
end
count('failed', failed)
count('dropped', dropped)
if failed > 0 and redis.call('HGET', KEYS[1], 'allow_failures') == '0' then
  redis.call('HSETNX', KEYS[1], 'cancelled_at', now())
end
return {changed(id), failed > 0 and 1 or 0}
