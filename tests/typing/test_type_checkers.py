"""Both type checkers say the same of what users write."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RIGHT, WRONG = HERE / "right_calls.py", HERE / "wrong_calls.py"


def mypy(file: Path) -> dict[int, str]:
    """Its errors by line."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file", "pyproject.toml"]
    checked = subprocess.run([*command, str(file)], capture_output=True, text=True, cwd=ROOT)
    assert checked.returncode in (0, 1), checked.stdout + checked.stderr
    found = re.findall(rf"{re.escape(file.name)}:(\d+): error: (.*)", checked.stdout)
    assert bool(found) == bool(checked.returncode), checked.stdout
    return {int(line): message for line, message in found}


def basedpyright(file: Path) -> dict[int, str]:
    """Its errors by line."""
    program = Path(sys.executable).with_name("basedpyright")
    command = [str(program), "--outputjson", "--pythonpath", sys.executable, str(file)]
    checked = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert checked.returncode in (0, 1), checked.stdout + checked.stderr
    return {
        problem["range"]["start"]["line"] + 1: problem["message"]
        for problem in json.loads(checked.stdout)["generalDiagnostics"]
        if problem["severity"] == "error"
    }


def marked(file: Path) -> set[int]:
    return {number for number, line in enumerate(file.read_text().splitlines(), 1) if line.endswith("# wrong")}


@pytest.mark.parametrize("checker", [mypy, basedpyright])
def test_right_calls_are_accepted(checker: Callable[[Path], dict[int, str]]) -> None:
    assert checker(RIGHT) == {}


@pytest.mark.parametrize("checker", [mypy, basedpyright])
def test_each_wrong_call_is_rejected_and_nothing_else_is(checker: Callable[[Path], dict[int, str]]) -> None:
    found = checker(WRONG)
    lines = WRONG.read_text().splitlines()
    assert [lines[number - 1].strip() for number in sorted(marked(WRONG) - found.keys())] == []
    assert {number: message for number, message in found.items() if number not in marked(WRONG)} == {}
