"""`laraq demo`: the example `import_csv` of the source tree, run whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

#: Not installed with the package: most of it is the file to import.
DEMO = Path(__file__).parents[2] / "examples" / "import_csv" / "demo.py"


@click.command()
@click.option("--keep", is_flag=True, help="Keep the databases and the worker's log, to look around.")
def demo(keep: bool) -> None:
    """Import a file of 12,000 cities through jobs.

    It starts a worker and needs no server: everything is in SQLite files in a temporary folder, which goes at the
    end. Broker and store are at LARAQ_URL instead when that is set; what is done there is in the queue `cities`.
    Exit status 1 when not every row of the file is accounted for.
    """
    if not DEMO.exists():
        raise click.ClickException(
            "The demo and its file of cities are in the source tree of laraq, not in the installed package:"
            " get the sources, and run make demo there."
        )
    # In place of this process, so that Ctrl-C and signals reach the demo alone.
    os.execv(sys.executable, [sys.executable, str(DEMO), *(["--keep"] if keep else [])])  # noqa: S606 # our own file
