"""Link: one job of a chain or batch, packed to be sent later by another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from laraq.messages.payload import Payload


@dataclass(frozen=True, slots=True)
class Link:
    """One job of a chain or batch, in a form for another job's message or a batch's row."""

    payload: Payload
    #: The delay in seconds when it is sent.
    delay: float = 0
    #: Whether it claims a lock (unique, debounced) when it is sent.
    claims: bool = False
    #: Whether a task of the host gets the facts of the event as its first arguments (a mutable Celery signature).
    takes_result: bool = False
    #: Whether a running job added it, so that its batch does not know it yet.
    joins: bool = False

    @property
    def id(self) -> str:
        """The uuid under which it runs."""
        return self.payload.id

    def with_(self, **changes: Any) -> Link:
        """A copy with another payload."""
        return replace(self, payload=self.payload.with_(**changes))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        extra = {"delay": self.delay, "claims": self.claims, "takes_result": self.takes_result, "joins": self.joins}
        return {**self.payload.to_dict(), **{name: value for name, value in extra.items() if value}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Link:
        """The inverse of `to_dict`."""
        known = {name: data[name] for name in ("delay", "claims", "takes_result", "joins") if name in data}
        return cls(Payload.from_dict(data), **known)


def dropped_with(payload: Payload) -> list[str]:
    """Ids of the links that will not run if this job fails, as far as its batch knows them."""
    return [link["id"] for link in payload.chain.get("rest", ()) if not link.get("joins")]
