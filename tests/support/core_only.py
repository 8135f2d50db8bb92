"""A pytest plugin for `make core`: no Celery and no client of a server can be imported; what needs one is left out.

So the core is shown to stand alone, and its tests are found by what they need, not by a list that somebody keeps.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

TESTS = Path(__file__).parents[1]

VENDORS = {"celery", "kombu", "billiard", "amqp", "vine", "redis", "sqlalchemy", "psycopg", "pymysql", "psutil"}

#: How it is said that there is no Celery: by the finder below, and by a TestingApp.
NEEDS_MORE = ("is not part of the core", "need a Celery app")


class NeedsMoreError(ImportError):
    """Something imports a vendor."""


class Refuser(MetaPathFinder):
    """Stands before all other finders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise for vendors; leave the rest to others."""
        if fullname.partition(".")[0] in VENDORS:
            raise NeedsMoreError(f"{fullname} is not part of the core", name=fullname)
        return None


sys.meta_path.insert(0, Refuser())


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Rooms of `laraq/` have their tests in folders of the same names; what lies in others is about adapters."""
    if collection_path.is_dir() and collection_path.parent == TESTS:
        return not (TESTS.parent / "laraq" / collection_path.name).is_dir() or None
    return None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file that imports a vendor has no tests here."""
    report = yield
    if report.failed and "is not part of the core" in str(report.longrepr):
        report.outcome, report.longrepr, report.result = "passed", None, []
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that comes to need one is left out."""
    report = yield
    if call.excinfo is not None and any(why in str(call.excinfo.value) for why in NEEDS_MORE):
        report.outcome, report.longrepr = "skipped", (str(__file__), 1, "Skipped: needs more than the core")
    return report
