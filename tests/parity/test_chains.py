"""Chains"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from laraq import Bus, Job, Skip
from laraq.errors import JobDefinitionError
from tests.support.line import Line

parity = pytest.mark.parity
log: list[Any] = []


class Note(Job):
    n: int

    def handle(self) -> None:
        log.append(self.n)


class Fails(Note):
    def handle(self) -> None:
        raise ValueError(f"no {self.n}")


class OwnPlace(Note):
    queue = "own"


class Only(Note):
    unique = True


def caught(error: BaseException) -> None:
    log.append(f"caught {error}")


@pytest.fixture(autouse=True)
def line() -> Iterator[Line]:
    log.clear()
    with Line.attached() as line:
        yield line


@parity("Each job of a chain is sent when the one before it succeeded; `None` and `False` are skipped.")
def test_in_order(line: Line) -> None:
    Bus.chain([Note(1), None, Note(2), False, Note(3)]).dispatch()
    assert len(line.waiting) == 1
    line.work()
    assert log == [1, 2, 3]


@parity("`with_chain([...])` is the same, called on the first job.")
def test_with_chain(line: Line) -> None:
    Note.with_chain([Note(2)]).dispatch(1)
    Note(3).with_chain([Note(4)]).dispatch()
    line.work()
    assert log == [1, 3, 2, 4]


@parity("The rest of a chain travels in the message of its current job.")
def test_storage(line: Line) -> None:
    Bus.chain([Note(1), Note(2), Note(3)]).dispatch()
    assert [link["kwargs"]["n"] for link in line.taken[0].chain["rest"]] == [2, 3]


@parity("A chain goes on after a job that called `delete()` or that its middleware skipped.")
def test_deleted_and_skipped(line: Line) -> None:
    class Deletes(Note):
        def handle(self) -> None:
            self.delete()

    class Skipped(Note):
        def middleware(self) -> list[Any]:
            return [Skip.when(True)]

    Bus.chain([Deletes(1), Skipped(2), Note(3)]).dispatch()
    line.work()
    assert log == [3]


@parity("A released job is not followed until it has succeeded.")
def test_released(line: Line) -> None:
    class Waits(Note):
        tries = 2

        def handle(self) -> None:
            log.append(self.attempts)
            if self.attempts == 1:
                self.release(5)

    Bus.chain([Waits(1), Note(9)]).dispatch()
    line.work()
    assert log == [1, 2, 9]


@parity("A failed job stops its chain, and every `catch` is called with the error, once, before `failed()`.")
def test_failed(line: Line) -> None:
    class Tells(Fails):
        def failed(self, error: BaseException | None) -> None:
            log.append(f"{len(line.waiting)} queued")

    Bus.chain([Note(1), Tells(2), Note(3)]).catch(caught).catch(caught).dispatch()
    line.work()
    assert log == [1, "2 queued", "caught no 2", "caught no 2"]


@parity(
    "`catch` is called in a queued job of its own, which starts once and can be retried when it fails.",
    differs="Laravel calls it in the worker of the failed job, where a crash loses it and an error in it is swallowed.",
)
def test_catch_is_a_job(line: Line) -> None:
    Bus.chain([Fails(1)]).catch(caught).dispatch()
    line.step()
    assert (log, len(line.waiting)) == ([], 1)
    line.work()
    assert log == ["caught no 1"]


@parity("`on_queue` and `on_connection` of a chain are for its jobs that name none.")
def test_places(line: Line) -> None:
    Bus.chain([Note(1), OwnPlace(2), Note(3)]).on_queue("q").on_connection("other").dispatch()
    line.work()
    assert [(payload.queue, payload.connection) for payload in line.taken] == [
        ("q", "other"),
        ("own", "other"),
        ("q", "other"),
    ]


@parity("`all_on_queue` and `all_on_connection` also override the first job's own.")
def test_all_on(line: Line) -> None:
    Bus.chain([OwnPlace(1), OwnPlace(2)]).all_on_queue("q").dispatch()
    line.work()
    assert [payload.queue for payload in line.taken] == ["q", "own"]


@parity("The delay of a chain is for its first job, unless that has one; the others keep their own.")
def test_delay(line: Line) -> None:
    Bus.chain([Note(1), Note(2).with_delay(7)]).delay(60).dispatch()
    assert line.waiting[0][1] == 60
    line.step()
    assert line.waiting[0][1] == 7


@parity("`prepend_to_chain` puts jobs right behind the running one, in their order, `append_to_chain` at the end.")
def test_additions(line: Line) -> None:
    class Adds(Note):
        def handle(self) -> None:
            self.append_to_chain(Note(9))
            self.prepend_to_chain(Note(3))
            self.prepend_to_chain(Note(1), [Note(2)])

    Bus.chain([Adds(0), Note(5)]).dispatch()
    line.work()
    assert log == [1, 2, 3, 5, 9]


@parity("Additions of an attempt that does not succeed are discarded.")
def test_discarded_additions(line: Line) -> None:
    class Adds(Note):
        tries = 2

        def handle(self) -> None:
            self.append_to_chain(Note(self.attempts))
            if self.attempts == 1:
                raise ValueError("the first start")

    Bus.chain([Adds(0)]).dispatch()
    line.work()
    assert log == [2]


@parity("A retried job resumes its chain.")
def test_retry(line: Line) -> None:
    class Repairable(Note):
        def handle(self) -> None:
            if "repaired" not in log:
                raise ValueError("no")

    Bus.chain([Repairable(1), Note(2)]).dispatch()
    line.work()
    log.append("repaired")
    line.laraq.failed.retry("all")
    line.work()
    assert log == ["repaired", 2]


@parity("A batch in a chain is a step: the chain goes on when it has finished, and stops with `catch` when it failed.")
def test_batch_as_a_step(line: Line) -> None:
    Bus.chain([Note(1), Bus.batch([Note(2), Note(3)]), Note(4)]).dispatch()
    line.work()
    Bus.chain([Bus.batch([Fails(5)]), Note(6)]).catch(caught).dispatch()
    line.work()
    Bus.chain([Bus.batch([Fails(7)]).allow_failures(), Note(8)]).catch(caught).dispatch()
    line.work()
    assert log == [1, 2, 3, 4, "caught no 5", 8]


@parity(
    "A chain goes on after an empty batch.",
    differs="Laravel's stalls silently: an empty batch never calls `finally`.",
)
def test_empty_batch(line: Line) -> None:
    Bus.chain([Note(1), Bus.batch([]), Note(2)]).dispatch()
    line.work()
    assert log == [1, 2]


@parity(
    "A unique job of a chain whose lock is held is skipped with `UniqueJobSkipped`, and the chain goes on.",
    differs="Laravel does not check the lock of jobs after the first one, so two of them run.",
)
def test_unique_links(line: Line) -> None:
    Only.dispatch(1)
    waiting = line.waiting.pop()
    Bus.chain([Note(2), Only(3), Note(4)]).dispatch()
    line.work()
    assert log == [2, 4]
    line.waiting.append(waiting)


@parity(
    "A job that a crash has made its chain send twice starts once.",
    differs="Laravel's second delivery of a job sends the next one again, under a new id, and both run.",
)
def test_sent_twice(line: Line) -> None:
    Bus.chain([Note(1), Note(2), Note(3)]).dispatch()
    payload, _ = line.waiting.pop()
    line.run(payload)
    line.run(payload)
    line.work()
    assert log == [1, 1, 2, 3]


@parity(
    "An empty chain is rejected.",
    differs="Laravel accepts it and sends nothing.",
)
def test_empty_chain() -> None:
    with pytest.raises(JobDefinitionError):
        Bus.chain([None]).dispatch()
