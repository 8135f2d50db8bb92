"""Workers"""

from __future__ import annotations

import pytest

from laraq import Queue

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
