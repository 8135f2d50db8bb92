"""Database servers of one test, which may stop, kill and restart them."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

import pytest
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import OperationalError

from tests.redis.private_server import free_port
from tests.support.waiting import wait_until


class PrivateServer:
    """A server process in a directory of its own, owned by the user the server insists on when tests run as root."""

    user: str
    #: How it is asked to finish its business at once and end, and how to break off in the middle of everything.
    stop_signal: signal.Signals
    crash_signal: signal.Signals
    url: str

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="laraq-server-"))
        self._as = self.user if os.geteuid() == 0 else None
        if self._as is not None:
            entry = pwd.getpwnam(self._as)
            os.chown(self._folder, entry.pw_uid, entry.pw_gid)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PrivateServer:
        try:
            self._prepare()
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), user=self._as, cwd="/", stdout=log, stderr=log)
        wait_until(self._answers, timeout=30, message="the private server answers")

    def stop(self) -> None:
        """End it and every connection to it."""
        self._end(self.stop_signal)

    def crash(self) -> None:
        """What is not on its disk is gone."""
        self._end(self.crash_signal)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(30)
        self._process = None

    def _remove(self) -> None:
        if self._process is not None:
            self._end(self.crash_signal)
        shutil.rmtree(self._folder)

    def _answers(self) -> bool:
        engine = create_engine(self.url, poolclass=NullPool)
        try:
            engine.connect().close()
        except OperationalError:
            return False
        return True

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, user=self._as, cwd="/", capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def _prepare(self) -> None:
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError


class PrivatePostgres(PrivateServer):
    """Crashes as after `pg_ctl stop -m immediate`: commits that were not flushed are lost."""

    user = "postgres"
    stop_signal, crash_signal = signal.SIGINT, signal.SIGQUIT

    def __init__(self) -> None:
        super().__init__()
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def _prepare(self) -> None:
        initdb = _program("initdb", "/usr/lib/postgresql/*/bin")
        self._postgres = str(Path(initdb).resolve().with_name("postgres"))
        self._data = str(self._folder / "data")
        self._run(
            initdb,
            "-D",
            self._data,
            "-U",
            "postgres",
            "--auth",
            "trust",
            "--no-sync",
            *("--encoding", "UTF8", "--locale", "C"),
        )

    def _command(self) -> list[str]:
        own = ["-p", str(self.port), "-k", str(self._folder), "-c", "shared_buffers=16MB"]
        return [self._postgres, "-D", self._data, *own]


class PrivateMariaDb(PrivateServer):
    """Crashes as after `kill -9`."""

    user = "mysql"
    stop_signal, crash_signal = signal.SIGTERM, signal.SIGKILL

    def __init__(self) -> None:
        super().__init__()
        self.url = f"mysql+pymysql://root@127.0.0.1:{self.port}/laraq"

    def _prepare(self) -> None:
        self._server = _program("mariadbd", "/usr/sbin")
        self._data = str(self._folder / "data")
        install = _program("mariadb-install-db", "/usr/bin")
        own = ["--no-defaults", f"--datadir={self._data}", "--auth-root-authentication-method=normal"]
        self._run(install, *own, "--skip-test-db")
        # What `laraq.url` names; a directory is all that a database is.
        Path(self._data, "laraq").mkdir()
        if self._as is not None:
            shutil.chown(Path(self._data, "laraq"), self._as)

    def _command(self) -> list[str]:
        own = [f"--port={self.port}", "--bind-address=127.0.0.1", f"--socket={self._folder / 'socket'}"]
        small = ["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M"]
        return [self._server, "--no-defaults", f"--datadir={self._data}", *own, *small]


def _program(name: str, *places: str) -> str:
    found = shutil.which(name) or next(
        (str(path) for place in places for path in sorted(Path("/").glob(f"{place.lstrip('/')}/{name}"))), None
    )
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed", pytrace=False)
        pytest.skip(f"{name} is not installed")
    return found
