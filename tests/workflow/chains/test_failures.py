"""A failed link stops its chain, is caught, and goes on from there when it is retried."""

from __future__ import annotations

import pytest

from laraq import Bus, Job, closure
from laraq.workflow.callbacks import CallQueuedCallback
from tests.support.line import Line
from tests.workflow.chains.jobs import Breaks, Note, Quits, by_name, caught, log, note, noted


def caught_too(error: BaseException) -> None:
    note(("caught too", str(error)))


@pytest.mark.parametrize("breaking", [0, 1, 2], ids=["first", "middle", "last"])
def test_a_failed_link_stops_the_chain_and_every_catch_is_called_once(line: Line, breaking: int) -> None:
    jobs: list[Job] = [Note(0), Note(1), Note(2)]
    jobs[breaking] = Breaks(breaking)
    Bus.chain(jobs).catch(caught).catch(caught_too).on_queue("q").dispatch()
    line.work()
    text = f"no {breaking}"
    assert log == [*range(breaking), f"break {breaking}", ("caught", "ValueError", text), ("caught too", text)]
    assert {payload.queue for payload in line.taken} == {"q"}


def test_catch_is_not_called_when_all_goes_well(line: Line) -> None:
    Bus.chain([Note(1), Note(2)]).catch(caught).dispatch()
    line.work()
    assert log == [1, 2]


def test_catch_comes_before_failed_and_is_a_job_of_its_own(line: Line) -> None:
    class Fails(Breaks):
        def failed(self, error: BaseException | None) -> None:
            note(("failed", [payload.job for payload, _ in line.waiting]))

    Bus.chain([Fails(1), Note(2)]).catch(caught).dispatch()
    line.step()
    assert log == ["break 1", ("failed", [CallQueuedCallback.job_name()])]
    line.work()
    assert log[2:] == [("caught", "ValueError", "no 1")]


def test_fail_by_hand_and_used_up_tries_stop_the_chain_as_well(line: Line) -> None:
    class Always(Note):
        tries = 2

        def handle(self) -> None:
            self.release()

    Bus.chain([Quits(1, "fail"), Note(2)]).catch(caught).dispatch()
    line.work()
    Bus.chain([Always(1), Note(2)]).catch(caught).dispatch()
    line.work()
    assert log[:2] == ["fail 1 1", ("caught", "ManuallyFailedError", "enough")]
    assert log[2][:2] == ("caught", "MaxAttemptsExceededError")
    assert 2 not in log


def test_the_catch_callbacks_may_be_jobs_and_signatures(line: Line) -> None:
    Bus.chain([Breaks(1)]).catch(Note(5)).catch(noted.job(6)).catch(Note.si(7)).catch(closure(by_name)).dispatch()
    line.work()
    assert log == ["break 1", 5, ("function", 6), 7, "by name"]


class Repairable(Note):
    def handle(self) -> None:
        if "repaired" not in log:
            raise ValueError("out of order")
        note(self.n)


def test_a_retried_link_resumes_its_chain_where_it_stopped(line: Line) -> None:
    Bus.chain([Note(1), Repairable(2), Note(3)]).catch(caught).dispatch()
    line.work()
    assert log == [1, ("caught", "ValueError", "out of order")]
    [failed] = line.laraq.failed.all()
    note("repaired")
    line.laraq.failed.retry(failed.id)
    line.work()
    assert log[3:] == [2, 3]
    assert line.laraq.failed.all() == []


def test_a_retried_link_that_fails_again_is_caught_again(line: Line) -> None:
    Bus.chain([Repairable(2)]).catch(caught).dispatch()
    line.work()
    line.laraq.failed.retry("all")
    line.work()
    assert log == [("caught", "ValueError", "out of order")] * 2
