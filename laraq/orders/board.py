"""Board: the orders that stand now, in the cache of the store."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from uuid import uuid4

from laraq.limits.locks import Lock
from laraq.ports import Store

#: Seconds that an order stands which nobody takes back: the cache keeps nothing for ever.
FOREVER = 10 * 365 * 24 * 3600.0

#: The key of the list of orders, and what the key of each order begins with.
LIST, ORDER = "orders", "order:"

#: Seconds after which a reader asks for every order although the list is the same: who changes it may die half-way.
AGAIN = 30.0

#: Seconds that a change may take, and that another one waits for it.
CHANGE = 5.0


@dataclass(frozen=True, slots=True)
class Order:
    """An order that stands."""

    #: What differs between one order of that name and the next.
    token: str
    #: Seconds until it ends by itself; None: when it is taken back.
    ends_in: float | None = None


class Board:
    """Each order is a value of its own, so that it ends by the store's clock; a list names all of them.

    The list changes with every order, so that a reader who knows it needs no other value.
    """

    def __init__(self, store: Callable[[], Store], changed: Callable[[], object] = lambda: None) -> None:
        """`changed` is called after each change."""
        self._store = store
        self._changed = changed

    def give(self, name: str, seconds: float | None = None) -> None:
        """Give an order, or give it anew."""
        with self._changing():
            token = uuid4().hex
            self._store().cache.put(f"{ORDER}{name}", token, seconds or FOREVER)
            self._write({**self._list(), name: token})
        self._changed()

    def take_back(self, names: Iterable[str]) -> list[str]:
        """Take orders back; return those that stood."""
        cache = self._store().cache
        with self._changing():
            stood = [name for name in names if cache.forget(f"{ORDER}{name}")]
            known = self._list()
            self._write({name: token for name, token in known.items() if name not in stood})
        self._changed()
        return stood

    def standing(self) -> Mapping[str, Order]:
        """The orders that stand now."""
        return self._standing(self._list())

    def is_given(self, name: str) -> bool:
        """Whether the order stands."""
        return self._store().cache.get(f"{ORDER}{name}") is not None

    def reader(self) -> Callable[[], Mapping[str, Order]]:
        """A cheaper `standing` for one who reads again and again: one query while nothing changes."""
        text, orders, until = "", dict[str, Order](), 0.0

        def read() -> Mapping[str, Order]:
            nonlocal text, orders, until
            listed = self._text()
            if listed != text or time.monotonic() >= until:
                now = time.monotonic()
                text, orders = listed, self._standing(_parsed(listed))
                until = now + min([AGAIN, *(one.ends_in for one in orders.values() if one.ends_in is not None)])
            return orders

        return read

    def _standing(self, listed: Mapping[str, str]) -> dict[str, Order]:
        cache = self._store().cache
        found = {name: cache.get(f"{ORDER}{name}") for name in listed}
        return {
            name: Order(one.value, one.ends_in if one.ends_in < FOREVER / 2 else None)
            for name, one in found.items()
            if one is not None
        }

    def _changing(self) -> Lock:
        return Lock(f"laraq:{LIST}", CHANGE, block=2 * CHANGE, store=self._store())

    def _list(self) -> dict[str, str]:
        return _parsed(self._text())

    def _text(self) -> str:
        return self._store().cache.peek(LIST) or ""

    def _write(self, listed: Mapping[str, str]) -> None:
        self._store().cache.put(LIST, json.dumps({name: listed[name] for name in sorted(listed)}), FOREVER)


def _parsed(text: str) -> dict[str, str]:
    found = json.loads(text) if text else {}
    return {str(name): str(token) for name, token in found.items()}
