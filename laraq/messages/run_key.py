"""stored(): a run key as every store can keep it."""

from __future__ import annotations

import hashlib

#: Characters; MySQL's keys end at 255.
LONGEST = 200


def stored(run_key: object) -> str:
    """The key itself when it is ordinary, as a uuid is, else a hash of it.

    Ids come from whoever sent the message: they may be megabytes long, or hold what a database refuses as text (NUL,
    half of a surrogate pair) or does not tell from another (spaces at the end).
    """
    text = run_key if isinstance(run_key, str) else str(run_key)
    if len(text) <= LONGEST and text.isascii() and text.isprintable() and not text.endswith(" "):
        return text
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
