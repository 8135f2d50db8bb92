"""What `-A` names, in both programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from uuid import uuid4

import pytest
from click.testing import CliRunner

from laraq.cli import laraq
from laraq.messages.failure import FailedJob
from tests.cli.programs import CELERY, LARAQ
from tests.support.project import Project

APP = """
    import os
    from celery import Celery
    from laraq import Laraq

    app = Celery("shop", broker=os.environ["BROKER"])
    queue = Laraq(app)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of a module in the working directory that is not there yet."""
    monkeypatch.chdir(tmp_path)
    name = f"module_{uuid4().hex}"
    yield name
    sys.modules.pop(name, None)


def refusal(spec: str) -> str:
    result = CliRunner().invoke(laraq, ["-A", spec, "failed"], prog_name="laraq")
    assert result.exit_code == 2
    return result.stderr.partition("Error: ")[2]


def test_an_app_without_laraq_is_refused_with_the_line_to_add(module: str) -> None:
    Path(f"{module}.py").write_text("from celery import Celery; app = Celery('shop', set_as_current=False)")
    assert refusal(module).startswith("Laraq is not attached to app 'shop': add queue = Laraq(app)")


def test_a_missing_module_is_refused_with_the_nearest_here(module: str) -> None:
    Path(f"{module}.py").touch()
    assert refusal(f"{module}x").endswith(f"Did you mean {module!r}?\n")
    assert module not in sys.modules


def test_a_missing_attribute_is_refused_with_the_nearest(module: str) -> None:
    Path(f"{module}.py").write_text("shop = 1")
    assert refusal(f"{module}:shpo") == f"-A {module}:shpo: module {module!r} has no 'shpo'. Did you mean 'shop'?\n"


def test_an_attribute_that_is_no_app_is_refused(module: str) -> None:
    Path(f"{module}.py").write_text("shop = 1")
    assert refusal(f"{module}:shop") == "-A names a int, not a Celery app.\n"


@pytest.mark.parametrize("source", ["import nowhere_to_be_found", "None.attribute", "1 / 0", "x = = 1"])
def test_what_a_module_raises_is_told_from_its_own_line_on(module: str, source: str) -> None:
    Path(f"{module}.py").write_text(source)
    told = refusal(module)
    assert told.startswith(f"Module {module!r} cannot be imported:\n\n")
    frames = [line for line in told.splitlines() if line.startswith('  File "')]
    assert len(frames) == 1
    assert f"{module}.py" in frames[0]


def test_laraq_may_be_attached_in_a_module_that_the_app_imports(module: str, tmp_path: Path, redis_url: str) -> None:
    files = {
        "shop.py": """
            import os
            from celery import Celery
            app = Celery("shop", broker=os.environ["BROKER"], include=["queues"])
        """,
        "queues.py": "from laraq import Laraq; from shop import app; Laraq(app)",
    }
    project = Project(tmp_path, files, env={"BROKER": redis_url})
    assert project.run([*LARAQ, "-A", "shop", "failed", "--json"]) == "[]\n"


@pytest.mark.parametrize(
    ("files", "spec", "env"),
    [
        ({"proj.py": APP}, "proj", {}),
        ({"proj.py": APP}, "proj:queue", {}),
        ({"proj/__init__.py": "", "proj/celery.py": APP}, "proj", {}),
        ({"proj.py": APP}, None, {"LARAQ_APP": "proj"}),
        ({"proj.py": APP}, None, {"CELERY_APP": "proj"}),
        ({"proj.py": "from laraq import job\n@job\ndef greet(): ..."}, "proj", {}),
    ],
    ids=["module", "attribute", "package", "LARAQ_APP", "CELERY_APP", "jobs without an app"],
)
def test_it_is_found_as_celery_finds_an_app(
    files: Mapping[str, str],
    spec: str | None,
    env: Mapping[str, str],
    tmp_path: Path,
    redis_url: str,
    fail: Callable[..., FailedJob],
) -> None:
    fail("the-one")
    sources = {name: dedent(source) for name, source in files.items()}
    project = Project(tmp_path, sources, env={"BROKER": redis_url, "LARAQ_URL": redis_url, **env})
    named = [] if spec is None else ["-A", spec]
    [found] = json.loads(project.run([*LARAQ, *named, "failed", "--json"]))
    assert found["id"] == "the-one"


def test_the_app_of_the_celery_call_beats_the_environment(tmp_path: Path, redis_url: str) -> None:
    project = Project(tmp_path, {"proj.py": APP}, env={"BROKER": redis_url, "LARAQ_APP": "elsewhere"})
    assert project.run([*CELERY, "-A", "proj", "laraq", "failed", "--json"]) == "[]\n"


def test_without_a_name_it_is_the_embedded_default(tmp_path: Path, redis_url: str) -> None:
    project = Project(tmp_path, {}, env={"LARAQ_URL": redis_url})
    assert project.run([*LARAQ, "failed"]) == "No failed jobs.\n"
