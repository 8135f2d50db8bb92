"""Reader: parses the replies of a Redis server, in RESP2 or RESP3, in pieces of any size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Push(list[Any]):
    """A message that the server pushes without a request."""


class _IncompleteError(Exception):
    """The rest of a value has not arrived yet."""


class Reader:
    """Returns errors as `ErrorReply` values."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[Any]:
        """The values completed by `data`: text as bytes, maps as flat lists."""
        self._buffer += data
        while self._buffer:
            try:
                value, end = self._value(0)
            except _IncompleteError:
                return
            self._buffer = self._buffer[end:]
            yield value

    def _value(self, at: int) -> tuple[Any, int]:
        line_end = self._buffer.find(b"\r\n", at)
        if line_end < 0:
            raise _IncompleteError
        kind, value, at = self._buffer[at : at + 1], self._buffer[at + 1 : line_end], line_end + 2
        match kind:
            case b":" | b"(":
                return int(value), at
            case b",":
                return float(value), at
            case b"_":
                return None, at
            case b"-":
                return ErrorReply(value.decode(errors="replace")), at
            case b"$" | b"=" | b"!":
                return self._text(int(value), at)
            case b"*" | b"~" | b">" | b"%":
                count = int(value) * (2 if kind == b"%" else 1)
                values: list[Any] = Push() if kind == b">" else []
                for _ in range(count):
                    value, at = self._value(at)
                    values.append(value)
                return values, at
            case _:
                return value, at

    def _text(self, length: int, at: int) -> tuple[bytes | None, int]:
        if length < 0:
            return None, at
        if len(self._buffer) < at + length + 2:
            raise _IncompleteError
        return self._buffer[at : at + length], at + length + 2


class ErrorReply(str):
    """The server's error message."""
