"""The group: usage errors, and what an import of it costs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from laraq.cli import laraq
from laraq.cli.group import COMMANDS
from tests.cli.programs import CELERY, LARAQ, run_in_terminal
from tests.support.project import Project

#: Where it matters what is imported.
FROM_NOTHING = {"LARAQ_TEST_EXEC": "1"}


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["fialed"], "No such command 'fialed'. Did you mean 'failed'?"),
        (["xyzzy"], "No such command 'xyzzy'."),
        (["failed", "--qeue", "x"], "Did you mean '--queue'?"),
        (["failed", "-A", "shop"], "-A comes first: laraq -A shop failed"),
        (["failed", "--app=shop"], "-A comes first: laraq -A shop failed"),
        (["failed", "some-id", "--queue", "x"], "cannot be combined with an ID"),
        (["failed", "--limit", "0"], "--limit"),
        (["retry"], "Expected the ids of failed jobs, or: all."),
        (["retry", "some-id", "--queue", "x"], "cannot be combined with ids"),
        (["forget"], "ID"),
        (["flush", "--hours", "-1"], "--hours"),
        (["work", "--tries", "many"], "--tries"),
        (["work", "--backoff", "1,x"], "'1,x' is neither a number of seconds"),
        (["work", "--backoff", "1,-5"], "backoff must be 0 seconds or more"),
        (["work", "--pool", "forked"], "--pool"),
        (["work", "-v", "-q"], "exclude each other"),
    ],
)
def test_wrong_usage_is_told_with_exit_status_2(arguments: Sequence[str], answer: str) -> None:
    result = CliRunner().invoke(laraq, arguments, prog_name="laraq")
    assert answer in result.stderr
    assert result.exit_code == 2
    assert result.stdout == ""


@pytest.mark.parametrize(
    "arguments", [["--hell"], ["failed", "--shell"], ["work", "--hepl"], ["batches", "--hel-p"], ["work", "-hel"]]
)
def test_nobody_is_asked_whether_help_was_meant(arguments: Sequence[str]) -> None:
    result = CliRunner().invoke(laraq, arguments, prog_name="laraq")
    assert result.exit_code == 2
    assert "No such option" in result.stderr
    assert "--help'?" not in result.stderr
    assert "(Possible options" not in result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_name_and_help(name: str) -> None:
    result = CliRunner().invoke(laraq, [name, "--help"], prog_name="laraq")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: laraq {name} ")


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(laraq, ["--help"])
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in result.stdout


def test_importing_the_plugin_imports_click_and_no_command(tmp_path: Path) -> None:
    """Celery imports it at every call; what `import laraq` itself costs is its own matter."""
    code = """
        import sys, json, laraq
        before = set(sys.modules)
        import laraq.cli
        print(json.dumps(sorted(set(sys.modules) - before)))
    """
    loaded = set(json.loads(Project(tmp_path, {}, FROM_NOTHING).python(code)))
    stdlib_and_click = {name for name in loaded if name.partition(".")[0] in {*sys.stdlib_module_names, "click"}}
    assert loaded - stdlib_and_click == {"laraq.cli", "laraq.cli.group", "laraq.errors"}


def test_celery_lists_the_plugin(tmp_path: Path) -> None:
    assert "\n  laraq " in Project(tmp_path, {}).run([*CELERY, "--help"])


def test_celery_is_told_where_its_own_option_belongs(tmp_path: Path) -> None:
    status, screen = run_in_terminal([*CELERY, "laraq", "failed", "-A", "shop"], folder=tmp_path)
    assert "Error: -A comes first: celery -A shop laraq failed" in screen
    assert status == 2


def test_the_program_patches_for_gevent_before_it_imports_celery_in_earnest(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        {
            "gevent/__init__.py": "",
            "gevent/signal.py": "",
            "gevent/monkey.py": """
                import sys

                def patch_all():
                    print("patched", "kombu" in sys.modules, "proj" in sys.modules)
                    raise SystemExit
            """,
        },
        FROM_NOTHING,
    )
    assert project.run([*LARAQ, "-A", "proj", "work", "--pool", "gevent"]) == "patched False False\n"
