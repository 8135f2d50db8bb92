"""HostCommands: what the command line needs from the task queue that carries the jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from laraq.errors import ConfigurationError
from laraq.process.plugins import plugins

if TYPE_CHECKING:
    from laraq.app import Laraq


@dataclass(frozen=True, slots=True)
class WorkOptions:
    """The options of `laraq work` for the worker itself; its options for jobs are in `Laraq.worker`."""

    #: Name of the connection to work on; None for the app's own broker.
    connection: str | None = None
    #: The connection's configuration: `url`, `queue`, ...
    address: Mapping[str, Any] = field(default_factory=dict)
    #: Queues in the order in which they are served; empty for the connection's default.
    queues: tuple[str, ...] = ()
    #: A number or "auto"; None for the app's setting, as with the next option.
    concurrency: str | None = None
    pool: str | None = None
    name: str | None = None
    loglevel: str = "WARNING"
    #: Do not print jobs.
    quiet: bool = False
    #: Print more about jobs.
    verbose: bool = False
    no_color: bool = False
    #: 0 is no limit.
    max_jobs: int = 0
    stop_when_empty: bool = False
    #: Seconds; 0 is no limit.
    stop_when_empty_for: float = 0
    max_time: float = 0
    #: Megabytes; 0 is no limit.
    memory: float = 0
    #: Take jobs even while the application is down.
    force: bool = False
    #: Print one JSON object per event.
    as_json: bool = False
    #: Options of the host's worker, as typed.
    passed_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunningJob:
    """What a worker runs now."""

    id: str
    #: The name in logs: the display name, else the dotted path of the class or task.
    job: str
    #: Aware, by the worker's clock; None if it only begins.
    since: datetime | None


@dataclass(frozen=True, slots=True)
class RunningWorker:
    """A worker that has answered."""

    name: str
    #: Queues that it takes jobs from now; a paused queue is none.
    queues: tuple[str, ...]
    runs: tuple[RunningJob, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What `laraq doctor` has found."""

    #: One or two words.
    check: str
    says: str
    #: The setting or command that mends it; may be empty.
    mend: str
    #: Whether it may be left as it is.
    advice: bool = False


@dataclass(frozen=True, slots=True)
class HostOption:
    """An option of the host's worker command, which `laraq work` passes on."""

    #: ("-E", "--task-events")
    names: tuple[str, ...]
    is_flag: bool = False
    metavar: str | None = None
    help: str = ""


class HostCommands(Protocol):
    """Implemented by adapters, found by the entry-point group `laraq.commands`."""

    def load(self, spec: str) -> Laraq:
        """The Laraq that `-A spec` names.

        Raises ConfigurationError when there is no such module or app, or nothing is attached to it.
        """

    def attached(self, app: Any) -> Laraq:
        """The Laraq of an app; raises ConfigurationError when none is attached."""

    def import_jobs(self, laraq: Laraq) -> None:
        """Import the modules a worker of the app would import, so that every Job class is known."""

    def queues(self, laraq: Laraq) -> Mapping[str, Sequence[str]]:
        """The configured queues of each connection that has a broker."""

    def workers(self, laraq: Laraq) -> Mapping[str, Sequence[RunningWorker] | None]:
        """The workers on the broker of each connection; None where the broker has no way to reach them.

        Connections on one broker have the same sequence. A worker that runs a job in its main process does not answer.
        Raises InspectionError when a broker does not answer.
        """

    def diagnose(self, laraq: Laraq) -> Sequence[Finding]:
        """What is wrong with the configuration, the broker and the store."""

    def work_options(self) -> Sequence[HostOption]:
        """The options of the host's worker that `laraq work` accepts."""

    def work(self, laraq: Laraq, options: WorkOptions) -> int:
        """Run a worker until it is stopped, or until the options end it; return the exit status."""


def host_commands() -> HostCommands:
    """The commands of the installed host."""
    for entry in plugins("laraq.commands"):
        commands: HostCommands = entry.load()()
        return commands
    raise ConfigurationError("No adapter offers the entry point 'laraq.commands': is laraq installed completely?")
