"""QueueFacts: what can be known of a queue from outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from laraq.cli.host import RunningWorker
from laraq.cli.run_line import duration
from laraq.errors import NotInspectableError
from laraq.jobs import registry
from laraq.messages.inspection import QueueState
from laraq.messages.payload import Payload
from laraq.ports import Inspection

if TYPE_CHECKING:
    from laraq.app import Laraq

#: What is shown for what cannot be known.
UNKNOWN = "-"


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """None: the broker cannot tell."""

    connection: str
    queue: str
    pending: int | None = None
    delayed: int | None = None
    reserved: int | None = None
    parked: int = 0
    oldest_pending: datetime | None = None
    #: Workers that take jobs from it now.
    workers: int | None = None
    paused: bool = False
    #: Seconds; None: until it is resumed.
    paused_for: float | None = None

    @property
    def name(self) -> str:
        """As all commands take it."""
        return f"{self.connection}:{self.queue}"

    @property
    def size(self) -> int:
        """The number of jobs in all states that are known."""
        return (self.pending or 0) + (self.delayed or 0) + (self.reserved or 0)

    @property
    def is_forgotten(self) -> bool:
        """Whether jobs wait that no worker would take."""
        return bool(self.pending) and self.workers == 0 and not self.paused

    def age(self, now: datetime) -> str:
        """For how long the oldest pending job waits."""
        if self.oldest_pending is None:
            return UNKNOWN if self.pending is None or self.pending else ""
        return duration(max((now - self.oldest_pending).total_seconds(), 0.0))

    def pause(self) -> str:
        """Whether it is paused, and for how long still."""
        if not self.paused:
            return ""
        return "yes" if self.paused_for is None else duration(self.paused_for)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        oldest = self.oldest_pending
        return {**asdict(self), "oldest_pending": None if oldest is None else oldest.isoformat()}


def facts_of(laraq: Laraq, places: Iterable[tuple[str, str]]) -> list[QueueFacts]:
    """Ask the brokers about these queues. Raises InspectionError when a broker does not answer."""
    parked = Counter(place for place, _ in parked_jobs(laraq))
    paused, all_paused = laraq.pauses.all(), laraq.pauses.all_paused()
    found = []
    for connection, queue in places:
        inspection = getattr(laraq.connection(connection), "inspection", None)
        if inspection is None:
            raise NotInspectableError("its jobs", f"Connection {connection!r}", "it keeps none")
        name = f"{connection}:{queue}"
        facts = QueueFacts(
            connection,
            queue,
            pending=_count(inspection, queue, QueueState.PENDING),
            delayed=_count(inspection, queue, QueueState.DELAYED),
            reserved=_count(inspection, queue, QueueState.RESERVED),
            parked=parked[connection, queue],
            paused=all_paused or name in paused,
            paused_for=None if all_paused else paused.get(name),
        )
        found.append(replace(facts, oldest_pending=_oldest(inspection, queue)) if facts.pending else facts)
    return found


def known_places(
    laraq: Laraq, configured: Mapping[str, Sequence[str]], workers: Mapping[str, Sequence[RunningWorker] | None]
) -> list[tuple[str, str]]:
    """The queues that are configured, worked on, named by a job class or paused, without repetition."""
    places = [(connection, queue) for connection, queues in configured.items() for queue in queues]
    places += [(name, queue) for name, found in workers.items() for one in found or () for queue in one.queues]
    for cls in registry.classes():
        routed_queue, routed_connection = laraq.routes.find(cls)
        queue, connection = cls.queue or routed_queue, cls.connection or routed_connection
        if isinstance(queue, str) and (connection is None or connection in configured):
            places.append((connection or laraq.settings.default, str(laraq.routes.forwarded(queue))))
    places += [(one.partition(":")[0], one.partition(":")[2]) for one in laraq.pauses.all()]
    known = [place for place in dict.fromkeys(places) if place[0] in configured]
    order = [*configured]
    return sorted(known, key=lambda place: (order.index(place[0]), place[1]))


def parked_jobs(laraq: Laraq) -> Iterable[tuple[tuple[str, str], tuple[Any, Payload]]]:
    """The parked jobs: connection and queue, what the job waits for, and its payload."""
    for line, payload in laraq.parking.waiting():
        place = laraq.connection(payload.connection)
        yield (place.name, payload.queue or place.default_queue()), (line, payload)


def shown_name(payload: Payload) -> str:
    """The display name, else the dotted path of the class."""
    return str(payload.options.get("display_name") or payload.job)


def _count(inspection: Inspection, queue: str, state: QueueState) -> int | None:
    with suppress(NotInspectableError):
        return inspection.count(queue, state)
    return None


def _oldest(inspection: Inspection, queue: str) -> datetime | None:
    with suppress(NotInspectableError):
        return next((job.created_at for job in inspection.jobs(queue, QueueState.PENDING, 1)), None)
    return None
