"""VirtualHosts: a fresh RabbitMQ virtual host for every test."""

from __future__ import annotations

import subprocess
from collections import deque
from urllib.parse import quote, urlsplit

#: Made at once: one call of rabbitmqctl takes 0.6 s, each virtual host in it some 20 ms.
BATCH = 8

#: Shown as the acting user in RabbitMQ's log.
ACTOR = '<<"laraq tests">>'

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class VirtualHosts:
    """Hands out empty virtual hosts. AMQP cannot list or drop what another test left; rabbitmqctl makes new ones.

    Where rabbitmqctl may not be used (no rights, or another machine's server) all tests share the virtual host of the
    server's URL, and only the names of their queues keep them apart: see the fixture `queue_name`.
    """

    def __init__(self, server_url: str, prefix: str) -> None:
        self._server = urlsplit(server_url)
        self._prefix = f"{prefix}-"
        self._made = 0
        self._unused: deque[str] = deque()
        self._control = self._permitted_control()

    def next_url(self) -> str:
        """URL of a virtual host that no test used yet."""
        if self._control is None:
            return self._server.geturl()
        if not self._unused:
            self._make(self._control)
        return self._server._replace(path="/" + quote(self._unused.popleft(), safe="")).geturl()

    def close(self) -> None:
        """Remove all that were made."""
        if self._control is not None:
            _evaluate(self._control, self._deletion)

    def _permitted_control(self) -> list[str] | None:
        """The command that works here. Trying it removes what a killed process with our prefix left."""
        if self._server.hostname not in _LOOPBACK:
            return None
        for control in (["rabbitmqctl"], ["sudo", "-n", "rabbitmqctl"]):
            try:
                _evaluate(control, self._deletion)
            except (OSError, subprocess.CalledProcessError):
                continue
            return control
        return None

    def _make(self, control: list[str]) -> None:
        user = f'<<"{self._server.username or "guest"}">>'
        first, self._made = self._made + 1, self._made + BATCH
        _evaluate(
            control,
            f'[begin V = iolist_to_binary(["{self._prefix}", integer_to_list(N)]), rabbit_vhost:add(V, {ACTOR}),'
            " rabbit_auth_backend_internal:set_permissions("
            f'{user}, V, <<".*">>, <<".*">>, <<".*">>, {ACTOR})'
            f" end || N <- lists:seq({first}, {self._made})].",
        )
        self._unused.extend(f"{self._prefix}{number}" for number in range(first, self._made + 1))

    @property
    def _deletion(self) -> str:
        return (
            f"[rabbit_vhost:delete(V, {ACTOR})"
            f' || V <- rabbit_vhost:list_names(), string:prefix(V, "{self._prefix}") =/= nomatch].'
        )


def _evaluate(control: list[str], expression: str) -> None:
    subprocess.run(
        [*control, "--quiet", "eval", expression], check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60
    )
