"""Parcels: short jobs reach a process of the pool several at a time.

To Celery a parcel is one task of its pool, which costs the worker more than most jobs do. Requests are received, kept,
revoked and acknowledged one by one as ever; only their way to a child and back is shared. A request that gets its turn
takes along those that wait right behind it, as many as take a few milliseconds together. If one turns out to be slow,
those behind it are taken back and go to the next free child.

What happens to the pool's task while a job runs (its time limits, the loss of its child, a termination) happens to the
request of that job. Which one that is, parent and child know from shared memory (places.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from math import ceil
from typing import TYPE_CHECKING, Any
from weakref import ref

from billiard import get_start_method
from celery import current_app
from celery.app.trace import fast_trace_task, trace_task_ret
from celery.exceptions import TaskRevokedError
from celery.worker import state

from laraq.process.hooks import reported
from laraq_celery.worker.acknowledged import Runs
from laraq_celery.worker.arrival import CRASH, JSON
from laraq_celery.worker.ending import is_ending
from laraq_celery.worker.places import PLACES, Places
from laraq_celery.worker.request import JobRequest
from laraq_kombu import running

if TYPE_CHECKING:
    from celery import Celery

logger = logging.getLogger("laraq")

#: Seconds that the jobs of one parcel take together, as far as is known.
LENGTH = 0.01

#: Seconds after which a parcel that is not over is looked at: what waits in it is taken back.
PATIENCE = 0.02

#: Most bytes of the bodies in a parcel of several jobs, about what fits in a pipe.
LARGEST = 64 * 1024

#: Most jobs in a parcel.
MOST = 64

#: The shortest time limit of a job, in seconds, that is set only when its parcel is looked at.
SHORTEST_LIMIT = 10 * PATIENCE

#: Weight of the newest run time of a class that got faster; one that got slower counts in full.
_NEWEST = 0.25


#: Of this process's worker; children inherit it.
_places: Places | None = None


def run_parcel(place: int, items: Sequence[tuple[Any, ...]]) -> tuple[float, list[Any]]:
    """In the child: run the jobs one after the other, until one does not simply succeed or the rest is taken back.

    Returns the time of the end, and for each job that ran None for a success, else what Celery's tracer returned.
    """
    assert _places is not None
    app = current_app._get_current_object()
    run: Callable[..., Any] = fast_trace_task if app.use_fast_trace_task else trace_task_ret
    outcomes: list[Any] = []
    with app.laraq.run_journal.together():
        for number, item in enumerate(items, 1):
            if not _places.begin(place, number):
                break
            failed, *rest = run(*item)
            outcomes.append((failed, *rest) if failed else None)
            if failed:
                break
    return time.monotonic(), outcomes


class Parcel:
    """One task of the pool. All but `on_...` belongs to `Parcels`."""

    def __init__(self, parcels: Parcels, place: int, requests: list[JobRequest]) -> None:
        self._parcels = parcels
        self.place = place
        #: The requests whose end is still to be heard of; `first` is the number of the first of them.
        self.requests = requests
        self.first = 1
        self.result: Any = None
        self.pid: int | None = None
        self.accepted_at: float | None = None
        self.runs: Runs | None = None
        self.is_opened = False

    def on_accepted(self, pid: int, accepted_at: float) -> None:
        """A process has it."""
        self.pid, self.accepted_at = pid, accepted_at
        self._parcels.accepted(self)

    def on_success(self, answer: tuple[float, list[Any]]) -> None:
        """The process has gone through it."""
        self._parcels.ended(self, *answer)

    def on_failure(self, exc_info: Any) -> None:
        """Its process died, or was killed."""
        self._parcels.died(self, lambda request: request.on_failure(exc_info))

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """The time limit of the running job is over."""
        if soft:
            for request in self._parcels.opened(self).requests:
                request.on_timeout(soft, timeout)
        else:
            self._parcels.died(self, lambda request: request.on_timeout(soft, timeout))


class Parcels:
    """The parcels of one worker; works in its parent's event loop."""

    def __init__(self, app: Celery, worker: Any) -> None:
        """Created before the pool forks."""
        global _places
        self._places = _places = Places()
        self._app = app
        self._worker = worker
        self._free = list(range(PLACES))
        self._under_way: dict[int, Parcel] = {}
        #: Seconds of one run, by class.
        self._lengths: dict[str, float] = {}
        self._hub: Any = None
        self._is_watching = False

    def register(self, hub: Any) -> None:
        """Use this event loop; again after each lost connection, with which Celery drops all timers."""
        if get_start_method() != "fork":
            return  # its processes have not inherited the places; nothing is ever sent in parcels
        if self._hub is None:
            running.before_reading(self.open_all)
        self._hub = hub
        self._is_watching = False
        self._watch()

    def obstacle(self, eventer: Any) -> str | None:
        """What keeps all jobs of this worker apart, if anything."""
        if self._hub is None:
            return "its processes are spawned"
        if _sends_events(eventer):
            return "an event of each step is sent (-E)"
        if self._worker.pool._pool._maxtasksperchild:
            return "max_tasks_per_child counts them"
        return "nothing is prefetched" if self._worker.prefetch_multiplier == 1 else None

    def may_take(self, request: JobRequest) -> bool:
        """Whether the request may travel in a parcel."""
        task = request.task
        return (
            self._hub is not None
            and task.acks_late
            and not _sends_events(request.eventer)
            and CRASH not in request.request_dict
            and request._terminate_on_ack is None
            and min((limit for limit in _limits(request, None) if limit), default=SHORTEST_LIMIT) >= SHORTEST_LIMIT
        )

    def send(self, head: JobRequest, pool: Any) -> Any:
        """Send the request, whose turn it is, and those behind it."""
        if head.revoked():
            raise TaskRevokedError(head.id)
        requests = [head, *self._followers(head, pool)]
        place = self._free.pop()
        self._places.clear(place)
        parcel = self._under_way[place] = Parcel(self, place, requests)
        parcel.result = result = pool.apply_async(
            run_parcel,
            args=(place, [_item(request) for request in requests]),
            accept_callback=parcel.on_accepted,
            timeout_callback=parcel.on_timeout,
            callback=parcel.on_success,
            error_callback=parcel.on_failure,
            correlation_id=head.id,
        )
        if result is None:  # the pool is about to end
            self._forget(parcel)
            return None
        reference = ref(result)
        for request in requests:
            request._apply_result = reference
        self._watch()
        return result

    def open_all(self) -> None:
        """Make visible what each process is doing, and take back what waits there: something wants to see or change
        requests."""
        for parcel in [*self._under_way.values()]:
            self.opened(parcel)

    def stop_all(self) -> None:
        """Let no process begin another job. May be called anywhere, also from a signal's handler."""
        for place in [*self._under_way]:
            self._places.take_back(place)

    def requests(self) -> list[JobRequest]:
        """The requests that are under way, but for those that Celery has cancelled."""
        found = (request for parcel in [*self._under_way.values()] for request in parcel.requests)
        return [request for request in found if not request._already_cancelled]

    def running(self) -> Iterator[tuple[JobRequest, int | None]]:
        """What each process runs, and its id; only reads, like `stop_all`."""
        for parcel in [*self._under_way.values()]:
            begun, _ = self._places.begun(parcel.place)
            if parcel.first <= begun < parcel.first + len(parcel.requests):
                yield parcel.requests[begun - parcel.first], parcel.pid

    # -- sending ------------------------------------------------------------------------------------------------

    def _followers(self, head: JobRequest, pool: Any) -> list[JobRequest]:
        """Take along what waits behind the request."""
        semaphore, process = self._worker.semaphore, self._worker._process_task
        waiting = getattr(semaphore, "_waiting", None)
        processes = pool._pool
        if not waiting or processes._maxtasksperchild or len(self._free) < 2:
            return []
        most = share(len(waiting) + 1, processes._processes)
        length, size = self._length(head), _size(head)
        found: list[JobRequest] = []
        while waiting and len(found) + 1 < most:
            callback, arguments = waiting[0][:2]
            if callback != process or len(arguments) != 1:
                break
            request = arguments[0]
            if not isinstance(request, JobRequest) or not self.may_take(request):
                break
            length, size = length + self._length(request), size + _size(request)
            if (
                length > LENGTH
                or size > LARGEST
                or request.id in state.revoked
                or request.expires
                or state.revoked_stamps
            ):
                break
            waiting.popleft()
            found.append(request)
        return found

    def _length(self, request: JobRequest) -> float:
        return self._lengths.get(request.type, LENGTH)

    def _learn(self, name: str, seconds: float) -> None:
        self._lengths[name] = learned(self._lengths.get(name, 0.0), seconds)

    # -- while it is under way ----------------------------------------------------------------------------------

    def accepted(self, parcel: Parcel) -> None:
        """Let the journal of the process be followed."""
        assert parcel.pid is not None
        assert parcel.accepted_at is not None
        parcel.runs = Runs(parcel.accepted_at, list(parcel.requests), ended=False)
        if (acknowledged := self._app.laraq.host.acknowledged) is not None:
            acknowledged.accepted_parcel(parcel.runs, parcel.pid)
        if parcel.is_opened:
            self._show(parcel)

    def _watch(self) -> None:
        if self._under_way and not self._is_watching and self._hub is not None:
            self._is_watching = True
            self._hub.call_later(PATIENCE, self._look)

    def _look(self) -> None:
        self._is_watching = False
        now, again = time.monotonic(), False
        for parcel in [*self._under_way.values()]:
            if parcel.result is not None and parcel.result._job not in parcel.result._cache:
                self._forget(parcel)  # the pool has dropped it
            elif not parcel.is_opened:
                if parcel.accepted_at is not None and now - parcel.accepted_at >= PATIENCE:
                    self.opened(parcel)
                else:
                    again = True
        if again:
            self._watch()

    def opened(self, parcel: Parcel) -> Parcel:
        """Take back what has not begun, finish what is done; the running job is the only one left."""
        if parcel.is_opened:
            return parcel
        parcel.is_opened = True
        begun, at = self._places.take_back(parcel.place)
        done, current, rest = _split(parcel, begun)
        parcel.requests, parcel.first = current, begun
        self._finish(done)
        if current and parcel.pid is not None:
            self._show(parcel, at)
        self._return(rest)
        return parcel

    def _show(self, parcel: Parcel, at: float | None = None) -> None:
        """The running job is active from now on, and under its time limits."""
        if at is None:
            _, at = self._places.begun(parcel.place)
        for request in parcel.requests:
            request.begin(parcel.pid or 0, at)
            ran = time.monotonic() - at
            self._learn(request.type, max(ran, PATIENCE))
            self._limit(parcel, request, ran)

    def _limit(self, parcel: Parcel, request: JobRequest, ran: float) -> None:
        result, pool = parcel.result, self._worker.pool._pool
        hard, soft = _limits(request, pool)
        result._timeout, result._soft_timeout = hard, soft
        if result.ready() or not (hard or soft):
            return
        pool.on_timeout_cancel(result)
        pool.on_timeout_set(result, soft and max(soft - ran, 0.001), hard and max(hard - ran, 0.002))

    # -- its end ------------------------------------------------------------------------------------------------

    def ended(self, parcel: Parcel, at: float, outcomes: list[Any]) -> None:
        """What ran is finished, or settled as Celery would; the rest is taken back."""
        self._forget(parcel)
        outcomes = outcomes[parcel.first - 1 :] if parcel.first else outcomes
        ran, rest = parcel.requests[: len(outcomes)], parcel.requests[len(outcomes) :]
        if parcel.runs is not None:
            parcel.runs.requests, parcel.runs.ended = _all(parcel, ran), True
        if ran and not parcel.is_opened and parcel.accepted_at is not None:
            each = (at - parcel.accepted_at) / len(ran)
            for name in {request.type for request in ran}:
                self._learn(name, each)
        self._finish([request for request, outcome in zip(ran, outcomes, strict=True) if outcome is None])
        self._return(rest)
        for request, outcome in zip(ran, outcomes, strict=True):
            if outcome is not None:  # the last one; Celery may raise what it hears
                if request.time_start is None:
                    request.begin(parcel.pid or 0, parcel.accepted_at or at)
                request.on_success(outcome)

    def died(self, parcel: Parcel, tell: Callable[[JobRequest], Any]) -> None:
        """What happened to the process happened to the job it had begun last."""
        self._forget(parcel)
        if not parcel.is_opened:
            begun, at = self._places.begun(parcel.place)
            done, current, rest = _split(parcel, max(begun, 1))
            parcel.is_opened, parcel.requests = True, current
            self._finish(done)
            for request in current:
                request.begin(parcel.pid or 0, at or time.monotonic())
            self._return(rest)
        if parcel.runs is not None:
            parcel.runs.ended = True
        for request in parcel.requests:
            tell(request)

    def _forget(self, parcel: Parcel) -> None:
        if self._under_way.get(parcel.place) is parcel:
            del self._under_way[parcel.place]
            self._free.insert(0, parcel.place)  # used again as late as possible

    def _finish(self, done: Sequence[JobRequest]) -> None:
        """Acknowledge what succeeded."""
        if not done:
            return
        # One channel as a rule: it is enough for it to see once how much room there is.
        together = getattr(done[0].message.channel, "settling_together", nullcontext)
        with together():
            for request in done:
                with reported(logger, "Job %s[%s] has succeeded and cannot be acknowledged", request.name, request.id):
                    request.succeed()

    def _return(self, requests: Sequence[JobRequest]) -> None:
        """It is their turn again, before all that wait."""
        for request in requests:
            request.withdraw()
        if not requests or is_ending():
            return
        semaphore, process = self._worker.semaphore, self._worker._process_task
        semaphore._waiting.extendleft((process, (request,), {}) for request in reversed(requests))
        while semaphore.value > 0 and semaphore._waiting:
            semaphore.value -= 1
            semaphore.release()


def share(waiting: int, processes: int) -> int:
    """Most jobs of one parcel: the next process that is free finds as much."""
    return min(ceil(waiting / max(processes, 1)), MOST)


def learned(known: float, seconds: float) -> float:
    """The length of a class's jobs after a parcel in which each took so long: slower counts at once, faster slowly."""
    return seconds if seconds > known else known + (seconds - known) * _NEWEST


def _sends_events(eventer: Any) -> bool:
    """Whether Celery sends an event of each step of a task (celery.events.dispatcher: EventDispatcher.send)."""
    return eventer is not None and eventer.enabled and (not eventer.groups or "task" in eventer.groups)


def _size(request: JobRequest) -> int:
    body = request.body
    return len(body) if isinstance(body, (str, bytes)) else LARGEST


def _all(parcel: Parcel, ran: list[JobRequest]) -> list[JobRequest]:
    """The requests that ran in the parcel."""
    first = parcel.runs.requests[: parcel.first - 1] if parcel.runs is not None and parcel.is_opened else []
    return [*first, *ran]


def _split(parcel: Parcel, begun: int) -> tuple[list[Any], list[Any], list[Any]]:
    """The requests that are done, the one that runs, and those that have not begun."""
    requests = parcel.requests
    return requests[: max(begun - 1, 0)], requests[max(begun - 1, 0) : begun], requests[begun:]


def _limits(request: JobRequest, pool: Any) -> tuple[float | None, float | None]:
    """Hard and soft limit, as Celery and billiard choose them."""
    hard, soft = request.time_limits
    task = request.task
    return (
        hard or task.time_limit or getattr(pool, "timeout", None),
        soft or task.soft_time_limit or getattr(pool, "soft_timeout", None),
    )


def _item(request: JobRequest) -> tuple[Any, ...]:
    """What the child needs of a request (celery.worker.request: Request.execute_using_pool); JSON as it was decoded
    here."""
    body = request.body, request.content_type, request.content_encoding
    if request.content_type == JSON:
        body = request._payload, None, None
    return request.type, request.id, request.request_dict, *body
