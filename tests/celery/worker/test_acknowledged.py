"""What a worker's parent tells its children of acknowledgements; requests stand in for Celery's."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from laraq.local.memory.store import MemoryJournal
from laraq.ports.journal import JournalEntry, RunState
from laraq.testing.suite.forking import Child
from laraq_celery.worker import acknowledged
from laraq_celery.worker.acknowledged import Acknowledged
from laraq_kombu import Lease, Ledger


@dataclass
class Request:
    """As much of a JobRequest as is asked for."""

    id: str = "job"
    acknowledged: bool = False
    message: Any = field(default_factory=lambda: SimpleNamespace(acknowledged=False, channel=None, delivery_tag="1"))


@pytest.fixture
def known() -> Acknowledged:
    return Acknowledged()


def accept(known: Acknowledged, request: Request, pid: int) -> float:
    """The process begins the run; the time at which it would note that."""
    known.accepted(cast("Any", request), pid, time.monotonic())
    return time.monotonic()


@pytest.mark.parametrize(
    ("acknowledged_runs", "out"),
    [
        pytest.param((), [False, False, False], id="none"),
        pytest.param((0,), [False, False, False], id="one: the next run's begin may have been seen by nobody yet"),
        pytest.param((0, 1), [True, False, False], id="two"),
        pytest.param((0, 1, 2), [True, True, False], id="all"),
        pytest.param((1, 2), [False, False, False], id="an unacknowledged run keeps those after it"),
    ],
)
def test_a_child_learns_of_a_run_once_it_and_all_before_and_the_next_are_acknowledged(
    known: Acknowledged, acknowledged_runs: tuple[int, ...], out: list[bool]
) -> None:
    read_end, write_end = os.pipe()

    def ask() -> None:
        begun = [float(word) for word in os.read(read_end, 200).split()]
        assert [known.are_out()("", at) for at in begun] == out

    child = Child(ask)
    runs = [Request() for _ in range(3)]
    begun = [accept(known, request, child.pid) for request in runs]
    for number in acknowledged_runs:
        runs[number].message.acknowledged = True
    accept(known, Request(), child.pid)
    os.write(write_end, " ".join(map(repr, begun)).encode())
    assert child.wait() == 0
    os.close(read_end)
    os.close(write_end)


def test_where_the_worker_runs_jobs_itself_each_run_is_known_by_itself(known: Acknowledged) -> None:
    slow, fast, retried = Request("slow"), Request("fast"), Request("retried")
    for request in (slow, fast, retried):
        accept(known, request, os.getpid())
    fast.message.acknowledged = True
    assert [known.are_out()(key, 0.0) for key in ("slow", "fast", "retried+1")] == [False, True, False]


def test_an_acknowledgement_that_is_only_owed_to_a_broker_of_ours_is_not_out(known: Acknowledged) -> None:
    ledger, lease = Ledger(), Lease(1, "q", 1, 7)
    request = Request(message=SimpleNamespace(
        acknowledged=True, channel=SimpleNamespace(ledger=ledger), delivery_tag=lease.tag
    ))  # fmt: skip
    ledger.hold([lease])
    ledger.settle(lease.tag)
    accept(known, request, os.getpid())
    assert not known.are_out()("job", 0.0)
    ledger.paid(ledger.collect())
    assert known.are_out()("job", 0.0)


def test_what_celery_could_not_acknowledge_is_forgotten_after_a_while(
    known: Acknowledged, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(acknowledged=True)
    accept(known, request, os.getpid())
    assert not known.are_out()("job", 0.0)
    monkeypatch.setattr(acknowledged, "GIVEN_UP", -1.0)
    assert known.are_out()("job", 0.0)


def test_the_record_of_a_process_that_is_gone_is_erased_once_nothing_of_it_is_open(known: Acknowledged) -> None:
    journal = MemoryJournal()
    child = Child(lambda: None)
    child.wait()
    writer = known.writer().replace(f":{os.getpid()}:", f":{child.pid}:")
    journal.write(writer, [JournalEntry("job", 1, RunState.RUNNING)])
    request = Request()
    accept(known, request, child.pid)
    known.erase_gone(journal)
    assert journal.find("job") is not None, "its message may come again"
    request.message.acknowledged = True
    known.erase_gone(journal)
    assert journal.find("job") is None


def test_many_runs_and_children_take_no_memory_for_good(known: Acknowledged) -> None:
    for number in range(2000):
        request = Request(str(number))
        request.message.acknowledged = True
        accept(known, request, os.getpid())
    assert len(known._own) < 200
