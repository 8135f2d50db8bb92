"""FailedJobsSuite: what every FailedJobs must do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial

import pytest

from laraq.messages.failure import FailedJob, FailedJobQuery
from laraq.messages.payload import Payload
from laraq.ports import FailedJobs
from laraq.testing.suite.forking import in_children

#: With microseconds, because `forget` compares them.
MOMENT = datetime(2026, 3, 29, 1, 59, 59, 123457, tzinfo=UTC)


def failure(id: str = "job-1", *, minutes: float = 0, **changes: object) -> FailedJob:
    """A failed job, `minutes` after MOMENT."""
    job = FailedJob(
        id=id,
        connection="redis",
        queue="default",
        job="shop.jobs.Charge",
        payload=Payload(id, "shop.jobs.Charge", {"order": 7}, options={"tries": 3}).to_dict(),
        exception="Traceback (most recent call last):\nValueError: no",
        failed_at=MOMENT + timedelta(minutes=minutes),
        attempts=3,
    )
    return replace(job, **changes)  # type: ignore[arg-type]  # the callers name fields of FailedJob


#: Four records that differ in everything a query can ask for; the oldest first.
MIXED = (
    failure("mail-1", minutes=1, queue="mail", connection="sqs", tags=("tenant:1", "urgent")),
    failure("mail-2", minutes=2, queue="mail", tags=("tenant:10",), batch_id="batch-1"),
    failure("charge-1", minutes=3, tags=('tenant:"1"', "Urgent", "%", "été"), batch_id="batch-2"),
    failure("sync-1", minutes=4, job="shop.jobs.Sync"),
)


class FailedJobsSuite:
    """Subclass it as `class TestMyFailedJobs(FailedJobsSuite)` and override the fixture `failed`.

    It tests what one process sees; take SharedFailedJobsSuite when several processes see the same records.
    """

    @pytest.fixture
    def failed(self) -> FailedJobs:
        """An empty FailedJobs; close its connections after the `yield`."""
        pytest.fail("Override the fixture `failed` to give an empty FailedJobs.")

    def test_a_record_is_found_as_it_was_recorded(self, failed: FailedJobs) -> None:
        job = failure(tags=("a", "b"), batch_id="batch-1")
        failed.record(job)
        assert failed.find("job-1") == job

    def test_an_unknown_id_is_not_found(self, failed: FailedJobs) -> None:
        failed.record(failure())
        assert failed.find("job-2") is None

    def test_the_payload_of_a_record_can_be_sent_again(self, failed: FailedJobs) -> None:
        payload = Payload("job-1", "shop.jobs.Charge", {"a": [1, None, {"b": 1.5}]}, args=("x",), tags=("t",))
        failed.record(failure(payload=payload.to_dict()))
        found = failed.find("job-1")
        assert found is not None
        assert Payload.from_dict(found.payload) == payload

    def test_the_moment_of_failure_comes_back_in_utc_to_the_microsecond(self, failed: FailedJobs) -> None:
        elsewhere = MOMENT.astimezone(timezone(timedelta(hours=-7)))
        failed.record(failure("job-1", failed_at=elsewhere))
        failed.record(failure("job-2", failed_at=MOMENT.replace(microsecond=0)))
        first, second = failed.find("job-1"), failed.find("job-2")
        assert first is not None
        assert second is not None
        assert first.failed_at == MOMENT
        assert second.failed_at == MOMENT.replace(microsecond=0)
        assert first.failed_at.utcoffset() is not None

    def test_a_second_failure_of_the_same_job_replaces_the_first(self, failed: FailedJobs) -> None:
        failed.record(failure(tags=("old",), batch_id="old"))
        again = failure(minutes=1, exception="ValueError: again", queue="other", attempts=4)
        failed.record(again)
        assert list(failed.all()) == [again]
        assert failed.count() == 1
        assert failed.count(FailedJobQuery(tag="old")) == 0

    def test_recording_twice_changes_nothing(self, failed: FailedJobs) -> None:
        failed.record(failure())
        failed.record(failure())
        assert list(failed.all()) == [failure()]

    def test_all_gives_the_newest_first(self, failed: FailedJobs) -> None:
        for minutes in (2, 0, 3, 1):
            failed.record(failure(f"job-{minutes}", minutes=minutes))
        assert [job.id for job in failed.all()] == ["job-3", "job-2", "job-1", "job-0"]

    def test_a_microsecond_decides_the_order(self, failed: FailedJobs) -> None:
        for number in (1, 2, 0):
            failed.record(failure(f"job-{number}", failed_at=MOMENT + timedelta(microseconds=number)))
        assert [job.id for job in failed.all()] == ["job-2", "job-1", "job-0"]

    @pytest.mark.parametrize(
        ("query", "ids"),
        [
            (FailedJobQuery(), ["sync-1", "charge-1", "mail-2", "mail-1"]),
            (FailedJobQuery(queue="mail"), ["mail-2", "mail-1"]),
            (FailedJobQuery(queue="Mail"), []),
            (FailedJobQuery(connection="sqs"), ["mail-1"]),
            (FailedJobQuery(job="shop.jobs.Sync"), ["sync-1"]),
            (FailedJobQuery(tag="tenant:1"), ["mail-1"]),
            (FailedJobQuery(tag="urgent"), ["mail-1"]),
            (FailedJobQuery(tag='tenant:"1"'), ["charge-1"]),
            (FailedJobQuery(tag="1"), []),
            (FailedJobQuery(tag="%"), ["charge-1"]),
            (FailedJobQuery(tag="été"), ["charge-1"]),
            (FailedJobQuery(batch_id="batch-1"), ["mail-2"]),
            (FailedJobQuery(before=MOMENT + timedelta(minutes=2)), ["mail-2", "mail-1"]),
            (FailedJobQuery(before=MOMENT + timedelta(minutes=2, microseconds=-1)), ["mail-1"]),
            (FailedJobQuery(queue="mail", before=MOMENT + timedelta(minutes=1)), ["mail-1"]),
            (FailedJobQuery(queue="mail", tag="urgent"), ["mail-1"]),
            (FailedJobQuery(queue="mail", job="shop.jobs.Sync"), []),
            (FailedJobQuery(limit=2), ["sync-1", "charge-1"]),
            (FailedJobQuery(queue="mail", limit=1), ["mail-2"]),
            (FailedJobQuery(tag="urgent", limit=1), ["mail-1"]),
            (FailedJobQuery(before=MOMENT + timedelta(minutes=3), limit=1), ["charge-1"]),
            (FailedJobQuery(limit=0), []),
            (FailedJobQuery(limit=9), ["sync-1", "charge-1", "mail-2", "mail-1"]),
        ],
    )
    def test_a_query_narrows_all_count_and_flush_alike(
        self, failed: FailedJobs, query: FailedJobQuery, ids: list[str]
    ) -> None:
        for job in MIXED:
            failed.record(job)
        assert [job.id for job in failed.all(query)] == ids
        assert failed.count(query) == len(ids)
        assert failed.flush(query) == len(ids)
        assert {job.id for job in failed.all()} == {job.id for job in MIXED} - set(ids)

    def test_flush_without_a_query_drops_everything(self, failed: FailedJobs) -> None:
        for job in MIXED:
            failed.record(job)
        assert failed.flush() == 4
        assert list(failed.all()) == []
        assert failed.count() == 0
        assert failed.flush() == 0

    def test_a_forgotten_record_is_gone(self, failed: FailedJobs) -> None:
        failed.record(failure("job-1"))
        failed.record(failure("job-2"))
        assert failed.forget("job-1") is True
        assert failed.find("job-1") is None
        assert failed.forget("job-1") is False
        assert [job.id for job in failed.all()] == ["job-2"]

    def test_forgetting_another_failure_of_the_same_job_is_refused(self, failed: FailedJobs) -> None:
        failed.record(failure())
        for wrong in (MOMENT + timedelta(microseconds=1), MOMENT - timedelta(microseconds=1)):
            assert failed.forget("job-1", wrong) is False
        assert failed.find("job-1") is not None
        assert failed.forget("job-1", MOMENT.astimezone(timezone(timedelta(hours=5)))) is True
        assert failed.find("job-1") is None

    def test_text_of_any_kind_is_kept(self, failed: FailedJobs) -> None:
        job = failure(
            "ключ-1",
            queue="größe",
            payload={"text": "snowman ☃, emoji 🦄, quote ' \" \\ \n, nul \0, half a pair \ud83e"},
            exception="UnicodeError: ☃ 🦄 ' \" \\ %s :name \u2028",
            tags=("naïve", "日本"),
        )
        failed.record(job)
        assert failed.find("ключ-1") == job
        assert list(failed.all(FailedJobQuery(queue="größe", tag="日本"))) == [job]

    def test_an_exception_that_is_not_proper_text_does_not_stop_the_record(self, failed: FailedJobs) -> None:
        failed.record(failure(exception="OSError: file \udcff\0 is gone"))
        found = failed.find("job-1")
        assert found is not None
        assert found.exception.startswith("OSError: file ")
        assert found.exception.endswith(" is gone")

    def test_a_megabyte_is_kept(self, failed: FailedJobs) -> None:
        job = failure(payload={"text": "ä" * 500_000}, exception="x" * 1_000_000)
        failed.record(job)
        assert failed.find("job-1") == job

    def test_a_hundred_records_are_listed(self, failed: FailedJobs) -> None:
        for number in range(100):
            failed.record(failure(f"job-{number}", minutes=number))
        assert [job.id for job in failed.all()] == [f"job-{number}" for number in reversed(range(100))]
        assert failed.flush(FailedJobQuery(before=MOMENT + timedelta(minutes=49))) == 50

    def test_threads_may_record_at_once(self, failed: FailedJobs) -> None:
        def record(thread: int) -> None:
            for number in range(10):
                failed.record(failure(f"job-{thread}-{number}", minutes=number))
                failed.record(failure("the same job", minutes=number))

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(record, range(8)))
        assert failed.count() == 81

    def test_of_many_who_forget_one_record_one_is_told_it_was_there(self, failed: FailedJobs) -> None:
        failed.record(failure())
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: failed.forget("job-1", MOMENT), range(8)))
        assert sorted(answers) == [False] * 7 + [True]


class SharedFailedJobsSuite(FailedJobsSuite):
    """FailedJobsSuite for records that outlive this process and are seen by others."""

    def test_processes_may_record_at_once(self, failed: FailedJobs) -> None:
        failed.count()  # connects before the fork, as a worker's parent process may have done

        def record(child: int) -> None:
            for number in range(10):
                failed.record(failure(f"job-{child}-{number}", minutes=number))
                failed.record(failure("the same job", minutes=number))

        works: list[Callable[[], object]] = [partial(record, child) for child in range(4)]
        in_children(works)
        assert failed.count() == 41

    def test_parent_and_child_share_no_connection(self, failed: FailedJobs) -> None:
        failed.record(failure("parent-before"))

        def child() -> None:
            for _ in range(20):
                assert failed.find("parent-before") is not None
            failed.record(failure("child"))

        works: list[Callable[[], object]] = [child, child]
        in_children(works)
        failed.record(failure("parent-after"))
        assert {job.id for job in failed.all()} == {"parent-before", "child", "parent-after"}
