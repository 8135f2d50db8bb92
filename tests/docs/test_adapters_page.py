"""docs/adapters.md: its store and its broker pass the suites, and a worker runs jobs of that broker."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.page import run_page


def test_the_adapters_of_the_page_pass_their_suites(tmp_path: Path) -> None:
    files, said = run_page("docs/adapters.md", tmp_path)
    assert re.search(r"^\d\d passed in", said, re.MULTILINE), said
    assert files == 4
