"""Names of locks, limits and values as primary keys."""

from __future__ import annotations

from hashlib import sha256

#: Characters that MySQL can index.
_LONGEST = 255


def stored_name(key: str) -> str:
    """The key, with most of it replaced by a hash where some database would not keep it or not tell it from another.

    MySQL's columns end at 255 characters and compare without regard to spaces at the end; PostgreSQL has no NUL.
    """
    if len(key) <= _LONGEST and not key.endswith(" ") and "\0" not in key:
        return key
    readable = key.replace("\0", "").strip()[: _LONGEST - 65]
    return f"{readable}#{sha256(key.encode()).hexdigest()}"
