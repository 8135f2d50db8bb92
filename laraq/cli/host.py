"""HostCommands: what the command line asks of the task queue that carries the jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from laraq.errors import ConfigurationError
from laraq.process.plugins import plugins

if TYPE_CHECKING:
    from laraq.app import Laraq


@dataclass(frozen=True, slots=True)
class WorkOptions:
    """What `laraq work` says about the worker itself; what it says about jobs is in `Laraq.worker`."""

    #: Name of the connection to work on; None for the app's own.
    connection: str | None = None
    #: That connection as configured: `url`, `queue`, ...
    address: Mapping[str, Any] = field(default_factory=dict)
    #: In the order in which they are served; empty for the default of the connection.
    queues: tuple[str, ...] = ()
    #: A number or "auto"; None for the app's own setting, as with the next.
    concurrency: str | None = None
    pool: str | None = None
    name: str | None = None
    loglevel: str = "WARNING"
    #: Nothing is said about jobs.
    quiet: bool = False
    #: More is said about jobs.
    verbose: bool = False
    no_color: bool = False
    #: 0 is no limit.
    max_jobs: int = 0
    stop_when_empty: bool = False
    #: Options of the host's own worker, as they were typed.
    passed_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostOption:
    """An option of the host's own worker command, which `laraq work` passes on."""

    #: ("-E", "--task-events")
    names: tuple[str, ...]
    is_flag: bool = False
    metavar: str | None = None
    help: str = ""


class HostCommands(Protocol):
    """Implemented by adapters, found by the entry-point group `laraq.commands`."""

    def load(self, spec: str) -> Laraq:
        """What `-A spec` means.

        Raises ConfigurationError when there is no such module or app, or nothing is attached to it.
        """

    def attached(self, app: Any) -> Laraq:
        """The Laraq of an app; raises ConfigurationError when none is attached."""

    def import_jobs(self, laraq: Laraq) -> None:
        """Import the modules a worker of the app would import, so that every Job class is known."""

    def work_options(self) -> Sequence[HostOption]:
        """The options of the host's worker that `laraq work` may be given."""

    def work(self, laraq: Laraq, options: WorkOptions) -> int:
        """Be a worker until told to stop, or until the options say that it is done; return the exit status."""


def host_commands() -> HostCommands:
    """Those of the installed host."""
    for entry in plugins("laraq.commands"):
        commands: HostCommands = entry.load()()
        return commands
    raise ConfigurationError("No adapter offers the entry point 'laraq.commands': is laraq installed completely?")
