from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_parity_document_is_up_to_date() -> None:
    checked = subprocess.run([sys.executable, ROOT / "scripts/parity", "--check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_parity_test_states_its_rule(request: pytest.FixtureRequest) -> None:
    here = [item for item in request.session.items if item.path.parent == Path(__file__).parent]
    unmarked = [item.nodeid for item in here if item.path != Path(__file__) and not item.get_closest_marker("parity")]
    assert unmarked == []
