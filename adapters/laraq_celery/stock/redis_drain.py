"""drain() for stock Redis: takes pages of messages, held meanwhile where kombu keeps messages of workers.

Drained one by one, as on other brokers, each message would cost kombu's client four round trips.
"""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from kombu.utils.json import dumps

#: Messages passed to `notify` together.
PAGE = 500

#: KEYS: hash and index of taken messages, lists. ARGV: limit, epoch seconds, route, name of this page.
#: Returns list, tag and text of each; the tag is empty for an item that is not a message and could not be requeued.
_TAKE = """
local found = {}
for i = 3, #KEYS do
  while #found < 3 * tonumber(ARGV[1]) do
    local text = redis.call('RPOP', KEYS[i])
    if not text then
      break
    end
    local tag = ''
    if pcall(cjson.decode, text) then
      tag = ARGV[4] .. '.' .. #found
      redis.call('HSET', KEYS[1], tag, '[' .. text .. ', ' .. ARGV[3] .. ']')
      redis.call('ZADD', KEYS[2], ARGV[2], tag)
    end
    found[#found + 1] = i - 2
    found[#found + 1] = tag
    found[#found + 1] = text
  end
end
return found
"""

#: KEYS: the same. ARGV: tag, list and text of each, list 0 for a dropped one; the last one is requeued first.
_LET_GO = """
for i = #ARGV - 2, 1, -3 do
  local held = redis.call('HDEL', KEYS[1], ARGV[i])
  redis.call('ZREM', KEYS[2], ARGV[i])
  if ARGV[i + 1] ~= '0' and (held == 1 or ARGV[i] == '') then
    redis.call('RPUSH', KEYS[2 + ARGV[i + 1]], ARGV[i + 2])
  end
end
"""


def drain(
    client: Any, unacked: Sequence[str], lists: Sequence[str], queue: str, most: int, notify: Callable[[Any], object]
) -> int:
    """Drop up to `most` messages of the lists, each page when `notify` has returned; return how many.

    `unacked`: kombu's hash and index of taken messages. When `notify` raises, its page is requeued; after a kill in
    between, it is redelivered after the visibility timeout.
    """
    keys, dropped = [*unacked, *lists], 0
    route = f'"", {dumps(queue)}'
    while dropped < most:
        limit = min(PAGE, most - dropped)
        answer = client.eval(_TAKE, len(keys), *keys, limit, time.time(), route, str(uuid4()))
        taken = [(tag, place, text) for place, tag, text in zip(*[iter(answer)] * 3, strict=True)]
        if not taken:
            break
        try:
            notify([text for _, _, text in taken])
        except BaseException:
            client.eval(_LET_GO, len(keys), *keys, *(part for each in taken for part in each))
            raise
        client.eval(_LET_GO, len(keys), *keys, *(part for tag, _, _ in taken for part in (tag, 0, "")))
        dropped += len(taken)
    return dropped
