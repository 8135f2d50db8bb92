"""Workers"""

from __future__ import annotations

import pytest

from laraq import Laraq, Queue
from laraq.orders.restarts import is_restarted

parity = pytest.mark.parity


@parity("A queue is paused on its connection, for a time or until it is resumed; all queues can be paused at once.")
def test_pause(heard: list[str]) -> None:
    Queue.pause("high")
    assert [Queue.paused(name) for name in ("high", "default:high", "low")] == [True, True, False]
    Queue.resume("high")
    Queue.pause_all(60)
    assert Queue.paused("low")
    Queue.resume_all()
    assert not Queue.paused("low")
    assert heard == ["QueuePaused", "QueueResumed", "QueuesPaused", "QueuesResumed"]


@parity("A restart ends workers that began before it, and none that begins later.")
def test_restart(queue: Laraq) -> None:
    began = dict(queue.orders.standing())
    queue.restarts.order()
    ordered = dict(queue.orders.standing())
    assert [is_restarted(began, ordered), is_restarted(ordered, ordered)] == [True, False]
