"""`laraq batches`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from laraq import Batch, Laraq
from laraq.cli.batches import status
from laraq.messages.tally import FIRST_LOAD, BatchRecord, MemberState
from tests.cli.programs import FORMS, run_in_terminal
from tests.support.project import Project

PENDING, DONE, FAILED, DROPPED = MemberState
Call = Callable[..., Result]
Make = Callable[..., None]

SOURCE = """
    import os
    from celery import Celery
    from laraq import Laraq

    app = Celery("proj", broker=os.environ["BROKER"])
    Laraq(app)
"""


@pytest.fixture
def make(queue: Laraq) -> Make:
    """Puts a batch into the store whose jobs ended like that."""

    def make(id: str, *outcomes: MemberState, cancel: bool = False, **values: Any) -> None:
        store = queue.batches.store
        store.create(BatchRecord(id=id, **{"allow_failures": True, **values}), [f"{id}-{n}" for n in range(3)], 60)
        store.end_load(id, FIRST_LOAD)
        for number, outcome in enumerate(outcomes):
            store.settle(id, outcome, f"{id}-{number}")
        if cancel:
            store.cancel(id)
        time.sleep(0.002)  # the store tells batches apart by the millisecond

    return make


def test_both_programs_show_the_same(tmp_path: Path, redis_url: str, make: Make) -> None:
    make("b", DONE, DONE, FAILED, name="Import")
    project = Project(tmp_path, {"proj.py": SOURCE}, env={"BROKER": redis_url})
    listed, same = (project.run([*form, "batches", "--json"]) for form in FORMS.values())
    assert listed == same
    [batch] = json.loads(listed)
    assert (batch["id"], batch["name"], batch["status"]) == ("b", "Import", "finished")
    assert (batch["total_jobs"], batch["processed_jobs"], batch["failed_jobs"]) == (3, 2, 1)
    assert "b   Import  finished  67 %      2 of 3  1" in project.run(
        [*FORMS["celery"], "batches", "b", "--watch"], status=1
    )


def test_the_list_is_aligned_text_in_a_pipe_the_newest_first(call: Call, make: Make) -> None:
    make("old", DONE, DONE, DONE)
    make("a-longer-id", DONE, FAILED, name="Import")
    first, second, third = call("batches").stdout.splitlines()
    assert first == "ID           NAME    STATUS    PROGRESS  JOBS    FAILED  CREATED AT (UTC)"
    assert second.startswith(f"a-longer-id  Import  running   33 %      1 of 3  1       {datetime.now(UTC):%Y-%m-%d}")
    assert third.startswith("old                  finished  100 %     3 of 3  0       ")


def test_no_batch_is_no_problem(call: Call) -> None:
    assert call("batches").stdout == "No batches.\n"
    assert call("batches", "--json").stdout == "[]\n"
    assert call("batches", "--watch").stdout == "No batch is running.\n"
    assert call("batches", "--watch").exit_code == 0


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ([], ["cancelled", "running", "done"]),
        (["--unfinished"], ["cancelled", "running"]),
        (["--limit", "1"], ["cancelled"]),
        (["--unfinished", "--limit", "1"], ["cancelled"]),
    ],
)
def test_options_choose_from_the_list(call: Call, make: Make, options: list[str], ids: list[str]) -> None:
    make("done", DONE, DONE, DONE)
    make("running", DONE)
    make("cancelled", cancel=True)
    listed = json.loads(call("batches", "--json", *options).stdout)
    assert [batch["id"] for batch in listed] == ids


@pytest.mark.parametrize(
    ("outcomes", "cancel", "word"),
    [
        ([], False, "running"),
        ([DONE], True, "cancelling"),
        ([DONE, DONE, DONE], False, "finished"),
        ([DONE, FAILED, DROPPED], False, "finished"),
        ([DONE, FAILED, DONE], True, "cancelled"),
    ],
)
def test_one_word_says_how_it_is(
    queue: Laraq, make: Make, outcomes: list[MemberState], cancel: bool, word: str
) -> None:
    make("b", *outcomes, cancel=cancel)
    batch = queue.batches.find("b")
    assert batch is not None
    assert status(batch) == word


def test_one_is_shown_with_its_failed_jobs(call: Call, make: Make) -> None:
    make("b", DONE, FAILED, FAILED, name="Import", cancel=True)
    shown = call("batches", "b").stdout
    assert "ID            b\n" in shown
    assert "Name          Import\n" in shown
    assert "Status        cancelled\n" in shown
    assert "Jobs          1 of 3 succeeded (33 %)\n" in shown
    assert "Cancelled at  2" in shown
    assert "Finished at   2" in shown
    assert "b-1" in shown
    assert "b-2" in shown
    whole = json.loads(call("batches", "b", "--json").stdout)
    assert (whole["id"], whole["failed_job_ids"], whole["status"]) == ("b", ["b-1", "b-2"], "cancelled")


def test_an_unknown_id_is_a_problem(call: Call) -> None:
    result = call("batches", "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: No batch has the id nobody.\n"


@pytest.mark.parametrize("arguments", [["--watch", "--json"], ["--limit", "0"], ["a", "b"]])
def test_wrong_usage_is_told_with_exit_status_2(call: Call, arguments: list[str]) -> None:
    assert call("batches", *arguments).exit_code == 2


@pytest.mark.parametrize(("last", "exit_code"), [(DONE, 0), (FAILED, 1)])
def test_watch_ends_when_the_batches_have_finished(
    queue: Laraq, call: Call, make: Make, monkeypatch: pytest.MonkeyPatch, last: MemberState, exit_code: int
) -> None:
    monkeypatch.setattr("laraq.cli.batches.GLANCE", 0.01)
    make("a", DONE, DONE)
    make("b", DONE, DONE)
    make("gone", DONE)
    find, looked = queue.batches.find, threading.Event()

    def look(id: str) -> Batch | None:
        looked.set()
        return find(id)

    monkeypatch.setattr(queue.batches, "find", look)
    results: list[Result] = []
    watch = threading.Thread(target=lambda: results.append(call("batches", "--watch")))
    watch.start()
    assert looked.wait(20)
    queue.batches.store.settle("a", DONE, "a-2")
    queue.batches.delete(["gone"])
    watch.join(0.2)
    assert watch.is_alive()
    queue.batches.store.settle("b", last, "b-2")
    watch.join(20)
    [result] = results
    assert result.exit_code == exit_code
    assert {line.split()[0] for line in result.stdout.splitlines()[1:]} == {"a", "b", "gone"}


def test_watch_draws_bars_on_a_terminal(queue: Laraq, make: Make, tmp_path: Path, redis_url: str) -> None:
    make("b", DONE, DONE, FAILED, name="Import [red]")
    Project(tmp_path, {"proj.py": SOURCE})
    command = [*FORMS["laraq"], "batches", "b", "--watch"]
    status, screen = run_in_terminal(command, folder=tmp_path, env={"BROKER": redis_url})
    assert status == 1
    assert "Import [red]" in screen
    assert "2/3" in screen
    assert "1 failed" in screen


def test_a_name_does_not_steer_the_terminal(call: Call, make: Make) -> None:
    make("b", name="\x1b[2Jgone\r\nand more")
    for arguments in (["batches"], ["batches", "b"]):
        assert "\x1b" not in call(*arguments).stdout
        assert "\r" not in call(*arguments).stdout
