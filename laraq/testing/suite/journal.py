"""JournalSuite: what every Journal must do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest

from laraq.ports import Journal
from laraq.ports.journal import JournalEntry, RunState
from laraq.testing.suite.forking import Child, eventually, in_children


def running(run_key: str, attempt: int = 1) -> JournalEntry:
    """The note a child makes before it runs a job."""
    return JournalEntry(run_key, attempt, RunState.RUNNING)


def done(run_key: str, attempt: int = 1) -> JournalEntry:
    """The note a child makes after it."""
    return JournalEntry(run_key, attempt, RunState.DONE)


#: Run keys as a stranger's message may bring them.
ODD_KEYS = {
    "long": "j" * 300,
    "very long": "j" * 100_000,
    "empty": "",
    "a space at the end": "job ",
    "NUL": "job\x00one",
    "half of a surrogate pair": "job\ud800",
    "quotes and lines": '"],["\\\n\r\t%s ?:1 {job}',
    "other alphabets": "zażółć 🦄 \u2028",
    "like a claim": "job:1",
}


class JournalSuite:
    """Subclass it as `class TestMyJournal(JournalSuite)` and override the fixture `journal`.

    It tests what one process sees; take SharedJournalSuite when several processes see the same journal.
    """

    @pytest.fixture
    def journal(self) -> Journal:
        """An empty Journal; close its connections after the `yield`."""
        pytest.fail("Override the fixture `journal` to give an empty Journal.")

    def test_an_entry_is_found_as_it_was_written(self, journal: Journal) -> None:
        journal.write("host:1", [running("job-1", 3)])
        assert journal.find("job-1") == running("job-1", 3)

    @pytest.mark.parametrize("state", list(RunState))
    def test_every_state_is_kept(self, journal: Journal, state: RunState) -> None:
        journal.write("host:1", [JournalEntry("job-1", 1, state)])
        found = journal.find("job-1")
        assert found is not None
        assert found.state is state
        assert found.ended is (state not in (RunState.RUNNING, RunState.FINISHED))

    def test_an_unknown_job_is_not_found(self, journal: Journal) -> None:
        assert journal.find("job-1") is None
        journal.write("host:1", [running("job-10")])
        assert journal.find("job-1") is None

    def test_a_retried_job_is_another_run(self, journal: Journal) -> None:
        journal.write("host:1", [done("job-1", 3)])
        assert journal.find("job-1+1") is None

    def test_a_writer_replaces_all_it_said(self, journal: Journal) -> None:
        journal.write("host:1", [running("job-1"), done("job-0")])
        journal.write("host:1", [running("job-2"), done("job-1")])
        assert journal.find("job-0") is None
        assert journal.find("job-1") == done("job-1")
        assert journal.find("job-2") == running("job-2")

    def test_a_writer_may_say_nothing(self, journal: Journal) -> None:
        journal.write("host:1", [running("job-1")])
        journal.write("host:1", [])
        assert journal.find("job-1") is None

    def test_writers_do_not_disturb_each_other(self, journal: Journal) -> None:
        journal.write("host:1", [running("job-1")])
        journal.write("host:2", [running("job-2")])
        journal.write("host:2", [])
        assert journal.find("job-1") == running("job-1")

    @pytest.mark.parametrize("further_first", [True, False])
    @pytest.mark.parametrize(
        ("less", "further"),
        [
            (done("job-1", 1), running("job-1", 2)),
            (running("job-1", 1), done("job-1", 1)),
            (running("job-1", 1), JournalEntry("job-1", 1, RunState.RELEASED)),
            (JournalEntry("job-1", 9, RunState.FAILED), running("job-1", 10)),
        ],
    )
    def test_the_highest_attempt_is_found_and_of_one_attempt_the_ended_run(
        self, journal: Journal, less: JournalEntry, further: JournalEntry, further_first: bool
    ) -> None:
        entries = [further, less] if further_first else [less, further]
        journal.write("host:1", entries[:1])
        journal.write("host:2", entries[1:])
        assert journal.find("job-1") == further

    def test_entries_of_one_writer_are_ranked_too(self, journal: Journal) -> None:
        journal.write("host:1", [running("job-1", 2), done("job-1", 1)])
        assert journal.find("job-1") == running("job-1", 2)

    def test_a_start_is_claimed_once(self, journal: Journal) -> None:
        assert journal.claim("a", 2)
        assert not journal.claim("a", 2)
        assert journal.claim("a", 3)
        assert journal.claim("b", 2)

    def test_of_many_threads_one_claims_a_start(self, journal: Journal) -> None:
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: journal.claim("contested", 1), range(32)))
        assert sum(answers) == 1

    def test_an_erased_writer_said_nothing(self, journal: Journal) -> None:
        journal.write("host:1", [running("job-1")])
        journal.write("host:2", [running("job-2")])
        journal.erase("host:1")
        journal.erase("host:3")
        assert journal.find("job-1") is None
        assert journal.find("job-2") == running("job-2")

    def test_an_erased_writer_may_write_again(self, journal: Journal) -> None:
        journal.write("host:1", [running("job-1")])
        journal.erase("host:1")
        journal.write("host:1", [running("job-2")])
        assert journal.find("job-2") == running("job-2")

    def test_prune_forgets_who_was_silent_that_long(self, journal: Journal) -> None:
        journal.write("host:1", [running("job-1")])
        journal.write("host:2", [running("job-2")])
        between = time.monotonic()
        time.sleep(0.5)
        journal.write("host:2", [running("job-2", 2)])
        assert journal.prune(timedelta(hours=1)) == 0
        assert journal.prune(timedelta(seconds=time.monotonic() - between)) == 1
        assert journal.find("job-1") is None
        assert journal.find("job-2") == running("job-2", 2)

    def test_prune_may_forget_everybody(self, journal: Journal) -> None:
        for number in range(3):
            journal.write(f"host:{number}", [running("job-1")])
        assert journal.prune(timedelta(0)) == 3
        assert journal.find("job-1") is None
        assert journal.prune(timedelta(0)) == 0

    def test_names_of_any_kind_are_kept(self, journal: Journal) -> None:
        odd = 'zażółć 🦄 "quoted" \\ \n new line, comma: [x]'
        journal.write("größe@host:1", [running("job-1"), done(odd, 2)])
        assert journal.find(odd) == done(odd, 2)
        journal.erase("größe@host:1")
        assert journal.find(odd) is None

    @pytest.mark.parametrize("key", ODD_KEYS.values(), ids=ODD_KEYS)
    def test_keys_of_any_kind_are_kept_and_told_apart(self, journal: Journal, key: str) -> None:
        journal.write("host:1", [running("job-1"), done(key, 2)])
        assert journal.find(key) == done(key, 2)
        assert journal.find("job-1") == running("job-1"), "the entry beside it"
        assert journal.find(f"{key}x") is None
        assert journal.find(key.upper()) is None or key == key.upper()

    @pytest.mark.parametrize("key", ODD_KEYS.values(), ids=ODD_KEYS)
    def test_starts_of_jobs_with_keys_of_any_kind_are_claimed_once(self, journal: Journal, key: str) -> None:
        assert journal.claim(key, 1)
        assert not journal.claim(key, 1)
        assert journal.claim(key, 2)
        assert journal.claim(f"{key}x", 1)
        assert key == key.upper() or journal.claim(key.upper(), 1)

    def test_prune_leaves_claims_of_the_last_day_alone(self, journal: Journal) -> None:
        assert journal.claim("job-1", 2)
        journal.prune(timedelta(0))
        assert not journal.claim("job-1", 2)

    def test_threads_may_write_at_once(self, journal: Journal) -> None:
        def write(thread: int) -> None:
            for attempt in range(1, 21):
                journal.write(f"host:{thread}", [running(f"job-{thread}", attempt), done("the same job", attempt)])

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(write, range(8)))
        assert [journal.find(f"job-{thread}") for thread in range(8)] == [
            running(f"job-{thread}", 20) for thread in range(8)
        ]
        assert journal.find("the same job") == done("the same job", 20)


class SharedJournalSuite(JournalSuite):
    """JournalSuite for a journal that outlives its writers and is seen by other processes."""

    def test_a_note_survives_kill_9_of_its_writer(self, journal: Journal) -> None:
        journal.write("parent", [running("job-0")])  # connects before the fork

        def run_and_die(child: int) -> None:
            for attempt in range(1, 8):
                journal.write(f"child:{child}", [running(f"job-{child}", attempt)])
            os.kill(os.getpid(), signal.SIGKILL)

        children = [Child(partial(run_and_die, child)) for child in range(4)]
        assert [child.wait() for child in children] == [-signal.SIGKILL] * 4
        for child in range(4):
            last = running(f"job-{child}", 7)
            assert eventually(lambda last=last: journal.find(last.run_key) == last)  # type: ignore[misc]  # binds `last`

    def test_the_only_note_of_a_writer_survives_kill_9(self, journal: Journal) -> None:
        def run_and_die() -> None:
            journal.write("child", [running("job-1")])
            os.kill(os.getpid(), signal.SIGKILL)

        assert Child(run_and_die).wait() == -signal.SIGKILL
        assert eventually(lambda: journal.find("job-1")) == running("job-1")

    def test_processes_may_write_at_once(self, journal: Journal) -> None:
        journal.write("parent", [running("job of the parent")])

        def write(child: int) -> None:
            for attempt in range(1, 31):
                journal.write(f"child:{child}", [running(f"job-{child}", attempt)])
            assert journal.find(f"job-{child}") == running(f"job-{child}", 30)

        works: list[Callable[[], object]] = [partial(write, child) for child in range(4)]
        in_children(works)
        journal.write("parent", [done("job of the parent")])
        assert journal.find("job of the parent") == done("job of the parent")
        assert journal.find("job-3") == running("job-3", 30)
