"""Jobs of laraq's own travel under the names they had when they were first sent, wherever they are defined."""

from __future__ import annotations

from laraq.jobs.closures import CallQueuedClosure
from laraq.workflow.batch import ChainedBatch
from laraq.workflow.callbacks import CallQueuedCallback
from laraq.workflow.held import SendHeldJobs


def test_messages_of_earlier_versions_name_them() -> None:
    assert {job.job_name() for job in (CallQueuedClosure, ChainedBatch, CallQueuedCallback, SendHeldJobs)} == {
        "laraq.batch.ChainedBatch",
        "laraq.callbacks.CallQueuedCallback",
        "laraq.closures.CallQueuedClosure",
        "laraq.held.SendHeldJobs",
    }
