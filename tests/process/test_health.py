from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from laraq.process.health import STORE_REST, Health, lives

NOW = 1000.0


def health(**facts: Any) -> Health:
    return Health(**{"worker": "celery@here", "pid": 7, "state": "running", "at": NOW - 1, **facts})


def problems(**facts: Any) -> list[str]:
    return list(health(**facts).problems(now=NOW, max_age=10, lives=True))


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({}, id="a turn a second ago"),
        pytest.param({"state": "reconnecting", "at": NOW - 9}, id="a short loss of the broker"),
        pytest.param(
            {"children": 1, "children_wanted": 2, "children_missing_since": NOW - 9}, id="a child is replaced"
        ),
        pytest.param({"store_at": NOW - 10 - STORE_REST}, id="the store was not asked for a while"),
        pytest.param({"store_at": NOW - 9, "store_error": "refused"}, id="a short loss of the store"),
        pytest.param({"state": "stopping", "at": NOW - 999}, id="running jobs finish"),
    ],
)
def test_what_is_well(facts: dict[str, Any]) -> None:
    assert problems(**facts) == []


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"at": NOW - 11}, "no sign of life for 11 s"),
        ({"state": "starting"}, "it does not take jobs yet"),
        ({"state": "reconnecting", "at": NOW - 11}, "no connection to the broker for 11 s"),
        (
            {"children": 1, "children_wanted": 2, "children_missing_since": NOW - 11},
            "1 of 2 processes of the pool live",
        ),
        ({"store_at": NOW - 11, "store_error": "(refused)"}, "the store has not answered for 11 s (refused)"),
        ({"store_at": NOW - 26}, "the store has not answered for 26 s"),
    ],
)
def test_what_is_wrong(facts: dict[str, Any], problem: str) -> None:
    assert problems(**facts) == [problem]


@pytest.mark.parametrize("state", ["running", "stopping", "starting", "reconnecting"])
def test_a_process_that_is_gone_is_wrong_in_every_state(state: str) -> None:
    assert health(state=state).problems(now=NOW, max_age=10, lives=False) == ["process 7 is gone"]


def test_it_is_read_as_it_was_written_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = str(tmp_path / "health")
    for written in (health(), health(at=NOW, store_at=1.5)):
        written.write(path)
        assert Health.read(path) == written
    assert os.listdir(tmp_path) == ["health"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": 1, "more": 2}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "health").write_text(text)
    with pytest.raises(ValueError):
        Health.read(str(tmp_path / "health"))


def test_this_process_lives() -> None:
    assert lives(os.getpid())
