"""`laraq make`, as a user runs it: what it writes is sound, and its tests pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from laraq.cli import laraq
from laraq.cli.make import snake, with_code

APP = (
    "from celery import Celery\nfrom laraq import Laraq\napp = Celery('shop', broker='memory://')\nqueue = Laraq(app)\n"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, in which commands run."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text(APP)
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(laraq, ["make", *arguments])
    assert result.exit_code == status, result.output
    return result.output


def test_what_is_written_passes_its_tests(folder: Path) -> None:
    assert make("job", "shop.ChargeOrder").splitlines() == [
        "Created shop/jobs.py",
        "Created tests/test_charge_order.py",
    ]
    assert make("batch-job", "shop.ImportRow").splitlines()[0] == "Added to shop/jobs.py"
    make("middleware", "shop.OnlyAtNight")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=folder, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": ":".join([str(folder), *sys.path]), "PATH": ""},
    )  # fmt: skip
    assert "5 passed" in done.stdout, done.stdout + done.stderr


def test_without_a_package_or_tests_it_goes_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert make("job", "SendSMS").splitlines() == ["Created jobs.py", "Created test_send_sms.py"]


def test_nothing_is_overwritten(folder: Path) -> None:
    make("job", "shop.ChargeOrder")
    before = (folder / "shop" / "jobs.py").read_text()
    assert "it has a ChargeOrder" in make("job", "shop.ChargeOrder", status=1)
    (folder / "tests" / "test_refund.py").write_text("")
    assert "tests/test_refund.py exists" in make("job", "shop.Refund", status=1)
    assert (folder / "shop" / "jobs.py").read_text() == before


@pytest.mark.parametrize(
    ("name", "why"), [("charge-order", "shop.ChargeOrder"), ("nowhere.Job", "'nowhere'"), ("a.class", "got")]
)
def test_a_name_that_is_none_is_refused(folder: Path, name: str, why: str) -> None:
    assert why in make("job", name, status=2)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", "from laraq import Job\n\nX\n"),
        ('"""Jobs."""\n', '"""Jobs."""\n\nfrom laraq import Job\n\nX\n'),
        ("import os\n\nA = 1\n", "import os\nfrom laraq import Job\n\nA = 1\n\nX\n"),
        ("from laraq import Job\nA = 1\n", "from laraq import Job\nA = 1\n\nX\n"),
    ],
)
def test_imports_are_added_where_they_belong(source: str, expected: str) -> None:
    assert with_code(source, (("laraq", "Job"),), "X\n", "New") == expected


def test_names_of_classes_as_names_of_files() -> None:
    assert [snake(name) for name in ("ChargeOrder", "SendSMSNow", "X", "HTTP2Call")] == [
        "charge_order", "send_sms_now", "x", "http2_call",
    ]  # fmt: skip
