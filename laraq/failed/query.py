"""Applies a FailedJobQuery to records in memory."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from laraq.messages.failure import FailedJob, FailedJobQuery


def select(records: Iterable[FailedJob], query: FailedJobQuery | None) -> list[FailedJob]:
    """The records that match, newest first; records of the same moment are ordered by id, so listings are stable."""
    newest_first = sorted(records, key=lambda failed: (failed.failed_at, failed.id), reverse=True)
    if query is None:
        return newest_first
    return list(islice(filter(query.matches, newest_first), query.limit))
