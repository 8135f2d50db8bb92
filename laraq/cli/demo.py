"""`laraq demo`: runs the example `import_csv`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

#: The demo's place where laraq is installed, and in the source tree.
PLACES = [Path(__file__).parents[up] / "examples" / "import_csv" / "demo.py" for up in (1, 2)]


@click.command()
@click.option("--keep", is_flag=True, help="Keep the databases and the worker's log, to look around.")
def demo(keep: bool) -> None:
    """Import a file of 12,000 cities through jobs.

    Starts a worker and needs no server: everything is in SQLite files in a temporary folder, which is deleted at the
    end. If LARAQ_URL is set, broker and store are there instead, and the jobs are in the queue `cities`. Exit status 1
    when not every row of the file is accounted for.
    """
    found = next((place for place in PLACES if place.exists()), None)
    if found is None:
        raise click.ClickException(f"The demo is not at {PLACES[0]}: is laraq installed completely?")
    # Replaces this process, so that Ctrl-C and signals reach only the demo.
    os.execv(sys.executable, [sys.executable, str(found), *(["--keep"] if keep else [])])  # noqa: S606 # our own file
