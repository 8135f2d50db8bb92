"""run_document(): all blocks of a document, by some Python, in an empty folder."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.docs.blocks import python_blocks
from tests.docs.hidden import OPENING, before, raised_by

PROGRAM = Path(__file__).with_name("run_blocks.py")

#: The module that a document's blocks are pieces of.
MODULES = {"README.md": "tour", "docs/guide.md": "shop"}


def run_document(document: str, python: str, folder: Path, env: Mapping[str, str]) -> None:
    """Fails with what every failing block raised."""
    told = {
        "module": MODULES[document],
        "opening": OPENING,
        "broker": "laraq-db+sqlite:///broker.db",
        "blocks": [
            {"name": str(block), "before": before(block), "source": block.source, "raises": raised_by(block)}
            for block in python_blocks(document)
        ],
    }
    done = subprocess.run(
        [python, PROGRAM],
        input=json.dumps(told),
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
