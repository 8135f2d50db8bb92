-- Starts used so far travel in front of a message that goes back to a list, as a key of its own in the JSON object:
-- {"laraq-attempts":2,"body": ... A stock worker ignores the key. What is no object gets one in front.

local function mark(payload, attempts)
  if attempts <= 0 then return payload end
  local head = '{"laraq-attempts":' .. attempts
  if string.sub(payload, 1, 1) == '{' then return head .. ',' .. string.sub(payload, 2) end
  return head .. '}' .. payload
end

local function unmark(payload)
  local attempts, last = string.match(payload, '^{"laraq%-attempts":(%d+)([,}])')
  if not attempts then return payload, 0 end
  local rest = string.sub(payload, 20 + #attempts)
  return last == ',' and '{' .. rest or rest, tonumber(attempts)
end

