"""What type checkers make of `Injected`, `injected()` and the verbs of a scope."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = """
from typing import Protocol
from typing_extensions import assert_type
from laraq.container import Container, Injected, injected

class Mailer(Protocol):
    def send(self) -> int: ...

class Smtp:
    def send(self) -> int:
        return 1

def send(user_id: int, mailer: Injected[Mailer] = injected()) -> int:
    assert_type(mailer, Mailer)
    return mailer.send()

def maybe(mailer: Injected[Mailer | None] = None) -> None:
    assert_type(mailer, Mailer | None)

async def later(user_id: int) -> str:
    return ""

container = Container()
container.bind(Mailer, Smtp)

with container.scope({int: 1}) as scope:
    assert_type(scope.get(Smtp), Smtp)
    assert_type(scope.call(send, user_id=1), int)

async def run() -> None:
    async with container.scope() as scope:
        assert_type(await scope.aget(Smtp), Smtp)
        assert_type(await scope.acall(later, user_id=1), str)
        assert_type(await scope.acall(send, user_id=1), int)

send(1)
send(1, Smtp())
send("1")  # refused
send(1, 2)  # refused
"""


@pytest.mark.parametrize(
    "checker", [["mypy", "--strict"], ["basedpyright", "--level", "error"]], ids=lambda each: each[0]
)
def test_an_injected_parameter_has_its_type_and_may_be_left_out(checker: list[str], tmp_path: Path) -> None:
    (tmp_path / "checked.py").write_text(SOURCE)

    command = [str(Path(sys.executable).with_name(checker[0])), *checker[1:], str(tmp_path / "checked.py")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    refused = [number for number, line in enumerate(SOURCE.splitlines(), 1) if line.endswith("# refused")]
    assert [int(line) for line in re.findall(r"checked\.py:(\d+):.*\berror\b", run.stdout)] == refused, run.stdout
