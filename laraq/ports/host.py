"""The host: what carries the jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from laraq.messages.delivery import Verdict
from laraq.messages.link import Link
from laraq.ports.connection import QueueConnection


class Host(Protocol):
    """What carries the jobs: an application of a task queue, to which Laraq is attached."""

    #: Names the application in logs, and its parked jobs in the store: the same in all of its processes.
    label: str
    #: Exceptions by which a job steers the host itself: they are its wishes, and no errors of it.
    control_flow: tuple[type[BaseException], ...]

    def verdict(self, error: BaseException) -> Verdict | None:
        """What one of these means for the run; None when the host has sent the job again already."""

    def settings(self) -> Mapping[str, Any]:
        """The `laraq_*` settings of the application, without the prefix."""

    def store_urls(self) -> Sequence[str]:
        """URLs the application has configured where a store could live, best first."""

    def prefix(self) -> str:
        """What the application's keys begin with on a server that it shares with others; empty for nothing."""

    def aliases(self) -> Sequence[str]:
        """Other names of the default connection, such as its broker's kind."""

    def connect(self, name: str, config: Mapping[str, Any]) -> QueueConnection:
        """A connection to the application's own broker, or to the one at `config["url"]`."""

    def migrate(self) -> Sequence[str]:
        """Make what the application's broker keeps in a database of ours; name the steps taken."""

    def task(self, cls: Any) -> Any:
        """The host's own task of a Job class."""

    def mark(self, value: Any) -> Any:
        """JSON-ready what is not JSON, as the host's own messages carry it. Raises TypeError for what they do not."""

    def unmark(self, marked: dict[str, Any]) -> Any:
        """What `mark` was given; any other dict is itself. Raises ValueError for a mark that is unknown."""

    def defines_tasks(self, module: str) -> bool:
        """Whether tasks of the application are defined in that module; the host's own are not the application's."""

    def result(self, id: str) -> Any:
        """The host's own view of a job's result."""

    def injectables(self) -> Mapping[Any, Any]:
        """What handlers may ask for by type."""

    def foreign(self, thing: Any, id: str) -> Link | None:
        """The host's own unit of work (a Celery signature), to be sent under that id; None when `thing` is none."""
