from __future__ import annotations

from laraq_kombu import HINT_INTERVAL, HINT_WINDOW, HintThrottle


def test_one_hint_per_queue_and_interval() -> None:
    throttle = HintThrottle()
    assert throttle.due(["a", "a", "b"], 10.0) == ["a", "b"]
    assert throttle.due(["a", "c"], 10.0 + HINT_INTERVAL / 2) == ["c"]
    assert throttle.due(["a"], 10.0 + HINT_INTERVAL * 1.5) == ["a"]


def test_queues_of_long_ago_are_forgotten() -> None:
    throttle = HintThrottle()
    for n in range(10_000):
        throttle.due([f"reply-{n}"], n)
    assert len(throttle) < 1000


def test_a_worker_looks_again_after_the_last_job_that_may_have_come_without_a_hint() -> None:
    assert HINT_WINDOW > HINT_INTERVAL
