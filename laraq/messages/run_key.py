"""stored(): a run key in a form that every store can keep."""

from __future__ import annotations

import hashlib

#: Characters; MySQL's keys end at 255.
LONGEST = 200


def stored(run_key: object) -> str:
    """The key itself if it is ordinary, such as a uuid, else a hash of it.

    Ids come from the sender of the message: they may be megabytes long, or contain characters that a database refuses
    (NUL, half of a surrogate pair) or ignores in comparisons (spaces at the end).
    """
    text = run_key if isinstance(run_key, str) else str(run_key)
    if len(text) <= LONGEST and text.isascii() and text.isprintable() and not text.endswith(" "):
        return text
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
