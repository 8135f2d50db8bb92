from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laraq.errors import StoreError
from laraq.local.memory.store import MemoryJournal
from laraq.messages.run_key import LONGEST
from laraq.ports.journal import JournalEntry, RunState
from laraq.running.journal import KEPT, MOST, Finished, Judgement, RunJournal, Settled, Start, judge


def entry(attempt: int, state: RunState, key: str = "job") -> JournalEntry:
    return JournalEntry(key, attempt, state)


@pytest.mark.parametrize(
    ("attempts", "found", "expected"),
    [
        pytest.param(0, None, Start(1), id="never noted: merely fetched"),
        pytest.param(2, None, Start(3), id="earlier starts are in the message"),
        pytest.param(2, entry(2, RunState.RUNNING), Start(3), id="the note is of the start before this message"),
        pytest.param(2, entry(2, RunState.RELEASED), Start(3), id="so is this one"),
        pytest.param(2, entry(1, RunState.FAILED), Start(3), id="an old note means nothing"),
        pytest.param(0, entry(1, RunState.RUNNING), Start(2, died=True), id="the run died"),
        pytest.param(0, entry(3, RunState.RUNNING), Start(4, died=True), id="several runs died"),
        *(
            pytest.param(0, entry(1, state), Settled(entry(1, state)), id=f"{state}: only the acknowledgement was lost")
            for state in (RunState.DONE, RunState.RELEASED, RunState.FAILED)
        ),
        pytest.param(
            0, entry(1, RunState.FINISHED), Finished(entry(1, RunState.FINISHED)), id="what follows it was not told"
        ),
        pytest.param(1, entry(1, RunState.FINISHED), Start(2), id="a note of the start before this message"),
    ],
)
def test_a_redelivered_message_is_judged_by_the_note(
    attempts: int, found: JournalEntry | None, expected: Judgement
) -> None:
    assert judge(attempts, found) == expected


@given(
    st.integers(0, 20),
    st.none() | st.builds(JournalEntry, st.just("job"), st.integers(1, 20), st.sampled_from(RunState)),
)
def test_a_start_is_always_later_than_every_known_one(attempts: int, found: JournalEntry | None) -> None:
    judgement = judge(attempts, found)
    if isinstance(judgement, Start):
        assert judgement.number > attempts
        if found is not None and not found.ended and found.state is not RunState.FINISHED:
            assert judgement.number > found.attempt


class KillPoint(Enum):
    """Where the worker that holds the message is killed."""

    FETCHED = auto()
    STARTED = auto()
    RUNNING = auto()
    FINISHED = auto()
    SETTLED = auto()
    NOTED = auto()


@dataclass
class Broker:
    """One message, redelivered until a worker lives long enough to acknowledge it."""

    followed: bool = False

    journal: MemoryJournal = field(default_factory=MemoryJournal)
    starts: list[int] = field(default_factory=list)
    ran: list[int] = field(default_factory=list)
    settled: int = 0
    redelivered: bool = False

    def deliver(self, killed_at: KillPoint | None) -> bool:
        """Whether the message was acknowledged. Every delivery is to a worker process of its own."""
        worker = RunJournal(self.journal)
        judgement = judge(0, worker.find("job")) if self.redelivered else Start(1)
        self.redelivered = True
        if isinstance(judgement, Settled):
            return True
        if killed_at is KillPoint.FETCHED:
            return False
        if isinstance(judgement, Finished):
            return self.settle(worker, judgement.entry.attempt, killed_at)
        worker.begin("job", judgement.number)
        self.starts.append(judgement.number)
        if killed_at is KillPoint.STARTED:
            return False
        self.ran.append(judgement.number)
        if killed_at is KillPoint.RUNNING:
            return False
        if self.followed:
            worker.finish("job", judgement.number)
        return self.settle(worker, judgement.number, killed_at)

    def settle(self, worker: RunJournal, number: int, killed_at: KillPoint | None) -> bool:
        if killed_at is KillPoint.FINISHED:
            return False
        self.settled += 1
        if killed_at is KillPoint.SETTLED:
            return False
        worker.end("job", number, RunState.DONE)
        return killed_at is not KillPoint.NOTED


@given(st.lists(st.sampled_from(KillPoint), max_size=12))
def test_kills_at_any_point_are_counted_once_each_and_end_with_one_outcome(kills: list[KillPoint]) -> None:
    broker = Broker()
    deliveries = [broker.deliver(kill) for kill in (*kills, None)]
    assert deliveries[-1]
    assert broker.starts == list(range(1, len(broker.starts) + 1))
    decisive = kills[: kills.index(KillPoint.NOTED)] if KillPoint.NOTED in kills else kills
    died = [kill for kill in decisive if kill is not KillPoint.FETCHED]
    assert len(broker.starts) == len(died) + 1
    assert broker.settled == decisive.count(KillPoint.SETTLED) + 1


@given(st.lists(st.sampled_from(KillPoint), max_size=12))
def test_a_job_with_a_chain_or_batch_that_succeeded_is_not_run_again(kills: list[KillPoint]) -> None:
    broker = Broker(followed=True)
    deliveries = [broker.deliver(kill) for kill in (*kills, None)]
    assert deliveries[-1]
    assert len(broker.ran) == 1 + kills[: _first_end(kills)].count(KillPoint.RUNNING)
    assert broker.starts == list(range(1, len(broker.starts) + 1))
    assert broker.settled >= 1


def _first_end(kills: list[KillPoint]) -> int:
    """Index of the first kill after which the job had succeeded."""
    ends = (KillPoint.FINISHED, KillPoint.SETTLED, KillPoint.NOTED)
    return next((index for index, kill in enumerate(kills) if kill in ends), len(kills))


def test_a_finished_run_is_noted_until_its_end_is() -> None:
    store = MemoryJournal()
    journal = RunJournal(store)
    journal.begin("job", 1)
    journal.finish("job", 1)
    assert store.find("job") == entry(1, RunState.FINISHED)
    journal.close()
    assert store.find("job") == entry(1, RunState.FINISHED), "its end was not noted"
    journal.end("job", 1, RunState.DONE)
    assert store.find("job") == entry(1, RunState.DONE)


def test_a_finished_run_ranks_below_its_end_and_above_earlier_starts() -> None:
    assert entry(1, RunState.FINISHED).rank() < entry(1, RunState.DONE).rank()
    assert entry(1, RunState.FINISHED).rank() < entry(2, RunState.RUNNING).rank()


def test_a_start_is_found_by_other_processes() -> None:
    store = MemoryJournal()
    RunJournal(store).begin("job", 2)
    assert RunJournal(store).find("job") == entry(2, RunState.RUNNING)


def test_an_end_replaces_its_start() -> None:
    journal = RunJournal(MemoryJournal())
    journal.begin("job", 1)
    journal.end("job", 1, RunState.FAILED)
    assert journal.find("job") == entry(1, RunState.FAILED)


def test_the_oldest_ended_runs_are_forgotten() -> None:
    journal = RunJournal(MemoryJournal())
    for number in range(KEPT + 1):
        journal.begin(f"job-{number}", 1)
        journal.end(f"job-{number}", 1, RunState.DONE)
    assert journal.find("job-0") is None
    assert journal.find("job-1") is not None


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=150))
def test_a_running_job_is_never_forgotten_for_lack_of_room(steps: list[tuple[int, bool]]) -> None:
    store, running = MemoryJournal(), set()
    journal = RunJournal(store)
    for number in range(KEPT + 5):
        journal.begin(f"early-{number}", 1)
        running.add(f"early-{number}")
    for number, ends in steps:
        key = f"job-{number}"
        if ends and key in running:
            journal.end(key, 1, RunState.DONE)
            running.discard(key)
        elif not ends:
            journal.begin(key, 1)
            running.add(key)
    assert all(journal.find(key) == entry(1, RunState.RUNNING, key) for key in running)


class Refusing(MemoryJournal):
    """Refuses what holds this key."""

    refused = "bad"

    def write(self, writer: str, entries: Sequence[JournalEntry]) -> None:
        if any(entry.run_key == self.refused for entry in entries):
            raise StoreError("refused")
        super().write(writer, entries)


def test_what_could_not_be_written_does_not_spoil_what_follows() -> None:
    store = Refusing()
    journal = RunJournal(store)
    journal.begin("good", 1)
    with pytest.raises(StoreError):
        journal.begin("bad", 1)
    journal.end("good", 1, RunState.DONE)
    journal.begin("next", 1)
    assert store.find("good") == entry(1, RunState.DONE, "good")
    assert store.find("next") == entry(1, RunState.RUNNING, "next")
    assert store.find("bad") is None


def test_an_end_that_could_not_be_written_leaves_the_start() -> None:
    store = Refusing()
    journal = RunJournal(store)
    journal.begin("job", 1)
    store.refused = "job"
    with pytest.raises(StoreError):
        journal.end("job", 1, RunState.DONE)
    store.refused = ""
    journal.begin("next", 1)
    assert store.find("job") == entry(1, RunState.RUNNING)


@pytest.mark.parametrize("key", [UUID(int=7), "x" * 100_000, "a\x00b", "\ud800", "", "größe "], ids=ascii)
def test_a_key_of_any_kind_is_noted_claimed_and_found(key: Any) -> None:
    store = MemoryJournal()
    journal = RunJournal(store)
    journal.begin(key, 1)
    found = journal.find(key)
    assert found is not None
    assert (found.attempt, found.state) == (1, RunState.RUNNING)
    assert len(found.run_key) <= LONGEST
    assert journal.claim(key, 1)
    assert not RunJournal(store).claim(key, 1)
    journal.end(key, 1, RunState.DONE)
    journal.close()
    assert journal.find(key) is None


class Told:
    """Acknowledgements as a test says."""

    def __init__(self) -> None:
        self.out: set[str] = set()

    def writer(self) -> str:
        return "me"

    def are_out(self) -> Callable[[str, float], bool]:
        return lambda run_key, begun_at: run_key in self.out


def test_ended_runs_are_noted_until_they_are_acknowledged_however_many() -> None:
    store, told = MemoryJournal(), Told()
    journal = RunJournal(store, told)
    for number in range(10 * KEPT):
        journal.begin(f"job-{number}", 1)
        journal.end(f"job-{number}", 1, RunState.DONE)
    assert all(store.find(f"job-{number}") is not None for number in range(10 * KEPT))
    told.out = {f"job-{number}" for number in range(10 * KEPT) if number != 7}
    journal.begin("last", 1)
    assert [number for number in range(10 * KEPT) if store.find(f"job-{number}")] == [7]
    journal.close()
    assert store.find("job-7") is not None, "its message may come again"


def test_a_run_that_is_under_way_is_noted_though_a_message_of_it_is_acknowledged() -> None:
    store, told = MemoryJournal(), Told()
    journal = RunJournal(store, told)
    journal.begin("job", 1)
    told.out = {"job"}
    journal.begin("other", 1)
    assert store.find("job") == entry(1, RunState.RUNNING)


def test_a_record_has_an_end_though_nothing_is_acknowledged() -> None:
    store = MemoryJournal()
    journal = RunJournal(store, Told())
    for number in range(MOST + 5):
        journal.begin(f"job-{number}", 1)
        journal.hand_over(f"job-{number}", 1)
    journal.begin("last", 1)
    assert [store.find(f"job-{number}") is None for number in (0, 5, MOST + 4)] == [True, True, False]


def test_a_clean_process_leaves_nothing_behind() -> None:
    store = MemoryJournal()
    journal = RunJournal(store)
    journal.begin("job", 1)
    journal.end("job", 1, RunState.DONE)
    journal.close()
    assert store.find("job") is None


def test_a_process_that_ends_in_the_middle_of_a_run_leaves_its_note() -> None:
    store = MemoryJournal()
    journal = RunJournal(store)
    journal.begin("job", 1)
    journal.close()
    assert store.find("job") == entry(1, RunState.RUNNING)


def test_a_forked_child_writes_under_a_name_of_its_own() -> None:
    store = MemoryJournal()
    journal = RunJournal(store)
    journal.begin("parent", 1)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            journal.begin("child", 1)
            both = store.find("parent") is not None and store.find("child") is not None
            os.write(write_end, b"1" if both else b"0")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as answer:
        assert answer.read() == b"1"


def test_a_run_whose_success_somebody_else_knows_is_finished() -> None:
    running = entry(2, RunState.RUNNING)
    assert judge(1, running, lambda: True) == Finished(running)
    assert judge(1, running, lambda: False) == Start(3, died=True)
    assert judge(2, running, lambda: True) == Start(3), "an earlier start's entry says nothing of this message"


def test_an_end_that_is_known_is_told_with_the_next_note() -> None:
    store = MemoryJournal()
    journal = RunJournal(store)
    journal.begin("job", 1)
    journal.end("job", 1, RunState.DONE, known=True)
    assert store.find("job") == entry(1, RunState.RUNNING)
    journal.begin("other", 1)
    assert store.find("job") == entry(1, RunState.DONE)


def test_a_success_that_was_handed_over_is_told_with_the_next_note() -> None:
    store = MemoryJournal()
    journal = RunJournal(store)
    journal.begin("job", 1)
    journal.hand_over("job", 1)
    assert store.find("job") == entry(1, RunState.RUNNING)
    journal.begin("other", 1)
    assert store.find("job") == entry(1, RunState.FINISHED)


def test_what_was_handed_over_makes_room_and_is_no_reason_to_stay() -> None:
    store = MemoryJournal()
    journal = RunJournal(store)
    for number in range(2 * KEPT):
        journal.begin(f"job-{number}", 1)
        journal.hand_over(f"job-{number}", 1)
    journal.begin("last", 1)
    assert [store.find(f"job-{number}") is None for number in (0, KEPT, 2 * KEPT - 1)] == [True, True, False]
    journal.hand_over("last", 1)
    journal.close()
    assert store.find("last") is None


def test_a_job_that_is_started_again_after_it_was_handed_over_runs() -> None:
    store = MemoryJournal()
    journal = RunJournal(store)
    journal.begin("job", 1)
    journal.hand_over("job", 1)
    journal.begin("job", 2)
    for number in range(2 * KEPT):
        journal.begin(f"job-{number}", 1)
        journal.end(f"job-{number}", 1, RunState.DONE)
    assert store.find("job") == entry(2, RunState.RUNNING)
