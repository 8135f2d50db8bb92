"""RedisJournal: one field per writer in one hash, written without waiting for the reply."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any

from redis.exceptions import RedisError

from laraq.messages.run_key import stored
from laraq.ports.journal import JournalEntry, RunState
from laraq.process.forks import after_fork
from laraq_redis.client import script
from laraq_redis.client.connection import Client, store_errors
from laraq_redis.client.wire import Wire

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


@lru_cache(maxsize=256)
def _encoded(entry: JournalEntry) -> str:
    """An encoded entry. A writer repeats its last entries in every write, so each is encoded once."""
    key, attempt, state = stored(entry.run_key), entry.attempt, entry.state
    quoted = f'"{key}"' if key.replace("-", "").isalnum() else _encode(key)
    return f'[{quoted},{attempt},"{state.value}"]'


#: Seconds a claimed start stays claimed.
CLAIM_SECONDS = 24 * 3600

#: Writers dropped in one round trip.
_PAGE = 500


class RedisJournal:
    """The journal in Redis. Children write it twice a job, so `write` costs two system calls and no waiting.

    The value of a writer is `[epoch seconds, entry, ...]` as JSON, an entry being `[run key, attempt, state]`. The
    seconds are the writer's clock: `prune` compares them with the clock of its own machine.
    """

    _lock: threading.Lock
    _wire: Wire | None
    #: Writers and values that Redis has not confirmed.
    _unsettled: dict[bytes, bytes]

    def __init__(self, client: Client, label: str, prefix: str) -> None:
        self._client = client
        self._label = label
        self._key = f"{prefix}journal"
        self._claims = f"{prefix}claim:"
        self._prune = script.load(client, "prune")
        self._repeat = script.load(client, "even_when_full", "journal")
        self._claim = script.load(client, "claim")
        self._start()
        after_fork(self._start)

    def write(self, writer: str, entries: Sequence[JournalEntry]) -> None:
        """Replace the entries of `writer`; after the return, a kill -9 of this process does not undo it.

        The command is then in the kernel, not yet in Redis: a connection that breaks within `wire.TRUSTED` seconds
        of the last write is noticed, and the write repeated, at the next call. Raises StoreError when Redis cannot
        be reached or refuses.
        """
        entry = ",".join((repr(time.time()), *map(_encoded, entries)))
        field, value = writer.encode(), f"[{entry}]".encode()
        with self._lock:
            if self._wire is None and self._unsettled:
                self._unsettled[field] = value
                self._write_again()
                return
            try:
                if self._wire is None:
                    self._wire = Wire(self._client, self._key)
                self._wire.set(field, value)
            except (OSError, RedisError):
                self._unsettled[field] = value
                self._write_again()
            except BaseException:
                self._hang_up()  # a signal may have interrupted the command
                raise
            else:
                self._unsettled = {field: value}  # the wire has settled the write before this one

    def find(self, run_key: str) -> JournalEntry | None:
        """The furthest entry of any writer about that job, or None."""
        self._settle()
        with store_errors(self._label):
            texts: Any = self._client.hvals(self._key)
        names = run_key, stored(run_key)  # as releases before this one wrote it, and as this one does
        entries = (
            JournalEntry(run_key, attempt, RunState(state))
            for text in texts
            for key, attempt, state in json.loads(text)[1:]
            if key in names
        )
        return max(entries, key=JournalEntry.rank, default=None)

    def claim(self, run_key: str, attempt: int) -> bool:
        """Return True to exactly one caller for that start of that job, for `CLAIM_SECONDS`."""
        # redis-py may send the command twice after a broken connection: then the token says that it was this caller.
        token = f"{os.getpid()}:{time.monotonic_ns()}"
        with store_errors(self._label):
            return bool(self._claim([f"{self._claims}{stored(run_key)}:{attempt}"], [token, CLAIM_SECONDS]))

    def erase(self, writer: str) -> None:
        """Forget the writer."""
        self._settle()  # else its last write could arrive after this
        with self._lock, store_errors(self._label):
            self._unsettled.pop(writer.encode(), None)
            self._client.hdel(self._key, writer)

    def prune(self, silent_for: timedelta) -> int:
        """Forget writers that have not written for that long; return how many."""
        self._settle()
        newest = time.time() - silent_for.total_seconds()
        with store_errors(self._label):
            texts: Any = self._client.hgetall(self._key)
            silent = [part for pair in texts.items() if json.loads(pair[1])[0] <= newest for part in pair]
            return sum(
                int(self._prune([self._key], silent[start : start + 2 * _PAGE]))
                for start in range(0, len(silent), 2 * _PAGE)
            )

    def close(self) -> None:
        """Close the connection; the next write opens another."""
        self._settle()
        with self._lock:
            self._hang_up()

    def _settle(self) -> None:
        """Make sure that Redis has what this process wrote."""
        with self._lock:
            if self._wire is None:
                return
            try:
                self._wire.settle()
            except OSError:
                self._write_again()
            else:
                self._unsettled = {}

    def _write_again(self) -> None:
        """Let the client write what may be lost, or was refused by a full server: it reconnects, follows a cluster, and
        reports errors.

        A value contains all entries of its writer, so a repetition does no harm.
        """
        self._hang_up()
        if self._unsettled:
            with store_errors(self._label):
                self._repeat([self._key], [part for pair in self._unsettled.items() for part in pair])
            self._unsettled = {}

    def _hang_up(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _start(self) -> None:
        """Start anew, also in a forked child: the lock may be held there, and the connection is the parent's."""
        self._lock = threading.Lock()
        self._wire = None
        self._unsettled = {}
