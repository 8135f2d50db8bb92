"""Jobs live as they do without tracing libraries, whatever those do to the headers of messages, and stay traceable."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.life.conftest import Stage
from tests.support.project import Project
from tests.support.waiting import wait_until
from tests.tracing.libraries import set_up
from tests.tracing.project import FAILED, LATER, PROJECT, SENT, TOMORROW, TRACED_ANEW, WITH_TENANT

pytestmark = [pytest.mark.serial, pytest.mark.fault]


@pytest.mark.parametrize(
    ("library", "broker"),
    [
        ("sentry-2.20", "redis"),
        ("sentry-2.20", "laraq-redis"),
        ("sentry-2.20", "amqp"),
        ("sentry", "redis"),
        ("ddtrace", "redis"),
        ("opentelemetry", "redis"),
    ],
)
def test_every_start_is_counted_and_traced(
    library: str, broker: str, tmp_path: Path, redis_url: str, request: pytest.FixtureRequest
) -> None:
    folder, tracing = set_up(library)
    broker_url = request.getfixturevalue("amqp_url") if broker == "amqp" else redis_url.replace("redis", broker, 1)
    stage = Stage(tmp_path, broker_url, redis_url, "celery")
    project = Project(
        tmp_path,
        {"tracing.py": tracing, "proj.py": PROJECT, "tomorrow.py": TOMORROW},
        # The libraries hook into what is imported after them.
        env={"BROKER": broker_url, "STORE": redis_url, "TRACING": folder, "LARAQ_TEST_EXEC": "1"},
    )
    try:
        _tell_the_story(project, stage)
    finally:
        stage.close()


def _tell_the_story(project: Project, stage: Stage) -> None:
    stage.store.locks.acquire("overlap:k", "holder", 60)
    with project.worker(concurrency=3) as old:
        sent_in = project.python("""
            import tracing, proj, tomorrow
            with tracing.begun():
                print(tracing.trace())
                tomorrow.New.apply_async(("new",), headers={"tenant": "x"})
                proj.send()
        """).strip()
        _wait_for(stage, SENT)
        old.wait_for_log("Job 'tomorrow.New' is unknown to this worker")
        old.wait_for_log(r"Task proj\.Parks\[.*\] retry: parked")
        wait_until(lambda: "hangs" in {note["case"] for note in stage.noted("failed")}, 20, "the one that hangs failed")
        assert old.terminate() == 0
    assert _starts(stage) == SENT
    failed = {record.payload["kwargs"].get("case"): record for record in stage.failed()}
    stage.store.locks.release("overlap:k", "holder")
    stage.record.set("mended", 1)
    with project.worker("tomorrow", pool="solo"):
        project.run([str(Path(sys.executable).parent / "laraq"), "-A", "proj", "retry", "mended"])
        _wait_for(stage, SENT | LATER)
    assert _starts(stage) == SENT | LATER

    for note in stage.noted("failed"):
        assert failed[note["case"]].attempts == len(SENT[note["case"]])
    assert FAILED.items() <= {note["case"]: note["error"] for note in stage.noted("failed")}.items()
    assert len(stage.failed()) == len(FAILED) + 2, "and two tasks"
    for case, notes in _by_case(stage).items():
        wanted = "x" if case in WITH_TENANT else None
        assert [note["tenant"] for note in notes] == [wanted] * len(notes), case
        for number, note in enumerate(notes):
            assert note["carried"], f"start {number + 1} of {case} finds the header of the library"
            assert (note["trace"] == sent_in) is ((case, number) not in TRACED_ANEW), f"start {number + 1} of {case}"


def _by_case(stage: Stage) -> Mapping[str, list[dict[str, Any]]]:
    cases = defaultdict(list)
    for note in stage.noted("start"):
        cases[note["case"]].append(note)
    return cases


def _starts(stage: Stage) -> dict[str, list[int]]:
    return {case: [note["attempt"] for note in notes] for case, notes in _by_case(stage).items()}


def _wait_for(stage: Stage, wanted: Mapping[str, list[int]]) -> None:
    def missing() -> dict[str, Any]:
        starts = _starts(stage)
        return {case: starts.get(case) for case, these in wanted.items() if len(starts.get(case, ())) < len(these)}

    with suppress(AssertionError):
        wait_until(lambda: not missing(), 60)
    assert missing() == {}
