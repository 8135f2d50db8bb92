from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from laraq import Job, job
from laraq.errors import UnknownJobError
from laraq.jobs import registry


class Ship(Job):
    def handle(self) -> None: ...


class Abstract(Job):
    order_id: int


@job
def send() -> None: ...


def test_a_job_is_known_under_its_dotted_path() -> None:
    assert Ship.job_name() == f"{__name__}.Ship"
    assert registry.find(f"{__name__}.Ship") is Ship
    assert registry.knows(f"{__name__}.Ship")
    assert Ship in registry.classes()


def test_a_job_function_is_known_under_the_path_of_the_function() -> None:
    assert registry.find(f"{__name__}.send") is send.job_class


def test_a_class_without_handle_is_no_job_yet() -> None:
    assert not registry.knows(f"{__name__}.Abstract")


def test_an_unknown_name_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnknownJobError, match=r"'shop\.jobs\.Nope'.*import its module") as caught:
        registry.find("shop.jobs.Nope")
    assert caught.value.job == "shop.jobs.Nope"


def test_a_class_defined_again_replaces_the_first() -> None:
    def define() -> type[Job]:
        class Again(Job):
            def handle(self) -> None: ...

        return Again

    first, second = define(), define()
    assert first.job_name() == second.job_name()
    assert registry.find(first.job_name()) is second


def test_listeners_hear_of_every_class_registered_later(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[type[Job]] = []
    monkeypatch.setattr(registry, "_listeners", [heard.append])

    class Later(Job):
        def handle(self) -> None: ...

    class Parent(Job):
        order_id: int

    assert heard == [Later]


def test_a_job_of_a_script_gets_the_name_a_worker_imports_it_by(tmp_path: Path) -> None:
    script = tmp_path / "shop.py"
    script.write_text("from laraq import Job\nclass Ship(Job):\n    def handle(self): ...\nprint(Ship.job_name())\n")
    printed = [
        subprocess.run([sys.executable, *how], capture_output=True, text=True, timeout=60, cwd=tmp_path).stdout.strip()
        for how in (["shop.py"], ["-m", "shop"], ["-c", "import shop"])
    ]
    assert printed == ["shop.Ship"] * 3
