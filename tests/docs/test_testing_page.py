"""docs/testing.md: every block is a file of a project whose tests pass, with no broker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import blocks


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    files = [block.source for block in blocks("docs/testing.md") if block.language == "python"]
    for source in files:
        name = source.partition("\n")[0].removeprefix("# ")
        (tmp_path / name).write_text(source)
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert "16 passed" in done.stdout, done.stdout
    assert len(files) == 9
