"""Health: what a worker says about itself in a file, for `laraq health`, and what is wrong by it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

#: Seconds for which a worker that can talk to its store may leave it alone.
STORE_REST = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Moments are epoch seconds of this machine's clock."""

    worker: str
    pid: int
    state: Literal["starting", "running", "reconnecting", "stopping"]
    #: When this was true.
    at: float
    #: Processes of the pool that live, and how many there should be; 0 for pools without processes.
    children: int = 0
    children_wanted: int = 0
    #: Since when children are missing.
    children_missing_since: float | None = None
    #: When the store answered last, and what it said since then.
    store_at: float | None = None
    store_error: str = ""

    def write(self, path: str) -> None:
        """Write the file so that nobody reads half of it. Raises OSError."""
        beside = f"{path}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(os.open(beside, flags, 0o644), "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
        try:
            os.replace(beside, path)
        except OSError:
            with suppress(OSError):
                os.unlink(beside)
            raise

    @classmethod
    def read(cls, path: str) -> Health:
        """Read the file. Raises OSError, or ValueError if it is not one that a worker wrote."""
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except TypeError as error:
            raise ValueError(str(error)) from error

    def problems(self, *, now: float, max_age: float, lives: bool) -> Sequence[str]:
        """What is wrong; nothing may be so for longer than `max_age` seconds. `lives`: its process exists."""
        age = now - self.at
        if not lives:
            return [f"process {self.pid} is gone"]
        if self.state == "starting":
            return ["it does not take jobs yet"]
        if self.state == "stopping":
            return []  # its running jobs finish; whoever stops it waits for them as long as they may take
        if age > max_age:
            lost = self.state == "reconnecting"
            return [f"no connection to the broker for {age:.0f} s" if lost else f"no sign of life for {age:.0f} s"]
        found = []
        if self.children_missing_since is not None and now - self.children_missing_since > max_age:
            found.append(f"{self.children} of {self.children_wanted} processes of the pool live")
        if self.store_at is not None and now - self.store_at > max_age + (0 if self.store_error else STORE_REST):
            found.append(f"the store has not answered for {now - self.store_at:.0f} s {self.store_error}".rstrip())
        return found


def lives(pid: int) -> bool:
    """Whether there is a process of that number, which may be another user's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
