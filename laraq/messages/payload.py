"""Payload: the immutable form in which a job is sent.

A job is sent as one ordinary Celery protocol-2 message: task name = the class's dotted path, `kwargs` = its fields as
JSON, and one `laraq` header that holds everything else. `tests/golden/` keeps a file for every version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from laraq.errors import PayloadError, UnsupportedPayloadError
from laraq.messages.failure import storable
from laraq.messages.tally import AWAITED

#: Version of the `laraq` header this code writes; it reads all up to this one.
VERSION = 1


@dataclass(frozen=True)
class Payload:
    """Everything that is sent with a job."""

    #: The uuid; Celery's task id.
    id: str
    #: Dotted path of the Job class.
    job: str
    #: Fields by name, JSON-ready. Encrypted jobs have one key, `CIPHER`.
    fields: Mapping[str, Any] = field(default_factory=dict)
    #: Fields by position, as other senders and Celery's own methods send them.
    args: tuple[Any, ...] = ()
    queue: str | None = None
    connection: str | None = None
    #: How often the job was started before this message.
    attempts: int = 0
    #: How many of its starts were released uncounted (`.dont_count()`, unknown classes).
    uncounted: int = 0
    #: How many unhandled exceptions and timeouts it had, for `max_exceptions`.
    exceptions: int = 0
    #: How often it was released without a start, because a worker did not know its class or version.
    returns: int = 0
    #: How often `laraq retry` sent it again.
    retried: int = 0
    #: Options set on the instance; class options are read in the worker.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Epoch seconds after which it is not started again.
    retry_until: float | None = None
    #: Epoch seconds of the dispatch.
    created_at: float | None = None
    #: Data that is sent with jobs (`laraq.context`).
    context: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    #: Middleware that was added at the dispatch, as `laraq.middleware.travelling` writes it.
    through: tuple[Mapping[str, Any], ...] = ()
    #: The batch it belongs to.
    batch_id: str | None = None
    #: The event of that batch for which it was sent: such a callback is not a member and is not counted.
    event: str | None = None
    #: The counts of the batch at that event (`tally.COUNTS`), for callbacks that get it as it was then.
    counts: Mapping[str, int] = field(default_factory=dict)
    #: 1: it must not start before the `before` callbacks of its batch are over.
    waits: int = 0
    #: Rest of the chain and its catch callbacks, as `laraq.workflow.chains` writes them.
    chain: Mapping[str, Any] = field(default_factory=dict)
    #: 1: its sender may send it again after a crash, under the same id; its first start is claimed in the journal.
    #: MAYBE: it is sent again, and the broker may have the first message, whose start is not claimed.
    once: int = 0
    #: Its places in the lines where it was parked since its last counted start (`ports.Line.text`: `ParkedJob.since`).
    parked: Mapping[str, int] = field(default_factory=dict)
    #: The unique lock this job holds: key, owner, store.
    unique: Mapping[str, Any] = field(default_factory=dict)
    #: Text of the last error, kept so that MaxAttemptsExceededError can name its cause.
    last_error: str | None = None
    #: What the carrier needs to send the job again unchanged (Celery: links, chord, ids, priority ...).
    carrier: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return f"{self.job}[{self.id}]"

    @property
    def run_key(self) -> str:
        """The job's key in the journal; a job of `laraq retry` gets a new one."""
        return f"{self.id}+{self.retried}" if self.retried else self.id

    @property
    def is_member(self) -> bool:
        """Whether a batch counts the job; callbacks are not counted."""
        return self.batch_id is not None and not self.event

    @property
    def is_awaited(self) -> bool:
        """Whether it is a callback of a batch for whose end other callbacks or the jobs may wait."""
        return self.batch_id is not None and self.event in AWAITED

    def with_(self, **changes: Any) -> Payload:
        """A copy with other values."""
        if unknown := changes.keys() - _NAMES:
            raise TypeError(f"A payload has no {', '.join(sorted(unknown))}")
        # A tenth of the time of `dataclasses.replace`, and each job of a batch is copied twice.
        copy = object.__new__(Payload)
        vars(copy).update(vars(self), **changes)
        return copy

    def to_header(self) -> dict[str, Any]:
        """The `laraq` header: the values that differ from the defaults, and the version."""
        header: dict[str, Any] = {"v": VERSION}
        for name, kind in _HEADER.items():
            value = getattr(self, name)
            if value or (value is not None and name == "retry_until"):
                header[name] = list(value) if kind is _LIST else dict(value) if kind is Mapping else value
        return header

    @classmethod
    def from_header(
        cls,
        id: str,
        job: str,
        fields: Mapping[str, Any],
        args: tuple[Any, ...] = (),
        header: Any = None,
        **rest: Any,
    ) -> Payload:
        """Read a message; a message of another sender has no header and gets the defaults.

        Raises UnsupportedPayloadError for a newer version, PayloadError for an invalid header.
        """
        if header is None:
            return cls(id=id, job=job, fields=fields, args=args, **rest)
        if not isinstance(header, Mapping):
            raise PayloadError(f"The laraq header of job {job!r} is {type(header).__name__}, not a mapping.")
        version = header.get("v")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise PayloadError(f"The laraq header of job {job!r} has an invalid version: {version!r}.")
        if version > VERSION:
            raise UnsupportedPayloadError(version, VERSION)
        known = {name: header[name] for name in _HEADER if name in header}
        for name, value in known.items():
            if not _is_of_kind(name, value):
                raise PayloadError(f"The laraq header of job {job!r}: {name} is {type(value).__name__}.")
        for name in _LISTS & known.keys():
            known[name] = tuple(known[name])
        # A fifth of the time of the constructor, as in `with_`: each job is read once.
        payload = object.__new__(cls)
        vars(payload).update(_DEFAULTS, id=id, job=job, fields=fields, args=args, **known, **rest)
        return payload

    @classmethod
    def salvaged(cls, id: str, job: str, fields: Any, args: Any, header: Any, **rest: Any) -> Payload:
        """The readable part of a message that `from_header` refuses, so that its batch and chain can be notified.

        Never raises.
        """
        header = header if isinstance(header, Mapping) else {}
        known = {name: header[name] for name in _HEADER if name in header and _fits(name, header[name])}
        known |= {name: tuple(value) for name, value in known.items() if _HEADER[name] is _LIST}
        fields = fields if isinstance(fields, Mapping) else {}
        args = tuple(args) if isinstance(args, _LIST) else ()
        return cls(id=id, job=job, fields=fields, args=args, **{**known, **rest})

    def misfit(self, header: Mapping[str, Any]) -> str | None:
        """The part of the header that laraq cannot have written, although its type is right."""
        wrong = next((name for name in _HEADER if (value := header.get(name)) and not _fits(name, value)), None)
        return None if wrong is None else f"{wrong} is {shown(getattr(self, wrong))}"

    def to_dict(self) -> dict[str, Any]:
        """The whole payload as JSON-ready data, for failed records, delayed stores and batches."""
        return {
            "id": self.id,
            "job": self.job,
            "kwargs": dict(self.fields),
            "args": list(self.args),
            "laraq": self.to_header(),
            "carrier": dict(self.carrier),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Payload:
        """The inverse of `to_dict`."""
        return cls.from_header(
            data["id"],
            data["job"],
            data.get("kwargs") or {},
            tuple(data.get("args") or ()),
            data.get("laraq"),
            carrier=data.get("carrier") or {},
        )


_NAMES = frozenset(Payload.__dataclass_fields__)

#: What a payload has where nothing is said.
_DEFAULTS: Mapping[str, Any] = vars(Payload("", ""))

_LIST = (list, tuple)

#: The entries of the header in the order of writing, with their types.
_HEADER: Mapping[str, Any] = {
    "queue": str,
    "connection": str,
    "attempts": int,
    "uncounted": int,
    "exceptions": int,
    "returns": int,
    "retried": int,
    "options": Mapping,
    "retry_until": (int, float),
    "created_at": (int, float),
    "context": Mapping,
    "tags": _LIST,
    "through": _LIST,
    "batch_id": str,
    "event": str,
    "counts": Mapping,
    "waits": int,
    "chain": Mapping,
    "once": int,
    "parked": Mapping,
    "unique": Mapping,
    "last_error": str,
}

_LISTS = frozenset(name for name, kind in _HEADER.items() if kind is _LIST)

#: The type that each of them nearly always has.
_USUAL: Mapping[str, type] = {
    name: dict if kind is Mapping else list if kind is _LIST else float if kind == (int, float) else kind
    for name, kind in _HEADER.items()
}

#: The largest count, and the latest moment in epoch seconds: every store can keep it, even increased by one.
_MOST, _LATEST = 10**9, 253_402_300_799

#: See `Payload.once`.
MAYBE = 2

#: The only field of an encrypted job.
CIPHER = "__encrypted__"

#: Most characters of a job's id; a sender may choose another id than a uuid.
LONGEST_ID = 200

#: Most nested levels of lists and mappings in a message. Processes of a worker pass it on pickled, which takes two
#: levels of Python's stack for each.
DEEPEST = 200


def _is_of_kind(name: str, value: Any) -> bool:
    return type(value) is _USUAL[name] or (isinstance(value, _HEADER[name]) and not isinstance(value, bool))


def _fits(name: str, value: Any) -> bool:
    """Whether the value is valid in the header."""
    if not _is_of_kind(name, value):
        return False
    if isinstance(value, (int, float)):
        return 0 <= value <= (_MOST if _HEADER[name] is int else _LATEST)  # false for NaN
    if name == "unique":
        return all(isinstance(value.get(part, ""), str) for part in ("key", "owner", "token"))
    if name == "counts":
        return all(type(count) is int and 0 <= count <= _MOST for count in value.values())
    if name == "through":
        return all(isinstance(part, Mapping) for part in value)
    if name == "chain":
        return all(isinstance(value.get(part, ()), _LIST) for part in ("rest", "catch"))
    return True


def is_job_id(value: str) -> bool:
    """Whether every store can keep records under that id."""
    return 0 < len(value) <= LONGEST_ID and storable(value) == value


def shown(value: Any) -> str:
    """A value of a message for an error: short, and only the type of anything but numbers and booleans."""
    return f"{value!r:.40}" if isinstance(value, int | float) else type(value).__name__


def too_deep(value: Any) -> bool:
    """Whether lists and mappings are nested more than `DEEPEST` levels deep."""
    level = [value] if type(value) in _NESTING else []
    for _ in range(DEEPEST):
        level = [
            part for one in level for part in (one.values() if type(one) is dict else one) if type(part) in _NESTING
        ]
        if not level:
            return False
    return True


_NESTING = (dict, list, tuple)
