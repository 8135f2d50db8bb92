"""run_page(): the blocks of a document are the files of a project, whose tests are run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import python_blocks


def run_page(document: str, folder: Path) -> tuple[int, str]:
    """How many files there are, and what pytest says. The first line of a block is the name of its file."""
    files = python_blocks(document)
    for block in files:
        name = block.source.partition("\n")[0].removeprefix("# ")
        (folder / name).write_text(block.source)
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, timeout=100)
    return len(files), done.stdout
