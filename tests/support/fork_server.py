"""Forks Python programs from a process that has imported the libraries already.

    python -m tests.support.fork_server FD

Tests start hundreds of programs, and most of the time of such a start is imports. The server reads requests from the
socket FD (`warm.py` writes them) and ends with it. A program sees what it would see if Python had started it:
arguments, environment, folder, `sys.path`, `__main__`, session, and nothing open but its three streams.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import pickle
import runpy
import selectors
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import NoReturn

#: What nearly all programs import, and nothing that depends on being imported late.
LIBRARIES = """
    celery.__main__ celery.bin.celery celery.bin.worker celery.apps.worker celery.app.amqp celery.app.control
    celery.app.log celery.app.trace celery.worker.components celery.worker.consumer celery.worker.control
    celery.worker.autoscale celery.worker.strategy celery.concurrency.prefork celery.concurrency.solo
    celery.concurrency.thread celery.backends.base celery.backends.redis celery.events.state celery.fixups.django
    kombu.transport.redis kombu.transport.pyamqp kombu.transport.virtual kombu.asynchronous.hub billiard.pool redis
    redis.sentinel sqlalchemy.orm sqlalchemy.dialects.sqlite sqlalchemy.dialects.postgresql sqlalchemy.dialects.mysql
    psycopg pymysql pydantic pydantic._internal._generate_schema click laraq laraq.app laraq_celery.host
    laraq_celery.worker.signals laraq_celery.worker.steps.install asyncio concurrent.futures.thread logging.config
"""


@dataclass(frozen=True)
class Request:
    """A program: the file of a script with its arguments, or `-c` with code and arguments."""

    argv: list[str]
    folder: str
    env: dict[str, str]
    new_session: bool


def main() -> int:
    """Serve until the other side is gone; in a child: run its program."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    for name in LIBRARIES.split():
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # or the first collection of each child copies all of it
    waiting = selectors.DefaultSelector()
    waiting.register(requests, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is not requests:
                key.data()
                continue
            size, fds, _, _ = socket.recv_fds(requests, 4, 4)
            if not size:
                return 0
            body = b""
            while len(body) < int.from_bytes(size, "big"):
                body += requests.recv(1 << 20)
            control = socket.socket(fileno=fds[0])
            if (pid := os.fork()) == 0:
                return _run(pickle.loads(body), fds[1:])  # our own parent wrote it
            for fd in fds[1:]:
                os.close(fd)
            control.sendall(pid.to_bytes(4, "big"))
            handle = os.pidfd_open(pid)
            waiting.register(handle, selectors.EVENT_READ, partial(_report, waiting, handle, pid, control))


def _report(waiting: selectors.BaseSelector, handle: int, pid: int, control: socket.socket) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    waiting.unregister(handle)
    os.close(handle)
    with suppress(OSError):
        control.sendall(status.to_bytes(4, "big", signed=True))
    control.close()


def _run(request: Request, streams: list[int]) -> NoReturn:
    """Be the program until its end."""
    if request.new_session:
        os.setsid()
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    os.closerange(3, 1024)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.env)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=bool(request.env.get("PYTHONUNBUFFERED")))  # type: ignore[union-attr]
    is_code = request.argv[0] == "-c"
    given = [path for path in request.env.get("PYTHONPATH", "").split(os.pathsep) if path]
    libraries = [path for path in sys.path[1:] if path not in given]
    sys.path[:] = ["" if is_code else os.path.dirname(request.argv[0]), *given, *libraries]
    importlib.invalidate_caches()
    status = 0
    try:
        if is_code:
            sys.argv = ["-c", *request.argv[2:]]
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(request.argv[1], "<string>", "exec"), main.__dict__)  # it is the program
        else:
            sys.argv = request.argv
            runpy.run_path(request.argv[0], run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # as Python does
        sys.excepthook(*sys.exc_info())
        status = 1
    # What Python does at its end but for taking the modules apart, which takes as long as their import.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 0xFF)


if __name__ == "__main__":
    sys.exit(main())
