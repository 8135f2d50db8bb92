"""Stored: middleware that counts in a store, which may be another than the default one."""

from __future__ import annotations

from typing import Self

from laraq.current import current
from laraq.middleware.releasing import Releasing
from laraq.ports import Store


class Stored(Releasing):
    """Counts in the store of the current Laraq."""

    _connection: str | Store | None = None

    @property
    def _store(self) -> Store:
        return current().store_of(self._connection)


class OnRedis(Stored):
    """The `...WithRedis` classes of Laravel, which are there because its other limiters are not atomic.

    Here all are. These differ by `connection`, and without it count in the default store, too.
    """

    def connection(self, store: str | Store) -> Self:
        """Count in that store: a URL, or a store that is open."""
        return self._with(_connection=store)
