-- Note how a job ended, and that others will never run. Returns the tally and 1 if the state of the job changed.
-- ARGV: id, job, outcome, jobs that will never run.
local id, job, outcome = ARGV[1], ARGV[2], ARGV[3]
local member = redis.call('HGET', KEYS[2], job)
if not member and redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
local before = member and member:match('^%a+')
local stays = before == 'done' or before == outcome or (before == 'failed' and outcome == 'dropped')
if not member then
  redis.call('HSET', KEYS[2], job, outcome .. ' ' .. redis.call('HINCRBY', KEYS[1], 'places', 1) - 1 .. ' 0')
  count('total', 1)
elseif not stays then
  redis.call('HSET', KEYS[2], job, outcome .. member:sub(#before + 1))
  if before ~= 'pending' then
    count(before, -1)
  end
end
if not stays then
  if outcome ~= 'pending' then
    count(outcome, 1)
  end
  if outcome == 'failed' and redis.call('HGET', KEYS[1], 'allow_failures') == '0' then
    redis.call('HSETNX', KEYS[1], 'cancelled_at', now())
  end
end
local gone = 0
for i = 4, #ARGV do
  local never = redis.call('HGET', KEYS[2], ARGV[i])
  if never and ARGV[i] ~= job and never:match('^%a+') == 'pending' then
    redis.call('HSET', KEYS[2], ARGV[i], 'dropped' .. never:sub(#'pending' + 1))
    gone = gone + 1
  end
end
if gone > 0 then
  count('dropped', gone)
elseif stays then
  return {tally(), 0}
end
return {changed(id), stays and 0 or 1}
