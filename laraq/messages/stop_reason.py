"""StopReason: why a worker stops (Illuminate/Queue/WorkerStopReason.php)."""

from __future__ import annotations

from enum import StrEnum


class StopReason(StrEnum):
    """Why a worker stops."""

    #: A signal, or remote control.
    INTERRUPTED = "interrupted"
    #: `laraq restart`.
    RESTART = "restart"
    #: `--memory`.
    MEMORY = "memory"
    #: `--stop-when-empty`, `--stop-when-empty-for`.
    EMPTY = "empty"
    #: `--max-time`.
    MAX_TIME = "max_time"
    #: `--max-jobs`, `--once`.
    MAX_JOBS = "max_jobs"
    #: An error that it cannot go on with.
    ERROR = "error"
