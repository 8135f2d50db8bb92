"""Where the test servers are: the environment says so, else `.services.env`, else they are looked for.

`scripts/services` runs this file as a command: `[--say-why] NAME...` notes the usable servers in `.services.env`,
prints the names of the others on one line and, when asked, on stderr what they answered.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import redis
from kombu.connection import Connection
from sqlalchemy import NullPool, create_engine, make_url, text

ENV_FILE = Path(__file__).parents[2] / ".services.env"

#: Seconds a server on this machine may take to accept a connection.
PATIENCE = 5


class UnusableServerError(Exception):
    """No address of a server lets the tests in; the message names each with its answer, without passwords."""


def _enter_redis(url: str) -> None:
    with redis.Redis.from_url(url, socket_connect_timeout=PATIENCE, socket_timeout=PATIENCE) as client:
        client.ping()


def _enter_amqp(url: str) -> None:
    with Connection(url, connect_timeout=PATIENCE) as connection:  # type: ignore[no-untyped-call]  # kombu is half typed
        connection.connect()


def _enter_sql(url: str) -> None:
    name = f"laraq_probe_{uuid4().hex[:8]}"
    engine = create_engine(
        url, isolation_level="AUTOCOMMIT", poolclass=NullPool, connect_args={"connect_timeout": PATIENCE}
    )
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        connection.execute(text(f"DROP DATABASE {name}"))


@dataclass(frozen=True)
class Server:
    """One server the tests talk to."""

    name: str
    #: What `enter` is tried with when nobody names an address: what scripts/services makes, then usual defaults.
    usual: tuple[str, ...]
    #: Raises the driver's error unless the tests can work at that URL: for SQL, make databases of their own.
    enter: Callable[[str], None]

    @property
    def variable(self) -> str:
        """Name of the address in the environment and in `.services.env`."""
        return f"LARAQ_TEST_{self.name.upper()}"

    def find(self) -> str:
        """A URL at which the tests can work, or UnusableServerError."""
        answers = []
        for url in self._addresses():
            try:
                self.enter(url)
            except Exception as error:
                # SQLAlchemy's error holds the driver's, whose further lines are advice
                answer = str(getattr(error, "orig", error)).partition("\n")[0] or type(error).__name__
                answers.append(f"{make_url(url).render_as_string()}: {answer}")
            else:
                return url
        raise UnusableServerError(f"{self.name} cannot be used (try `make services`): " + "; ".join(answers))

    def _addresses(self) -> tuple[str, ...]:
        if said := os.environ.get(self.variable):
            return (said,)
        noted = _noted().get(self.variable)
        return tuple(dict.fromkeys((noted, *self.usual))) if noted else self.usual


SERVERS = {
    server.name: server
    for server in (
        Server("redis", ("redis://127.0.0.1:6379",), _enter_redis),
        Server("amqp", ("amqp://guest:guest@127.0.0.1:5672//",), _enter_amqp),
        Server(
            "postgres",
            (
                "postgresql+psycopg://laraq:laraq@127.0.0.1:5432/laraq",
                "postgresql+psycopg://root@127.0.0.1:5432/postgres",
                "postgresql+psycopg://postgres:postgres@127.0.0.1:5432/postgres",
            ),
            _enter_sql,
        ),
        Server(
            "mariadb",
            (
                "mysql+pymysql://laraq:laraq@127.0.0.1:3306/",
                "mysql+pymysql://root@127.0.0.1:3306/",
                "mysql+pymysql://root:root@127.0.0.1:3306/",
            ),
            _enter_sql,
        ),
    )
}


def _noted() -> dict[str, str]:
    if not ENV_FILE.exists():
        return {}
    lines = (line.strip() for line in ENV_FILE.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def _note(found: dict[str, str]) -> None:
    noted = _noted()
    if found.items() <= noted.items():
        return
    lines = ["# Written by scripts/services, which keeps an address that works.\n"]
    lines += [f"{variable}={url}\n" for variable, url in sorted({**noted, **found}.items())]
    ENV_FILE.write_text("".join(lines))


def main(arguments: list[str]) -> None:
    """Find the named servers."""
    found, missing = {}, []
    for name in arguments:
        if name == "--say-why":
            continue
        try:
            found[SERVERS[name].variable] = SERVERS[name].find()
        except UnusableServerError as error:
            missing.append(name)
            if "--say-why" in arguments:
                print(error, file=sys.stderr)
    _note(found)
    print(*missing)


if __name__ == "__main__":
    main(sys.argv[1:])
