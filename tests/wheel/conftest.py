"""What only `make wheel` runs: laraq as it is installed, in an environment of its own.

LARAQ_WHEEL names that environment; LARAQ_WHEEL_EXTRAS a folder with what the extras need, which is not in it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

collect_ignore_glob = [] if "LARAQ_WHEEL" in os.environ else ["test_*.py"]


@dataclass(frozen=True)
class Installed:
    """An environment with laraq and what it needs."""

    bin: Path
    extras: Path

    @property
    def python(self) -> str:
        return str(self.bin / "python")

    def env(self, *, extras: bool = False, **values: str) -> dict[str, str]:
        """Of a process that knows nothing of the source tree."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LARAQ", "PYTHON"))}
        path = {"PYTHONPATH": str(self.extras)} if extras else {}
        return {**kept, **path, "PYTHONUNBUFFERED": "1", **values}


@pytest.fixture(scope="session")
def installed() -> Installed:
    return Installed(Path(os.environ["LARAQ_WHEEL"]) / "bin", Path(os.environ["LARAQ_WHEEL_EXTRAS"]))
