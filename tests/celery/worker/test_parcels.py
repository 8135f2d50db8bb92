"""What a parcel holds, and how its two ends agree on which job runs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery import Celery

from laraq import Laraq, LaraqTask
from laraq_celery.worker import parcels
from laraq_celery.worker import places as shared
from laraq_celery.worker.parcels import MOST, learned, share
from laraq_celery.worker.places import Places
from laraq_celery.worker.strategy import strategy


@pytest.mark.parametrize(
    ("waiting", "processes", "most"),
    [(1, 1, 1), (1, 8, 1), (8, 2, 4), (9, 2, 5), (7, 8, 1), (10_000, 2, MOST), (5, 0, 5)],
)
def test_a_parcel_leaves_as_much_for_the_other_processes(waiting: int, processes: int, most: int) -> None:
    assert share(waiting, processes) == most


@pytest.mark.parametrize(
    ("known", "seconds", "now"), [(0.0, 0.004, 0.004), (0.004, 0.02, 0.02), (0.02, 0.0, 0.015), (1.0, 0.0, 0.75)]
)
def test_a_class_that_got_slower_is_believed_at_once(known: float, seconds: float, now: float) -> None:
    assert learned(known, seconds) == pytest.approx(now)


def test_what_is_taken_back_does_not_begin() -> None:
    places = Places()
    places.clear(3)
    assert places.begin(3, 1)
    assert places.begin(3, 2)
    begun, at = places.take_back(3)
    assert begun == 2
    assert not places.begin(3, 3)
    assert places.begun(3)[0] == 3, "the parent waits for the answer"
    assert places.begun(3)[1] >= at


def test_what_is_taken_back_in_the_moment_it_would_begin_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places()
    places.clear(0)
    places.begin(0, 1)
    monkeypatch.setattr(shared.time, "monotonic", lambda: places.take_back(0)[1])
    assert not places.begin(0, 2)
    assert not places.begin(0, 3)


def test_places_are_apart_and_used_again() -> None:
    places = Places()
    places.clear(0)
    places.clear(1)
    places.take_back(0)
    assert places.begin(1, 1)
    places.clear(0)
    assert places.begin(0, 1)


@pytest.mark.parametrize(("method", "why"), [("fork", None), ("spawn", "its processes are spawned")])
def test_processes_that_do_not_inherit_the_memory_get_no_parcels(
    monkeypatch: pytest.MonkeyPatch, method: str, why: str | None
) -> None:
    monkeypatch.setattr(parcels, "get_start_method", lambda: method)
    pool = SimpleNamespace(_pool=SimpleNamespace(_maxtasksperchild=None))
    of_worker = parcels.Parcels(Celery(set_as_current=False), SimpleNamespace(pool=pool, prefetch_multiplier=4))
    of_worker.register(SimpleNamespace())
    assert of_worker.obstacle(None) == why


def test_a_worker_of_an_app_without_laraq_can_have_its_tasks() -> None:
    """Tasks of one app are shared with others in the process (celery.app.task: shared)."""
    attached, other = (Celery(name, broker="memory://", set_as_current=False) for name in ("one", "other"))
    Laraq(attached)

    @attached.task(base=LaraqTask, name="shared")
    def task() -> None: ...

    consumer = SimpleNamespace(
        hostname="h", connection_errors=(), event_dispatcher=None, timer=SimpleNamespace(call_at=None), pool=None,
        apply_eta_task=None, disable_rate_limits=True, task_buckets={}, on_task_request=None, _limit_task=None,
        _limit_post_eta=None, controller=SimpleNamespace(state=SimpleNamespace(revoked=set())),
    )  # fmt: skip
    consumer.pool = SimpleNamespace(apply_async=None)

    class Consumer(SimpleNamespace):
        """Can be referred to weakly."""

    assert callable(strategy(attached.tasks[task.name], other, Consumer(**vars(consumer))))
