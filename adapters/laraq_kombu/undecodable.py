"""Items of a queue that are not messages: bytes from another program."""

from __future__ import annotations

import uuid
from typing import Any

from laraq_kombu.store import Job

#: The name of such an item as a job in the failed store, and of the queue to which it is moved aside.
UNDECODABLE = "laraq.undecodable"


def undecodable(job: Job) -> dict[str, Any]:
    """A kombu message that stands for the item, for a worker with laraq.

    Its body, the payload, has an unreadable content type, so laraq treats it as a job with a garbled message and keeps
    it in the failed store. The id is derived from the job's: a second delivery replaces the record of the first.
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
    """The bytes of a payload: bytes that are not UTF-8 are in a string as in PEP 383, and SQLite also keeps bytes in a
    TEXT column."""
    return payload.encode(errors="surrogateescape") if isinstance(payload, str) else payload
