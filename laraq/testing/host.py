"""TestingHost: what carries jobs where there is no task queue, so that a test needs none: `Laraq(TestingApp())`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from laraq.errors import ConfigurationError, DispatchError
from laraq.jobs.fields import untyped
from laraq.messages.delivery import Verdict
from laraq.messages.link import Link
from laraq.messages.payload import Payload
from laraq.ports import QueueConnection


class TestingApp:
    """An application without a broker: its jobs go to `Queue.testing()` or a fake."""

    __test__ = False

    def __init__(self, **settings: Any) -> None:
        """`settings`: the `laraq_*` keys of a configuration, without the prefix."""
        self.settings = settings
        self.laraq: Any = None


class _NoBroker:
    immediate = False

    def __init__(self, name: str) -> None:
        self.name = name

    def push(self, payload: Payload, delay: float = 0) -> None:
        raise DispatchError(
            f"Job {payload.job} was not sent: a TestingApp has no broker. Send jobs inside of `with Queue.testing()` or"
            " `with Queue.fake()`."
        )

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        for payload, delay in payloads:
            self.push(payload, delay)

    def default_queue(self) -> str:
        return "default"


class TestingHost:
    """Implements `laraq.ports.Host` for a TestingApp."""

    __test__ = False

    label = "the app of a test"
    control_flow: tuple[type[BaseException], ...] = ()

    def __init__(self, laraq: Any, app: TestingApp) -> None:
        app.laraq = laraq
        self._app = app

    def verdict(self, error: BaseException) -> Verdict | None:
        """Nothing steers this host."""
        return None

    def settings(self) -> Mapping[str, Any]:
        """Those of the app; the store is in memory."""
        return {"store": "memory://", **self._app.settings}

    def store_urls(self) -> Sequence[str]:
        """None."""
        return ()

    def prefix(self) -> str:
        """None."""
        return ""

    def aliases(self) -> Sequence[str]:
        """None."""
        return ()

    def connect(self, name: str, config: Mapping[str, Any]) -> QueueConnection:
        """One that refuses jobs: there is no broker."""
        return _NoBroker(name)

    def tell_workers(self) -> None:
        """There are none."""

    def migrate(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def task(self, cls: Any) -> Any:
        """Refused: Celery's verbs need Celery."""
        raise ConfigurationError(
            f"{cls.__name__}: Celery's verbs (delay, apply_async, s, si) need a Celery app. Use dispatch()."
        )

    def mark(self, value: Any) -> Any:
        """As Celery's messages carry it."""
        return untyped.mark(value)

    def unmark(self, marked: dict[str, Any]) -> Any:
        """What `mark` was given."""
        return untyped.unmark(marked)

    def defines_tasks(self, module: str) -> bool:
        """There are no tasks."""
        return False

    def result(self, id: str) -> Any:
        """No results are kept."""
        return None

    def injectables(self) -> Mapping[Any, Any]:
        """Nothing of its own."""
        return {}

    def foreign(self, thing: Any, id: str) -> Link | None:
        """There is no other kind of work."""
        return None
