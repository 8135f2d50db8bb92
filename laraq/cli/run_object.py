"""RunObject: what `laraq work --json` prints for a job, one object per line. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from laraq.messages.failure import text_of

#: The level by status; "warning" for a release after an error.
LEVELS = {"FAIL": "error"}


@dataclass(frozen=True, slots=True)
class RunObject:
    """One start of a job or task, or the end of one; see RunLine."""

    job: str
    id: str
    #: RUNNING, DONE, FAIL, RELEASED, PARKED or SKIPPED.
    status: str
    connection: str
    queue: str
    #: The number of this start, from 1.
    attempt: int
    seconds: float | None = None
    error: BaseException | None = None
    #: Whether the text of the error may tell what is encrypted in the message.
    is_secret: bool = False

    def text(self, at: datetime) -> str:
        """The object as a line of JSON, in pure ASCII; `at` is aware."""
        error = self.error
        return json.dumps(
            {
                "level": LEVELS.get(self.status, "info" if error is None else "warning"),
                "timestamp": at.isoformat(),
                "id": self.id,
                "job": self.job,
                "connection": self.connection,
                "queue": self.queue,
                "status": self.status.lower(),
                "attempts": self.attempt,
                "duration": None if self.seconds is None else round(self.seconds, 6),
                "exception": None if error is None else f"{type(error).__module__}.{type(error).__qualname__}",
                "message": None if error is None or self.is_secret else text_of(error),
            }
        )
