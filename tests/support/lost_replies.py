"""LostReplies: a proxy that loses the reply of a server to one thing a client says, and then the connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class LostReplies:
    """The server has done what was said to it, and the client does not know."""

    def __init__(self, server_url: str, default_port: int) -> None:
        self._url = urlsplit(server_url)
        self._address = (self._url.hostname or "127.0.0.1", self._url.port or default_port)
        #: How many replies were lost.
        self.lost = 0
        self._last_said: list[bytes] = []
        self._meanwhile: Callable[[], object] = lambda: None
        proxy = self

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                proxy._serve(self.request)

        class Server(ThreadingTCPServer):
            daemon_threads = True

        self._proxy = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._proxy.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """The server's URL, by way of here."""
        user = self._url.netloc.rpartition("@")[0]
        place = f"127.0.0.1:{self._proxy.server_address[1]}"
        return self._url._replace(netloc=f"{user}@{place}" if user else place).geturl()

    def lose_reply_to(self, *said: bytes, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Lose the reply to the last of these texts, which are said one after the other, and run `meanwhile` before
        the client learns that its connection is gone."""
        self._meanwhile, self._last_said = meanwhile, list(said)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._proxy.shutdown()
        self._thread.join()
        self._proxy.server_close()

    def _serve(self, client: socket.socket) -> None:
        with socket.create_connection(self._address) as server:
            losing = threading.Event()
            back = threading.Thread(target=self._pass_back, args=(server, client, losing))
            back.start()
            with suppress(OSError):
                while data := client.recv(65536):
                    while self._last_said and self._last_said[0] in data:
                        del self._last_said[0]
                        if not self._last_said:
                            losing.set()
                    server.sendall(data)
            with suppress(OSError):
                server.shutdown(socket.SHUT_WR)
            back.join()

    def _pass_back(self, server: socket.socket, client: socket.socket, losing: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if losing.is_set():
                    self.lost += 1
                    self._meanwhile()
                    break
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
