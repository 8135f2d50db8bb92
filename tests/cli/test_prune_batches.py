"""`laraq prune-batches`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from laraq import Laraq
from laraq.messages.tally import FIRST_LOAD, BatchRecord, MemberState
from tests.cli.programs import FORMS
from tests.support.project import Project


@pytest.fixture
def batches(queue: Laraq) -> Callable[[], set[str]]:
    """One that has finished, one that runs, one that is cancelled and runs, one that is cancelled and finished."""
    store = queue.batches.store
    for id in ("finished", "running", "cancelled", "both"):
        store.create(BatchRecord(id=id), ["j"], 60)
        store.end_load(id, FIRST_LOAD)
    for id in ("finished", "both"):
        store.settle(id, MemberState.DONE, "j")
    for id in ("cancelled", "both"):
        store.cancel(id)
    return lambda: {batch.id for batch in queue.batches.all()}


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ([], set()),
        (["--hours", "24"], set()),
        (["--hours", "0"], {"finished", "both"}),
        (["--unfinished", "0"], {"running", "cancelled"}),
        (["--cancelled", "0"], {"cancelled", "both"}),
        (["--hours=0", "--unfinished=0"], {"finished", "both", "running", "cancelled"}),
        (["--hours=0", "--cancelled=0"], {"finished", "both", "cancelled"}),
        (["--unfinished", "1", "--cancelled", "1"], set()),
    ],
)
def test_batches_are_dropped_by_how_they_ended_and_their_age(
    call: Callable[..., Result], batches: Callable[[], set[str]], options: list[str], gone: set[str]
) -> None:
    result = call("prune-batches", *options)
    assert result.exit_code == 0
    assert result.stdout == f"Dropped {len(gone)} batch{'es' * (len(gone) != 1)}.\n"
    assert batches() == {"finished", "running", "cancelled", "both"} - gone


def test_both_programs_have_it(tmp_path: Path, redis_url: str) -> None:
    source = """
        import os
        from celery import Celery
        from laraq import Bus, Laraq
        app = Celery("proj", broker=os.environ["BROKER"])
        Laraq(app)
    """
    project = Project(tmp_path, {"proj.py": source}, env={"BROKER": redis_url})
    for form in FORMS.values():
        project.python("import proj; proj.Bus.batch([]).dispatch()")
        assert project.run([*form, "prune-batches", "--hours", "0"]) == "Dropped 1 batch.\n"


@pytest.mark.parametrize("arguments", [["--hours", "-1"], ["--hours", "x"], ["extra"]])
def test_wrong_usage_is_told_with_exit_status_2(call: Callable[..., Result], arguments: list[str]) -> None:
    assert call("prune-batches", *arguments).exit_code == 2
