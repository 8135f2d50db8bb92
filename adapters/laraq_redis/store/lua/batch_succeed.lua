-- Note that jobs succeeded. Returns the tally and 1 if that was news of one of them.
-- ARGV: id, jobs (each once).
local id = ARGV[1]
if redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
local members, after, more, joined = redis.call('HMGET', KEYS[2], unpack(ARGV, 2)), {}, {}, {}
for i, member in ipairs(members) do
  local before = member and member:match('^%a+')
  if not member then
    joined[#joined + 1] = ARGV[i + 1]
  elseif before ~= 'done' then
    after[#after + 1] = ARGV[i + 1]
    after[#after + 1] = 'done' .. member:sub(#before + 1)
    more[before] = (more[before] or 0) - 1
  end
end
if #joined > 0 then
  local place = redis.call('HINCRBY', KEYS[1], 'places', #joined) - #joined
  for i, job in ipairs(joined) do
    after[#after + 1] = job
    after[#after + 1] = 'done ' .. place + i - 1 .. ' 0'
  end
  count('total', #joined)
end
if #after == 0 then
  return {tally(), 0}
end
redis.call('HSET', KEYS[2], unpack(after))
count('done', #after / 2)
for _, state in ipairs({'failed', 'dropped'}) do
  if more[state] then
    count(state, more[state])
  end
end
return {changed(id), 1}
