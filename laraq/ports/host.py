"""The host: the task queue that carries the jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from laraq.messages.delivery import Verdict
from laraq.messages.link import Link
from laraq.ports.connection import QueueConnection


class Host(Protocol):
    """An application of a task queue, which carries the jobs and to which Laraq is attached."""

    #: The application's name in logs and for its parked jobs in the store: the same in all of its processes.
    label: str
    #: Exceptions by which a job controls the host: they are requests, not errors.
    control_flow: tuple[type[BaseException], ...]

    def verdict(self, error: BaseException) -> Verdict | None:
        """The verdict of a run that raised one of these; None when the host has sent the job again already."""

    def settings(self) -> Mapping[str, Any]:
        """The `laraq_*` settings of the application, without the prefix."""

    def store_urls(self) -> Sequence[str]:
        """URLs in the application's configuration that could be a store, best first."""

    def prefix(self) -> str:
        """The prefix of the application's keys on a shared server; may be empty."""

    def aliases(self) -> Sequence[str]:
        """Other names of the default connection, such as its broker's kind."""

    def connect(self, name: str, config: Mapping[str, Any]) -> QueueConnection:
        """A connection to the application's own broker, or to the one at `config["url"]`."""

    def tell_workers(self) -> None:
        """Let workers look at their orders now; those that cannot be reached do so by themselves. Never raises."""

    def migrate(self) -> Sequence[str]:
        """Create the tables of a laraq broker in the application's database; return the names of the steps taken."""

    def task(self, cls: Any) -> Any:
        """The host's task of a Job class."""

    def mark(self, value: Any) -> Any:
        """Mark a value that is not JSON as the host's messages do. Raises TypeError for an unsupported type."""

    def unmark(self, marked: dict[str, Any]) -> Any:
        """The inverse of `mark`; any other dict is returned unchanged. Raises ValueError for an unknown mark."""

    def defines_tasks(self, module: str) -> bool:
        """Whether the module defines tasks of the application; the host's built-in tasks do not count."""

    def result(self, id: str) -> Any:
        """The host's view of a job's result."""

    def injectables(self) -> Mapping[Any, Any]:
        """What handlers can have injected by type."""

    def foreign(self, thing: Any, id: str) -> Link | None:
        """The host's unit of work (a Celery signature) as a link with that id; None if `thing` is not one."""


@runtime_checkable
class HostInTests(Protocol):
    """A host whose own units of work a test can see, and which can be moved to another broker."""

    def at_broker(self, url: str) -> AbstractContextManager[None]:
        """Have the application's broker at that URL for a block, also for processes that are started."""

    def intercepting(
        self, take: Callable[[Any, Callable[[], Any]], bool], *, whole: bool
    ) -> AbstractContextManager[None]:
        """For a block, give `take` each task that would be sent (a `laraq.testing.Task`), and what runs it here.

        True: it is not sent. `whole`: none is, so that results need no server either.
        """
