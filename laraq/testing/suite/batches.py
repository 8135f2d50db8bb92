"""BatchesSuite: what every Batches must do."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from random import Random, SystemRandom

import pytest

from laraq.messages.tally import FIRST_LOAD, BatchQuery, BatchRecord, MemberState
from laraq.ports import Batches
from laraq.testing.suite.batch_counts import (
    DONE,
    DROPPED,
    FAILED,
    LONG,
    BatchCountsSuite,
    counts,
    make,
    record,
)
from laraq.testing.suite.batch_records import BatchRecordsSuite
from laraq.testing.suite.board import Board
from laraq.testing.suite.forking import Child, eventually, in_children

#: How many compete.
PROCESSES = 8
#: Forked processes do not share its state, as they would share a generator's.
CHANCE = SystemRandom()

#: A job, how it ended, and the jobs that will never run.
Report = tuple[str, MemberState, tuple[str, ...]]


class BatchesSuite(BatchCountsSuite, BatchRecordsSuite):
    """Subclass it as `class TestMyBatches(BatchesSuite)` and override the fixture `batches`.

    It tests what one process sees; take SharedBatchesSuite when several processes see the same batches. Moments are
    compared with the clock of this machine: let the server run on it, or keep its clock.
    """


class SharedBatchesSuite(BatchesSuite):
    """BatchesSuite for batches that other processes see."""

    #: Jobs of the batch that PROCESSES processes settle, in tens.
    members = 2000

    def test_the_clock_of_the_worker_does_not_matter(self, batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
        make(batches, "j1")
        batches.settle("b", DONE, "j1")
        batches.create(BatchRecord(id="loading"), (), LONG)
        right = time.time
        for wrong_by in (-10 * LONG, 10 * LONG):
            monkeypatch.setattr(time, "time", lambda wrong_by=wrong_by: right() + wrong_by)
            assert list(batches.lapsed()) == []
            assert list(batches.overdue(0)) == ["b"]
            assert list(batches.overdue(LONG)) == []

    def test_processes_count_each_job_once_and_finish_the_batch_once(self, batches: Batches) -> None:
        create(batches, self.members)
        reports = shuffled(self.members)
        changes, wins, moments = Board(PROCESSES), Board(PROCESSES), Board(len(reports))

        def settle(child: int) -> None:
            for number in range(child, len(reports), PROCESSES):
                job, outcome, dropped = reports[number]
                answer = batches.settle("b", outcome, job, dropped=dropped)
                assert answer is not None
                if answer.changed and reported_one_way(job):
                    changes.add(child)
                if answer.tally.finished_at is not None:
                    moments.write(number, answer.tally.finished_at.timestamp())
                    if batches.mark("b", "finally"):
                        wins.add(child)

        in_children([partial(settle, child) for child in range(PROCESSES)])
        assert counts(record(batches)) == expected(self.members)
        assert {state: batches.jobs("b", state) for state in MemberState} == expected_jobs(self.members)
        assert changes.totals() == [sum(map(reported_one_way, jobs(self.members)))]
        assert len(set(moments.column()) - {0}) == 1
        assert wins.totals() == [1]

    def test_processes_tell_of_the_same_successes_at_once_and_each_counts_once(self, batches: Batches) -> None:
        size = self.members // 10
        batches.create(BatchRecord(id="b"), jobs(size), LONG)
        batches.end_load("b", FIRST_LOAD)
        news = Board(PROCESSES)

        def settle(child: int) -> None:
            mine = [*jobs(size), *(f"stranger {number}" for number in range(10))]
            Random(child).shuffle(mine)  # noqa: S311  # no secret
            for start in range(0, len(mine), 7):
                answer = batches.settle("b", DONE, *mine[start : start + 7])
                assert answer is not None
                if answer.changed and answer.tally.finished_at is not None:
                    news.add(child)

        in_children([partial(settle, child) for child in range(PROCESSES)])
        assert counts(record(batches)) == (size + 10, size + 10, 0, 0)
        assert is_whole(batches)
        assert news.totals()[0] >= 1

    def test_killed_processes_leave_whole_states_and_the_next_ones_finish(self, batches: Batches) -> None:
        size = self.members // 10
        create(batches, size)
        reports = shuffled(size)

        def settle_until_killed(child: int) -> None:
            batches.find("b")  # connects, which may take longer than the life it has from here
            kill_this_process_in(CHANCE.uniform(0.02, 0.1))
            while True:
                job, outcome, dropped = CHANCE.choice(reports)
                batches.settle("b", outcome, job, dropped=dropped)

        for _ in range(3):
            children = [Child(partial(settle_until_killed, child)) for child in range(4)]
            assert [child.wait() for child in children] == [-signal.SIGKILL] * 4
            assert eventually(lambda: is_whole(batches)), "the counts are not those of the members"
        in_children([partial(settle_all, batches, reports[child::4]) for child in range(4)])
        assert counts(record(batches)) == expected(size)
        assert record(batches).finished_at is not None

    def test_a_batch_never_finishes_while_jobs_are_being_added(self, batches: Batches) -> None:
        chunks, chunk = 20, 10
        batches.create(BatchRecord(id="b"), [], LONG)
        #: How many jobs may be settled, and 1 once nothing is added any more.
        loaded = Board(1, 2)

        def load() -> None:
            for number in range(chunks):
                batches.add("b", FIRST_LOAD, [f"j{number * chunk + each}" for each in range(chunk)], LONG)
                loaded.write(0, (number + 1) * chunk)
            loaded.write(0, 1, column=1)
            batches.end_load("b", FIRST_LOAD)

        def settle(child: int) -> None:
            for number in range(child, chunks * chunk, 4):
                while number >= loaded.column()[0]:
                    time.sleep(0.001)
                answer = batches.settle("b", DONE, f"j{number}")
                assert answer is not None
                assert answer.tally.finished_at is None or loaded.column(1)[0]

        in_children([load, *(partial(settle, child) for child in range(4))])
        finished = record(batches)
        assert counts(finished) == (chunks * chunk, chunks * chunk, 0, 0)
        assert finished.finished_at is not None

    def test_whatever_happens_at_once_ends_without_an_error(self, batches: Batches) -> None:
        """Locks acquired in different orders could deadlock, which a store must not let callers see."""
        ids = [f"b{number}" for number in range(4)]
        for id in ids:
            batches.create(BatchRecord(id=id), [f"j{number}" for number in range(30)], LONG)
        end = time.monotonic() + 0.7

        def act(child: int) -> None:
            while time.monotonic() < end:
                id, (job, *others) = CHANCE.choice(ids), CHANCE.sample([f"j{number}" for number in range(30)], 6)
                CHANCE.choice(acts)(id, job, others)

        acts: list[Callable[[str, str, list[str]], object]] = [
            lambda id, job, others: batches.settle(id, CHANCE.choice(list(MemberState)), job, dropped=others),
            lambda id, job, others: batches.settle(id, FAILED, f"new {job}", dropped=others),
            lambda id, job, others: batches.settle(id, DONE, *others, f"new {job}"),
            lambda id, job, others: batches.settle(id, FAILED, job, f"new {job}", dropped=others),
            lambda id, job, others: batches.add(id, job, [*others, f"new {job}"], LONG),
            lambda id, job, others: batches.end_load(id, job, keep=False),
            lambda id, job, others: batches.cancel(id),
            lambda id, job, others: batches.delete(BatchQuery(ids=(id, *ids[:2]), cancelled=True)),
            lambda id, job, others: batches.create(BatchRecord(id=id, allow_failures=True), others, LONG),
        ]
        in_children([partial(act, child) for child in range(PROCESSES)])
        for batch in batches.all():
            assert is_whole(batches, batch.id)

    def test_what_one_process_creates_another_settles_and_deletes(self, batches: Batches) -> None:
        make(batches, "j1")
        in_children([partial(batches.settle, "b", DONE, "j1")])
        assert record(batches).done == 1
        in_children([partial(batches.delete, BatchQuery())])
        assert batches.find("b") is None


# A batch of many jobs. The outcome of a job depends on the last digit of its number:
#   0 to 4  it is reported as done two or three times
#   5       it is reported as failed twice and as done once, or the other way round
#   6, 7    it is reported as failed two or three times, and breaks the chain after it: 8, and 9 of the next ten
#   8, 9    they are dropped, but in every second ten, 9 is reported as done


def jobs(size: int) -> list[str]:
    """The ids of the jobs, in order."""
    return [f"j{number}" for number in range(size)]


def create(batches: Batches, size: int) -> None:
    """Create the batch, with all its jobs pending."""
    batches.create(BatchRecord(id="b", allow_failures=True), jobs(size)[:1000], LONG)
    for start in range(1000, size, 1000):
        batches.add("b", FIRST_LOAD, jobs(size)[start : start + 1000], LONG)
    batches.end_load("b", FIRST_LOAD)


def shuffled(size: int) -> list[Report]:
    """All reports, in an order that differs from test to test but not between forked processes."""
    reports = [report for number in range(size) for report in reports_of(number, size)]
    Random(CHANCE.random()).shuffle(reports)  # noqa: S311  # no secret
    return reports


def reports_of(number: int, size: int) -> list[Report]:
    job, ten, digit = f"j{number}", number // 10, number % 10
    if digit <= 4:
        return [(job, DONE, ())] * (2 + number % 2)
    if digit == 5:
        return [(job, outcome, ()) for outcome in (DONE, FAILED, (DONE, FAILED)[ten % 2])]
    if digit <= 7:
        broken = (f"j{ten * 10 + 8}", f"j{(ten * 10 + 19) % size}")
        return [(job, FAILED, broken[:: 1 if digit == 6 else -1])] * (2 + number % 2)
    return [(job, DONE, ())] * 2 if digit == 9 and ten % 2 == 0 else []


def outcome_of(number: int) -> MemberState:
    """The expected outcome of a job."""
    digit = number % 10
    if digit <= 5 or (digit == 9 and number // 10 % 2 == 0):
        return DONE
    return FAILED if digit <= 7 else DROPPED


def expected(size: int) -> tuple[int, int, int, int]:
    """The expected counts of the batch."""
    outcomes = [outcome_of(number) for number in range(size)]
    return size, outcomes.count(DONE), outcomes.count(FAILED), outcomes.count(DROPPED)


def expected_jobs(size: int) -> dict[MemberState, list[str]]:
    """Which jobs are in which state, in their order."""
    return {state: [f"j{number}" for number in range(size) if outcome_of(number) is state] for state in MemberState}


def reported_one_way(job: str) -> bool:
    """Whether all reports about the job agree: then it changes once."""
    return int(job[-1]) in (0, 1, 2, 3, 4, 6, 7)


def is_whole(batches: Batches, id: str = "b") -> bool:
    """Whether the counts of a batch match its members, and it finished when it had to."""
    found = record(batches, id)
    members = {state: len(batches.jobs(id, state)) for state in MemberState}
    expected_counts = (sum(members.values()), members[DONE], members[FAILED], members[DROPPED])
    return counts(found) == expected_counts and found.complete == (found.finished_at is not None)


def settle_all(batches: Batches, reports: list[Report]) -> None:
    """Report the outcomes."""
    for job, outcome, dropped in reports:
        assert batches.settle("b", outcome, job, dropped=dropped) is not None


def kill_this_process_in(seconds: float) -> None:
    """Kill this process, as the kernel does when memory is short."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    timer.start()
