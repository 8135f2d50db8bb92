"""The two programs that have the commands, and a terminal to run them in."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import Popen

_BIN = Path(sys.executable).parent

#: `[*LARAQ, "-A", "proj", "failed"]` and `[*CELERY, "-A", "proj", "laraq", "failed"]` are the same.
LARAQ = (str(_BIN / "laraq"),)
CELERY = (str(_BIN / "celery"),)

#: Both forms, each to be followed by a command and its options; the app is `proj`.
FORMS = {"laraq": (*LARAQ, "-A", "proj"), "celery": (*CELERY, "-A", "proj", "laraq")}


def run_in_terminal(
    command: Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str] | None = None,
    typed: str = "",
    columns: int = 200,
) -> tuple[int, str]:
    """Run a command in a terminal where `typed` is typed; return exit status and screen."""
    ours, theirs = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**inherited, "TERM": "xterm-256color", "COLUMNS": str(columns), "PYTHONPATH": path, **(env or {})}
    process = Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, typed.encode())
    screen = b""
    try:
        while read := os.read(ours, 4096):
            screen += read
    except OSError:  # how Linux says that the other side is closed
        pass
    finally:
        os.close(ours)
    return process.wait(60), screen.decode().replace("\r\n", "\n")
