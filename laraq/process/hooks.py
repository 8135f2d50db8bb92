"""Hooks: users' code around the job itself. Its exceptions are logged and have no other effect."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


def ends_process(error: BaseException) -> bool:
    """Whether an error ends this process on purpose, and is not an error of a job or hook.

    A signal handler of a pool child exits with a negative status (billiard.pool: _shutdown_cleanup), and a host stops
    its worker with a SystemExit of its own class (celery.exceptions: WorkerShutdown). `sys.exit()` in a job is neither.
    """
    if not isinstance(error, SystemExit):
        return False
    return type(error) is not SystemExit or (isinstance(error.code, int) and error.code < 0)


@contextmanager
def reported(logger: logging.Logger, what: str, *args: object) -> Iterator[None]:
    """Log any exception of the block with its traceback, as `what % args`; only the end of the process is raised."""
    try:
        yield
    except BaseException as error:
        if ends_process(error):
            raise
        logger.exception(what, *args)
