"""RoundTrips: a proxy that counts how often a client waits for its server."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class RoundTrips:
    """For one connection at a time. A trip is what the client says between two answers of the server."""

    def __init__(self, server_url: str, default_port: int) -> None:
        self._url = urlsplit(server_url)
        self._address = (self._url.hostname or "127.0.0.1", self._url.port or default_port)
        self.count = 0
        self._server_spoke = True
        trips = self

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                trips._serve(self.request)

        self._proxy = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._proxy.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """The server's URL, by way of here."""
        user = self._url.netloc.rpartition("@")[0]
        place = f"127.0.0.1:{self._proxy.server_address[1]}"
        return self._url._replace(netloc=f"{user}@{place}" if user else place).geturl()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._proxy.shutdown()
        self._thread.join()
        self._proxy.server_close()

    def _serve(self, client: socket.socket) -> None:
        with socket.create_connection(self._address) as server:
            back = threading.Thread(target=self._pass_on, args=(server, client, True))
            back.start()
            self._pass_on(client, server, False)
            back.join()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_server: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not is_server and self._server_spoke:
                    self.count += 1
                self._server_spoke = is_server
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
