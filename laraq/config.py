"""Settings: code beats the app's `laraq_*` configuration, which beats `LARAQ_*` in the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from laraq.errors import ConfigurationError, UnknownSettingError, did_you_mean
from laraq.messages.keys import Accepted

#: Where everything lives when nothing is configured.
EMBEDDED_URL = "sqlite:///laraq.db"


#: Settings for which None is a value.
MAY_BE_NONE = frozenset({"retry_after"})

#: The keys of a connection's configuration.
_OF_CONNECTIONS = frozenset({"url", "queue", "retry_after", "after_commit", "driver", "connections"})


class Settings(BaseModel):
    """Every setting, under its name without the `laraq_` prefix."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    #: Broker and store of the embedded default, as a SQLAlchemy URL.
    url: str = EMBEDDED_URL
    #: Store URL or object; None: the broker's Redis, else the result backend's database, else `url`.
    store: Any = None
    #: Where failed jobs are kept: a store URL, `file:///path`, `null`, or an object; None: the store.
    failed: Any = None
    #: Where batches are counted: a store URL or object; None: the store if it is a database, else the result backend's
    #: database, else the store.
    batches: Any = None
    #: What every key of a Redis store begins with; None: what the host's own keys do (`global_keyprefix`). Applications
    #: with the same one share their records.
    prefix: str | None = None
    #: Named connections: {"emails": {"url": "amqp://...", "queue": "mail", "retry_after": 90}}.
    connections: dict[str, Any] = Field(default_factory=dict)
    #: Name of the connection a job uses when it names none.
    default: str = "default"
    #: Packages whose `jobs` module is imported, as Celery imports `tasks`.
    discover: tuple[str, ...] = ()
    #: Fernet keys: the first encrypts and signs, all of them read.
    keys: tuple[str, ...] = Field(default=(), repr=False)
    #: Which messages of earlier versions are still read: see Accepted.
    accept_unsigned: Accepted = "tokens"
    #: Seconds a job stays reserved without a heartbeat of its worker, on brokers that reserve; None: for ever, the job
    #: never returns to its queue by itself.
    retry_after: float | None = Field(default=90, gt=0)
    #: Seconds; jobs delayed for longer wait in the store, not in a worker, on brokers without delays. `inf`: none do.
    store_delays_over: float = Field(default=10, ge=0)
    #: When a worker ends by itself, however it was started, unless its options say otherwise; 0: never. Number of jobs,
    #: seconds, and megabytes of one of its processes.
    worker_max_jobs: int = Field(default=0, ge=0)
    worker_max_time: float = Field(default=0, ge=0)
    worker_memory: float = Field(default=0, ge=0)
    #: The file in which a worker says once a second that it is well; None: it does not.
    health_file: str | None = None
    #: Whether jobs wait for the commit of the open transaction when neither they nor their connection set it.
    after_commit: bool = False
    #: Whether ordinary Celery tasks that fail are recorded as well.
    record_failed_tasks: bool = False
    #: Hours after which workers drop records of failed jobs, and batches that have finished; None: never.
    prune_failed_after: float | None = Field(default=None, ge=0)
    prune_batches_after: float | None = Field(default=None, ge=0)

    @field_validator("keys", "discover", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Split text from the environment at its commas."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("connections", mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        """Parse JSON from the environment."""
        connections = json.loads(value) if isinstance(value, str) else value
        for name, connection in connections.items() if isinstance(connections, Mapping) else ():
            for key in connection if isinstance(connection, Mapping) else ():
                if key not in _OF_CONNECTIONS:
                    raise ValueError(f"connection {name!r} has no {key!r}.{did_you_mean(str(key), _OF_CONNECTIONS)}")
        return connections

    @classmethod
    def refuse_unknown(cls, given: Iterable[str], besides: Iterable[str] = ()) -> None:
        """Raises UnknownSettingError with the nearest name, which may be one of `besides`."""
        for name in given:
            if name not in cls.model_fields:
                raise UnknownSettingError(f"laraq_{name}", (f"laraq_{one}" for one in (*cls.model_fields, *besides)))

    @classmethod
    def read(cls, given: Mapping[str, Any], configured: Mapping[str, Any]) -> Settings:
        """Merge the three sources.

        Raises UnknownSettingError, or ConfigurationError for a value of the wrong type.
        """
        known = cls.model_fields
        cls.refuse_unknown(configured)
        environment = {
            name: value for name in known if (value := os.environ.get(f"LARAQ_{name.upper()}")) not in (None, "")
        }
        explicit = {name: value for name, value in given.items() if value is not None or name in MAY_BE_NONE}
        merged = {**environment, **configured, **explicit}
        try:
            return cls(**merged)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            name = ".".join(str(part) for part in first["loc"])
            raise ConfigurationError(f"Setting laraq_{name}: {first['msg']}") from None
