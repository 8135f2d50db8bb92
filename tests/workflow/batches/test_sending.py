"""Batches are sent in chunks, and only what was sent counts when the broker fails in the middle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import psutil
import pytest

from laraq import Bus, Job
from laraq.errors import DispatchError
from laraq.messages.payload import Payload
from laraq.workflow.batch_service import CHUNK, FIRST_CHUNK
from tests.support.line import Line
from tests.workflow.batches.conftest import on_stores
from tests.workflow.batches.jobs import Note, counts, log, on_finally, on_then, watched


def test_the_jobs_of_a_batch_are_sent_in_one_go(line: Line) -> None:
    Bus.batch(Note(number) for number in range(FIRST_CHUNK + 2 * CHUNK + 5)).dispatch()
    assert line.bulks == [FIRST_CHUNK, CHUNK, CHUNK, 5]


class Counting:
    """A connection that counts."""

    name = "counting"
    immediate = False
    count = 0

    def push(self, payload: Payload, delay: float = 0) -> None:
        self.count += 1

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        self.count += len(payloads)

    def default_queue(self) -> str:
        return "counting"


def test_a_hundred_thousand_jobs_are_sent_in_the_memory_of_a_chunk(sqlite_url: str) -> None:
    place, process = Counting(), psutil.Process()
    sizes: list[int] = []

    def jobs(total: int) -> Iterator[Job]:
        for made in range(total):
            assert made - place.count <= CHUNK
            if made % CHUNK == 0:
                sizes.append(process.memory_info().rss)
            yield Note(made)

    with Line.attached(store=sqlite_url, connections={"counting": place}, default="counting") as line:
        batch = Bus.batch(jobs(60_000)).dispatch()
        place.count = 0
        batch.add(jobs(40_000))
        assert batch.fresh().total_jobs == 100_000
        line.laraq.store.close()
    assert max(sizes) - sizes[1] < 40_000_000, "the jobs alone would take several times as much"


@on_stores
@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("sent", [0, 1, 3])
def test_a_batch_that_could_not_be_sent_is_gone_and_what_was_sent_runs_without_it(
    line: Line, told: list[str], sent: int
) -> None:
    line.errors = [*[None] * sent, DispatchError("down")]
    with pytest.raises(DispatchError, match="down"):
        Bus.batch(Note(n) for n in range(6)).then(on_then).finally_(on_finally).dispatch()
    assert line.laraq.batches.all() == []
    line.work()
    assert log == list(range(sent))
    assert told == []


@pytest.mark.usefixtures("small_chunks")
def test_a_batch_whose_jobs_raise_while_they_are_made_is_gone(line: Line) -> None:
    def jobs() -> Iterator[Job]:
        yield from (Note(1), Note(2), Note(3))
        raise KeyError("of the generator")

    with pytest.raises(KeyError, match="of the generator"):
        Bus.batch(jobs()).dispatch()
    assert line.laraq.batches.all() == []


@on_stores
@pytest.mark.usefixtures("small_chunks")
def test_of_jobs_that_could_not_be_added_none_counts_but_those_that_were_sent(line: Line) -> None:
    batch = watched([Note(1)]).dispatch()
    line.errors = [None, None, None, DispatchError("down")]
    with pytest.raises(DispatchError, match="down"):
        batch.add(Note(n) for n in (2, 3, 4, 5, 6))
    line.work()
    assert [entry for entry in log if isinstance(entry, int)] == [1, 2, 3, 4]
    assert counts(batch) == (4, 4, 0, True)
    assert Counter(log)["finally"] == 1


@pytest.mark.usefixtures("small_chunks", "impatient")
def test_a_batch_whose_last_jobs_could_not_be_added_still_finishes(line: Line) -> None:
    batch = watched([Note(1)]).dispatch()

    def jobs() -> Iterator[Job]:
        yield from (Note(2), Note(3))
        line.work()  # all others end while this load is under way
        yield Note(4)
        line.errors = [DispatchError("down")]

    with pytest.raises(DispatchError, match="down"):
        batch.add(jobs())
    line.laraq.batches.reconcile()
    line.work()
    assert counts(batch) == (3, 3, 0, True)
    assert (log.count("then"), log.count("finally")) == (1, 1)
