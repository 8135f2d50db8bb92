"""Names of locks, limits and values as primary keys."""

from __future__ import annotations

from hashlib import sha256

#: Characters that MySQL can index.
_LONGEST = 255


def stored_name(key: str) -> str:
    """The key, mostly replaced by a hash if a database could not store it or would confuse it with another.

    MySQL's columns hold at most 255 characters and ignore spaces at the end in comparisons; PostgreSQL has no NUL.
    """
    if len(key) <= _LONGEST and not key.endswith(" ") and "\0" not in key:
        return key
    readable = key.replace("\0", "").strip()[: _LONGEST - 65]
    return f"{readable}#{sha256(key.encode()).hexdigest()}"
