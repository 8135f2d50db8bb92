"""BatchCountsSuite: the half of BatchesSuite about what a batch counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from laraq.messages.tally import CLOSED, FIRST_LOAD, BatchQuery, BatchRecord, MemberState, Settled, Tally
from laraq.ports import Batches

PENDING, DONE, FAILED, DROPPED = MemberState
#: Seconds no test takes to end.
LONG = 60.0
#: Seconds that every store can tell apart.
TICK = 0.005


class BatchCountsSuite:
    """Part of BatchesSuite."""

    @pytest.fixture
    def batches(self) -> Batches:
        """Batches of which there are none; close their connections after the `yield`."""
        pytest.fail("Override the fixture `batches` to give Batches of which there are none.")

    # Batches that are made

    def test_a_batch_is_found_as_it_was_created(self, batches: Batches) -> None:
        batch = BatchRecord(
            id="b",
            name='Import ☃ "7"',
            options={"queue": "größe", "then": [{"path": "a.b", "n": 1.5}], "none": None},
            wants=frozenset({"then", "finally"}),
            allow_failures=True,
        )
        batches.create(batch, ["j1", "j2"], LONG)
        found = record(batches)
        assert (found.name, found.options, found.wants) == (batch.name, batch.options, batch.wants)
        assert found.allow_failures is True
        assert (found.total, found.pending, found.unsettled, found.loads) == (2, 2, 2, 1)
        assert (found.sent, found.cancelled_at, found.finished_at) == (frozenset(), None, None)
        assert found.created_at is not None
        assert abs(found.created_at - datetime.now(UTC)) < timedelta(seconds=2)

    def test_a_known_id_stays_as_it_is(self, batches: Batches) -> None:
        make(batches, "j1", name="first")
        batches.settle("b", DONE, "j1")
        before = record(batches)
        batches.create(BatchRecord(id="b", name="second", allow_failures=True), ["j2"], LONG)
        assert record(batches) == before

    def test_a_job_named_twice_is_one_member(self, batches: Batches) -> None:
        batches.create(BatchRecord(id="b"), ["j1", "j2", "j1"], LONG)
        tally = added(batches, "j3", "j2", "j3")
        assert tally.total == 3
        assert list(batches.jobs("b", PENDING)) == ["j1", "j2", "j3"]

    def test_of_a_batch_that_is_not_there_nothing_is_known(self, batches: Batches) -> None:
        make(batches, "j1", id="other")
        assert batches.find("b") is None
        assert batches.add("b", "load", ["j"], LONG) is None
        assert batches.end_load("b", FIRST_LOAD) is None
        assert batches.settle("b", DONE, "j1") is None
        assert batches.settle("b", FAILED, "j1", "j2", dropped=["j3"]) is None
        assert batches.state("b", "j1") is None
        assert batches.cancel("b") is None
        assert batches.mark("b", "then") is False
        assert batches.mark("b", CLOSED) is False
        assert list(batches.jobs("b", PENDING)) == []
        assert [batch.id for batch in batches.all()] == ["other"]

    @pytest.mark.parametrize(("id", "other"), [("b", "B"), ("b:jobs", "b"), ("ключ 🦄", "ключ 🦊"), ("50%", "50_")])
    def test_ids_differ_by_every_character(self, batches: Batches, id: str, other: str) -> None:
        make(batches, "J", id=id)
        make(batches, "j", id=other)
        batches.settle(id, DONE, id)
        assert list(batches.jobs(id, PENDING)) == ["J"]
        assert list(batches.jobs(id, DONE)) == [id]
        assert list(batches.jobs(other, PENDING)) == ["j"]

    # Loads

    def test_an_empty_batch_finishes_with_its_first_load(self, batches: Batches) -> None:
        batches.create(BatchRecord(id="b"), [], LONG)
        assert record(batches).finished_at is None
        assert ended(batches).finished_at is not None

    def test_a_batch_does_not_finish_while_a_load_is_under_way(self, batches: Batches) -> None:
        make(batches, "j1", loaded=False)
        assert settled(batches, "j1").tally.finished_at is None
        assert added(batches, load="more").loads == 2
        assert ended(batches).finished_at is None
        assert ended(batches, "more").finished_at is not None

    def test_added_jobs_are_members_in_their_order(self, batches: Batches) -> None:
        make(batches, "j3", "j1")
        assert added(batches, "j9", "j2").total == 4
        assert added(batches, "j0", load="other").total == 5
        assert list(batches.jobs("b", PENDING)) == ["j3", "j1", "j9", "j2", "j0"]

    def test_adding_again_changes_nothing(self, batches: Batches) -> None:
        make(batches, "j1")
        once = added(batches, "j1", "j2")
        assert added(batches, "j1", "j2") == once

    def test_a_job_that_was_settled_before_it_is_added_stays_settled(self, batches: Batches) -> None:
        make(batches)
        settled(batches, "j1")
        tally = added(batches, "j1", "j2")
        assert (tally.total, tally.done, tally.unsettled) == (2, 1, 1)

    def test_a_finished_batch_is_opened_by_a_load(self, batches: Batches) -> None:
        make(batches, "j1")
        assert settled(batches, "j1").tally.finished_at is not None
        batches.mark("b", CLOSED)
        tally = added(batches)
        assert (tally.finished_at, tally.sent) == (None, frozenset())
        assert ended(batches, "load").finished_at is not None
        assert list(batches.overdue(0)) == ["b"]

    def test_a_cancelled_batch_takes_no_new_load_but_the_rest_of_one(self, batches: Batches) -> None:
        make(batches, "j1")
        added(batches, "j2", load="old")
        batches.cancel("b")
        assert batches.add("b", "new", ["j9"], LONG) is None
        assert added(batches, "j3", load="old").total == 3
        assert ended(batches, "old").total == 3
        assert batches.add("b", "old", ["j9"], LONG) is None
        assert list(batches.jobs("b", PENDING)) == ["j1", "j2", "j3"]

    def test_a_load_ends_once(self, batches: Batches) -> None:
        make(batches, "j1", loaded=False)
        assert ended(batches).loads == 0
        once = record(batches)
        assert ended(batches, keep=False).loads == 0
        assert ended(batches, "never begun", keep=False).loads == 0
        assert record(batches) == once

    def test_an_abandoned_load_takes_its_pending_jobs_along_and_no_others(self, batches: Batches) -> None:
        make(batches, "j1")
        added(batches, "j1", "j2", "j3", load="a")
        added(batches, "j3", "j4", load="b")
        batches.settle("b", DONE, "j2")
        tally = ended(batches, "a", keep=False)
        assert (tally.total, tally.done, tally.loads) == (3, 1, 1)
        assert list(batches.jobs("b", PENDING)) == ["j1", "j4"]
        assert list(batches.jobs("b", DONE)) == ["j2"]

    def test_the_first_load_may_be_abandoned(self, batches: Batches) -> None:
        make(batches, "j1", "j2", loaded=False)
        added(batches, "j3", load=FIRST_LOAD)
        batches.settle("b", FAILED, "j1")
        tally = ended(batches, keep=False)
        assert (tally.total, tally.failed, tally.complete) == (1, 1, True)
        assert tally.finished_at is not None

    def test_what_an_earlier_load_of_that_name_brought_is_kept(self, batches: Batches) -> None:
        make(batches)
        added(batches, "j1")
        ended(batches, "load")
        added(batches, "j2")
        ended(batches, "load", keep=False)
        assert list(batches.jobs("b", PENDING)) == ["j1"]

    def test_thousands_of_jobs_are_added_abandoned_and_deleted(self, batches: Batches) -> None:
        jobs = [f"j{number}" for number in range(2500)]
        batches.create(BatchRecord(id="b"), jobs[:1000], LONG)
        assert added(batches, *jobs[1000:2000], load=FIRST_LOAD).total == 2000
        assert ended(batches).total == 2000
        assert added(batches, *jobs[2000:]).total == 2500
        assert list(batches.jobs("b", PENDING)) == jobs
        assert ended(batches, "load", keep=False).total == 2000
        assert batches.delete(BatchQuery()) == 1
        make(batches)
        assert record(batches).total == 0

    # Outcomes

    @pytest.mark.parametrize("before", MemberState)
    def test_an_outcome_is_noted_by_the_rule_of_member_states(self, batches: Batches, before: MemberState) -> None:
        for outcome in MemberState:
            id = f"told {outcome}"
            make(batches, "j1", "j2", id=id)
            batches.settle(id, before, "j1")
            after = before.after(outcome)
            answer = settled(batches, "j1", outcome, id=id)
            assert answer.changed is (after is not before)
            assert settled(batches, "j1", outcome, id=id) == (answer.tally, False)
            assert list(batches.jobs(id, after)) == (["j1", "j2"] if after is PENDING else ["j1"])
            assert counts(answer.tally) == (2, after is DONE, after is FAILED, after is DROPPED)

    def test_the_state_of_a_job_is_its_own(self, batches: Batches) -> None:
        make(batches, "j1", "j2", "j3", allow_failures=True)
        batches.settle("b", DONE, "j1")
        batches.settle("b", FAILED, "j2")
        assert [batches.state("b", job) for job in ("j1", "j2", "j3", "j4")] == [DONE, FAILED, PENDING, None]

    def test_a_job_that_was_no_member_becomes_one(self, batches: Batches) -> None:
        for outcome in MemberState:
            id = f"told {outcome}"
            make(batches, "j1", id=id)
            answer = settled(batches, "stranger", outcome, id=id)
            assert answer.changed is True
            assert counts(answer.tally) == (2, outcome is DONE, outcome is FAILED, outcome is DROPPED)
            assert "stranger" in batches.jobs(id, outcome)
            assert settled(batches, "stranger", outcome, id=id).changed is False

    def test_several_succeed_in_one_step(self, batches: Batches) -> None:
        make(batches, "pending", "done", "failed", "dropped", "other", allow_failures=True)
        batches.settle("b", DONE, "done")
        batches.settle("b", FAILED, "failed", dropped=["dropped"])
        answer = succeeded(batches, "pending", "done", "failed", "dropped", "stranger", "pending")
        assert answer.changed is True
        assert counts(answer.tally) == (6, 5, 0, 0)
        assert record(batches).done == 5
        assert list(batches.jobs("b", DONE)) == ["pending", "done", "failed", "dropped", "stranger"]
        again = succeeded(batches, "stranger", "pending", "done")
        assert (again.changed, counts(again.tally)) == (False, (6, 5, 0, 0))
        assert added(batches, "late").total == 7
        assert list(batches.jobs("b", PENDING)) == ["other", "late"]

    def test_several_fail_in_one_step(self, batches: Batches) -> None:
        """Outcomes reported together count as if reported one by one, whatever state the jobs are in."""
        ended = ["pending", "done", "failed", "dropped", "stranger", "pending"]
        for id in ("b", "c"):
            make(batches, "pending", "done", "failed", "dropped", "link", "behind", "rest", id=id, allow_failures=True)
            batches.settle(id, DONE, "done")
            batches.settle(id, FAILED, "failed", dropped=["dropped"])
        together = failed(batches, *ended, dropped=["link", "behind", "done", "pending"])
        for job in ended:
            batches.settle("c", FAILED, job, dropped=["link", "behind"])
        assert together.changed is True
        assert counts(together.tally) == counts(record(batches)) == counts(record(batches, "c")) == (8, 1, 4, 2)
        for state in MemberState:
            assert batches.jobs("b", state) == batches.jobs("c", state)
        assert failed(batches, *ended, dropped=["link"]).changed is False
        assert added(batches, "late").total == 9
        assert list(batches.jobs("b", PENDING)) == ["rest", "late"]

    def test_the_last_to_fail_finish_the_batch(self, batches: Batches) -> None:
        make(batches, "j1", "j2", "j3", allow_failures=True)
        batches.end_load("b", FIRST_LOAD)
        assert failed(batches, "j1").tally.finished_at is None
        last = failed(batches, "j2", "j3").tally
        assert last.finished_at is not None
        assert last.cancelled_at is None

    def test_the_first_to_fail_cancel_a_batch_that_allows_none(self, batches: Batches) -> None:
        make(batches, "j1", "j2", "j3")
        assert failed(batches, "j1", "j2").tally.cancelled_at is not None

    def test_the_last_to_succeed_finish_the_batch(self, batches: Batches) -> None:
        make(batches, "j1", "j2", "j3", loaded=False)
        assert succeeded(batches, "j1", "j2").tally.finished_at is None
        assert succeeded(batches, "j3").tally.finished_at is None, "more may be added"
        assert ended(batches).finished_at is not None
        batches.mark("b", CLOSED)
        moment = record(batches).finished_at
        assert succeeded(batches, "j1", "j3").tally.finished_at == moment
        assert CLOSED in record(batches).sent
        late = succeeded(batches, "stranger").tally
        assert (late.finished_at, late.sent) == (moment, frozenset())

    def test_success_cancels_nothing_and_counts_in_a_cancelled_batch(self, batches: Batches) -> None:
        make(batches, "j1", "j2", "j3")
        assert succeeded(batches, "j1").tally.cancelled_at is None
        batches.settle("b", FAILED, "j2")
        answer = succeeded(batches, "j2", "j3").tally
        assert answer.cancelled_at is not None
        assert (counts(answer), answer.complete) == ((3, 3, 0, 0), True)

    def test_pending_jobs_are_dropped_with_a_failure(self, batches: Batches) -> None:
        make(batches, "head", "done", "failed", "tail1", "tail2", "other", allow_failures=True)
        batches.settle("b", DONE, "done")
        batches.settle("b", FAILED, "failed")
        answer = settled(batches, "head", FAILED, "tail1", "done", "failed", "tail2", "tail1", "head", "no member")
        assert counts(answer.tally) == (6, 1, 2, 2)
        assert list(batches.jobs("b", DROPPED)) == ["tail1", "tail2"]
        assert list(batches.jobs("b", PENDING)) == ["other"]
        assert settled(batches, "head", FAILED, "tail1", "tail2") == (answer.tally, False)

    def test_what_is_dropped_later_counts_though_the_failure_was_told_before(self, batches: Batches) -> None:
        make(batches, "head", "tail")
        batches.settle("b", FAILED, "head")
        answer = settled(batches, "head", FAILED, "tail")
        assert answer.changed is False
        assert answer.tally.dropped == 1
        assert answer.tally.finished_at is not None

    def test_the_last_outcome_finishes_a_batch_whatever_it_is(self, batches: Batches) -> None:
        make(batches, "j1", "j2", "j3", allow_failures=True)
        assert settled(batches, "j1", DONE).tally.finished_at is None
        finished = settled(batches, "j2", FAILED, "j3").tally
        assert finished.finished_at is not None
        assert abs(finished.finished_at - datetime.now(UTC)) < timedelta(seconds=2)
        assert counts(record(batches)) == (3, 1, 1, 1)

    def test_a_finished_batch_keeps_its_moment_until_it_is_opened_again(self, batches: Batches) -> None:
        make(batches, "j1", "j2", allow_failures=True)
        batches.settle("b", DONE, "j1")
        finished = settled(batches, "j2", FAILED).tally.finished_at
        time.sleep(TICK)
        assert settled(batches, "j2", DONE).tally.finished_at == finished
        assert settled(batches, "stranger", PENDING).tally.finished_at is None
        again = settled(batches, "stranger", FAILED).tally.finished_at
        assert finished is not None
        assert again is not None
        assert again > finished

    @pytest.mark.parametrize("allow_failures", [False, True])
    def test_a_failure_cancels_unless_failures_are_allowed(self, batches: Batches, allow_failures: bool) -> None:
        make(batches, "j1", "j2", "j3", allow_failures=allow_failures)
        assert settled(batches, "j3", DROPPED).tally.cancelled_at is None
        cancelled_at = settled(batches, "j1", FAILED).tally.cancelled_at
        assert (cancelled_at is None) is allow_failures
        time.sleep(TICK)
        assert settled(batches, "j2", FAILED).tally.cancelled_at == cancelled_at
        assert record(batches).cancelled_at == cancelled_at

    def test_a_cancelled_batch_counts_on(self, batches: Batches) -> None:
        make(batches, "j1")
        cancelled = batches.cancel("b")
        assert cancelled is not None
        assert cancelled.cancelled_at is not None
        assert cancelled.finished_at is None
        time.sleep(TICK)
        assert batches.cancel("b") == cancelled
        finished = settled(batches, "j1").tally
        assert finished.finished_at is not None
        assert finished.cancelled_at == cancelled.cancelled_at

    # Events

    def test_an_event_is_marked_once(self, batches: Batches) -> None:
        make(batches, "j1")
        assert batches.mark("b", "then") is True
        assert batches.mark("b", "then") is False
        assert record(batches).sent == {"then"}

    def test_events_differ_by_every_character(self, batches: Batches) -> None:
        events = [
            "then",
            "the",
            "Then",
            "then,",
            ',"then"',
            '"then"',
            "a,then",
            "t%",
            "ключ 🦄",
            "failure:1",
            "failure:",
        ]
        make(batches, "j1")
        assert [batches.mark("b", event) for event in events] == [True] * len(events)
        assert [batches.mark("b", event) for event in events] == [False] * len(events)
        assert record(batches).sent == set(events)

    @pytest.mark.parametrize(
        "change",
        [
            lambda batches: batches.settle("b", DONE, "j1"),
            lambda batches: batches.settle("b", DONE, "stranger"),
            lambda batches: batches.settle("b", DONE, "j1", "j2"),
            lambda batches: batches.settle("b", FAILED, "stranger"),
            lambda batches: batches.settle("b", PENDING, "j1"),
            lambda batches: batches.cancel("b"),
            lambda batches: (batches.add("b", "load", [], LONG), batches.end_load("b", "load")),
        ],
    )
    def test_a_change_takes_the_mark_closed_away_and_nothing_else(
        self, batches: Batches, change: Callable[[Batches], object]
    ) -> None:
        make(batches, "j1", allow_failures=True)
        batches.settle("b", FAILED, "j1")
        batches.mark("b", "then")
        assert batches.mark("b", CLOSED) is True
        assert batches.mark("b", CLOSED) is False
        assert record(batches).sent == {"then", CLOSED}
        change(batches)
        assert record(batches).sent == {"then"}

    def test_what_was_told_before_leaves_the_mark_closed(self, batches: Batches) -> None:
        make(batches, "j1")
        batches.settle("b", FAILED, "j1")
        batches.mark("b", CLOSED)
        batches.settle("b", FAILED, "j1", dropped=["j1"])
        batches.cancel("b")
        batches.end_load("b", FIRST_LOAD)
        assert record(batches).sent == {CLOSED}
        assert list(batches.overdue(0)) == []

    def test_a_mark_that_came_too_late_does_not_close_what_finishes_later(self, batches: Batches) -> None:
        make(batches, "j1")
        batches.mark("b", CLOSED)
        batches.settle("b", DONE, "j1")
        assert list(batches.overdue(0)) == ["b"]

    def test_threads_settle_each_job_once(self, batches: Batches) -> None:
        make(batches, *map(str, range(20)))
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda number: settled(batches, str(number % 20)), range(60)))
        assert sum(answer.changed for answer in answers) == 20
        assert counts(record(batches)) == (20, 20, 0, 0)
        assert len({answer.tally.finished_at for answer in answers} - {None}) == 1


def make(
    batches: Batches, *jobs: str, id: str = "b", loaded: bool = True, allow_failures: bool = False, name: str = ""
) -> None:
    """Create a batch of these jobs whose first load is over."""
    batches.create(BatchRecord(id=id, allow_failures=allow_failures, name=name), jobs, LONG)
    if loaded:
        batches.end_load(id, FIRST_LOAD)


def record(batches: Batches, id: str = "b") -> BatchRecord:
    """The batch, which is there."""
    found = batches.find(id)
    assert found is not None
    return found


def added(batches: Batches, *jobs: str, load: str = "load") -> Tally:
    """What the batch counts once the jobs were added, as they were."""
    tally = batches.add("b", load, jobs, LONG)
    assert tally is not None
    return tally


def ended(batches: Batches, load: str = FIRST_LOAD, *, keep: bool = True) -> Tally:
    """What the batch counts once the load is over."""
    tally = batches.end_load("b", load, keep=keep)
    assert tally is not None
    return tally


def settled(batches: Batches, job: str, outcome: MemberState = DONE, *dropped: str, id: str = "b") -> Settled:
    """The answer to an outcome."""
    answer = batches.settle(id, outcome, job, dropped=dropped)
    assert answer is not None
    return answer


def failed(batches: Batches, *jobs: str, dropped: Sequence[str] = ()) -> Settled:
    """The answer to failures."""
    answer = batches.settle("b", FAILED, *jobs, dropped=dropped)
    assert answer is not None
    return answer


def succeeded(batches: Batches, *jobs: str) -> Settled:
    """The answer to successes."""
    answer = batches.settle("b", DONE, *jobs)
    assert answer is not None
    return answer


def counts(tally: Tally) -> tuple[int, int, int, int]:
    """Members, and how many of them are done, failed and dropped."""
    return tally.total, tally.done, tally.failed, tally.dropped
