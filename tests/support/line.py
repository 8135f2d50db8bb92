"""Line: a connection whose jobs wait until the test has them run, in this process, as a worker would run them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from laraq import Laraq
from laraq.messages.delivery import Crash, Delivery, Release
from laraq.messages.payload import Payload
from laraq.ports.journal import RunState
from laraq.running.journal import Finished, RunJournal, Settled, Start, judge
from laraq.running.run import Run
from laraq.testing import TestingApp


@dataclass
class Line:
    """Keeps what it takes; `work` starts it, keeps the books, and puts released jobs back."""

    name = "line"
    immediate = False

    laraq: Laraq = field(init=False)
    _journal: RunJournal = field(init=False, repr=False)
    #: What waits, with its delay in seconds, which nobody waits for.
    waiting: list[tuple[Payload, float]] = field(default_factory=list)
    #: All that was ever taken.
    taken: list[Payload] = field(default_factory=list)
    #: Sizes of the bulks taken.
    bulks: list[int] = field(default_factory=list)
    #: What the next pushes raise, None for one that goes well.
    errors: list[Exception | None] = field(default_factory=list)

    @classmethod
    @contextmanager
    def attached(cls, app: Any = None, **settings: Any) -> Iterator[Line]:
        """A line that is the default connection of the current Laraq, on a memory store unless `settings` say so."""
        line = cls()
        app = app or default_app()
        settings = {"store": "memory://", "connections": {"line": line, "other": line}, "default": "line", **settings}
        with Laraq(app, **settings) as laraq:
            line.laraq, line._journal = laraq, RunJournal(laraq.store.journal)
            yield line

    def push(self, payload: Payload, delay: float = 0) -> None:
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        payload = Payload.from_dict(json.loads(json.dumps(payload.to_dict())))
        self.taken.append(payload)
        self.waiting.append((payload, delay))

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        self.bulks.append(len(payloads))
        for payload, delay in payloads:
            self.push(payload, delay)

    def default_queue(self) -> str:
        return "line"

    def run(self, payload: Payload, *, redelivered: bool = False) -> Run | None:
        """One delivery of a message (laraq_celery/task.py); None when its start is another's, or was settled."""
        attempt, crash = payload.attempts + 1, None
        if redelivered:
            self._journal = RunJournal(self.laraq.store.journal)  # its process died, this is another one
            entry = self._journal.find(payload.run_key)
            succeeded = partial(self.laraq.batches.has_succeeded, payload)
            match judge(payload.attempts + payload.uncounted, entry, succeeded):
                case Settled():
                    return None
                case Finished(entry):
                    attempt, crash = entry.attempt - payload.uncounted, Crash("finished", "its worker died")
                case Start(number):
                    attempt = number - payload.uncounted
        delivery = Delivery(payload, attempt, payload.queue or "line", self.name, crash)
        key, start = payload.run_key, delivery.start
        if crash is None:
            self._journal.begin(key, start)
            if (redelivered or start > 1 or payload.once) and not self._journal.claim(key, start):
                return None
        run = self.laraq.runner.run(delivery)
        settled = self.laraq.books.settle(run, journal=self._journal if crash is None else None)
        if isinstance(run.verdict, Release):
            self.push(run.payload.with_(**run.starts()), run.verdict.delay)
        self._journal.end(key, start, RunState.DONE, known=settled.counted)
        return run

    def hand_over(self, payload: Payload) -> None:
        """Run a message whose batch somebody else is to tell (laraq_celery/outcomes.py), in a process that goes on."""
        delivery = Delivery(payload, payload.attempts + 1, payload.queue or "line", self.name)
        self._journal.begin(payload.run_key, delivery.start)
        run = self.laraq.runner.run(delivery)
        self.laraq.books.settle(run, journal=self._journal, can_hand_over=True)
        self._journal.begin("the next job", 1)

    def step(self) -> Run | None:
        """Start the job that waits longest."""
        payload, _ = self.waiting.pop(0)
        return self.run(payload)

    def work(self) -> list[Run]:
        """Start jobs until none waits; the runs in their order."""
        runs = []
        while self.waiting:
            if (run := self.step()) is not None:
                runs.append(run)
        return runs


def default_app() -> Any:
    """An app of Celery; in `make core`, where there is no Celery, one of `laraq.testing`."""
    try:
        from celery import Celery
    except ImportError:
        return TestingApp()
    return Celery("t", broker="memory://", set_as_current=False)
