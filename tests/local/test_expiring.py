from __future__ import annotations

import time

from laraq.local.memory.expiring import Expiring


def test_an_entry_is_there_until_it_ends() -> None:
    entries: Expiring[str] = Expiring()
    entries.put("over", "a", time.time() - 0.001)
    entries.put("live", "b", time.time() + 60)
    assert entries.get("over") is None
    live = entries.get("live")
    assert live is not None
    assert live[0] == "b"


def test_an_entry_that_ended_is_not_popped() -> None:
    entries: Expiring[str] = Expiring()
    entries.put("over", "a", time.time() - 0.001)
    entries.put("live", "b", time.time() + 60)
    assert entries.pop("over") is None
    assert entries.pop("live") == "b"
    assert entries.pop("live") is None


def test_ended_entries_do_not_pile_up() -> None:
    entries: Expiring[int] = Expiring()
    for number in range(100):
        entries.put(f"live {number}", number, time.time() + 60)
    for number in range(10_000):
        entries.put(f"over {number}", number, time.time() - 1)
    assert len(entries._entries) <= 2 * 100 + 1
    assert all(entries.get(f"live {number}") for number in range(100))
