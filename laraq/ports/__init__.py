"""The Protocols that adapters implement. Each docstring is the guarantee the core relies on."""

from laraq.messages.delivery import Demand
from laraq.ports.batches import BatchCounts, Batches, BatchRecords
from laraq.ports.cache import Cache, Cached
from laraq.ports.connection import QueueConnection
from laraq.ports.delayed import Delayed, DelayedMessage, Due
from laraq.ports.failed import FailedJobs
from laraq.ports.health import Examined, StoreHealth
from laraq.ports.host import Host, HostInTests
from laraq.ports.inspection import Inspection
from laraq.ports.journal import Journal, JournalEntry, RunState
from laraq.ports.limits import Grant, Limits, Usage
from laraq.ports.locks import Locks
from laraq.ports.models import Models
from laraq.ports.parking import (
    CALL_AGAIN,
    HAND_OVER,
    LOOK,
    Line,
    ParkedJob,
    Parking,
    Turn,
    turn_at_limits,
    turn_at_lock,
)
from laraq.ports.store import Store
from laraq.ports.transactions import Transactions

__all__ = [
    "CALL_AGAIN",
    "HAND_OVER",
    "LOOK",
    "BatchCounts",
    "BatchRecords",
    "Batches",
    "Cache",
    "Cached",
    "Delayed",
    "DelayedMessage",
    "Demand",
    "Due",
    "Examined",
    "FailedJobs",
    "Grant",
    "Host",
    "HostInTests",
    "Inspection",
    "Journal",
    "JournalEntry",
    "Limits",
    "Line",
    "Locks",
    "Models",
    "ParkedJob",
    "Parking",
    "QueueConnection",
    "RunState",
    "Store",
    "StoreHealth",
    "Transactions",
    "Turn",
    "Usage",
    "turn_at_limits",
    "turn_at_lock",
]
