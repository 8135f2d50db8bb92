"""Hooks: users' code around the job itself. Its exceptions are logged and have no other effect."""

from __future__ import annotations

import logging


def ends_process(error: BaseException) -> bool:
    """Whether an error ends this process on purpose, and is not an error of a job or hook.

    A signal handler of a pool child exits with a negative status (billiard.pool: _shutdown_cleanup), and a host stops
    its worker with a SystemExit of its own class (celery.exceptions: WorkerShutdown). `sys.exit()` in a job is neither.
    """
    if not isinstance(error, SystemExit):
        return False
    return type(error) is not SystemExit or (isinstance(error.code, int) and error.code < 0)


class reported:
    """Log any exception of the block with its traceback, as `what % args`; only the end of the process is raised.

    A class, because a generator is slower for each run.
    """

    __slots__ = ("_args", "_logger", "_what")

    def __init__(self, logger: logging.Logger, what: str, *args: object) -> None:
        self._logger, self._what, self._args = logger, what, args

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> bool:
        if error is None or ends_process(error):
            return False
        self._logger.error(self._what, *self._args, exc_info=error)
        return True
