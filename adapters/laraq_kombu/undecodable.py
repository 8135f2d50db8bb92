"""What a queue holds that is no message: bytes somebody else put there."""

from __future__ import annotations

import uuid
from typing import Any

from laraq_kombu.store import Job

#: Its name: as a job in the failed store, or as the queue it is put aside in.
UNDECODABLE = "laraq.undecodable"


def undecodable(job: Job) -> dict[str, Any]:
    """A kombu message that stands for it, for a worker that has laraq attached.

    Its body, the payload, has a content type that nobody reads, so laraq takes it for a job whose message was garbled
    and keeps it in the failed store. The id is made of the job's: a second delivery replaces the record of the first.
    """
    lease, payload = job.lease, job.payload
    id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{lease.queue}/{lease.id}/{payload!r}"))
    return {
        "body": raw(payload),
        "content-type": "application/x-undecodable",
        "content-encoding": "binary",
        "headers": {"task": UNDECODABLE, "id": id, "root_id": id, "laraq": {"v": 1}, "attempts": lease.attempts},
        "properties": {
            "delivery_tag": lease.tag,
            "delivery_info": {"exchange": "", "routing_key": lease.queue, "redelivered": lease.attempts > 1},
            "correlation_id": id,
        },
    }


def raw(payload: str | bytes) -> bytes:
    """The bytes of a payload: bytes that are no UTF-8 are in a string as PEP 383 has it, and SQLite also keeps bytes
    in a TEXT column."""
    return payload.encode(errors="surrogateescape") if isinstance(payload, str) else payload
