"""WakeUp: what tells an idle worker of new jobs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol


class WakeUp(Protocol):
    """Something to wait on. Hints are only hints: they may be missing, late or about nothing."""

    def fileno(self) -> int:
        """Readable when there are hints."""

    def drain(self) -> Collection[str] | None:
        """The queues hinted at since the last call; None when it may be any."""

    def close(self) -> None:
        """Stop listening."""
