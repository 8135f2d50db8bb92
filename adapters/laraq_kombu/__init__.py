"""The transport core: what all of laraq's own brokers share, whatever their store.

`channel` and `transport` are its kombu side and are imported by name; this module exports what code without kombu also
needs.
"""

from laraq_kombu.feed import Appetite, Ask, Feed, credit
from laraq_kombu.heartbeat import Heartbeat
from laraq_kombu.hints import HINT_INTERVAL, HINT_WINDOW, HintThrottle
from laraq_kombu.lease import FOREVER, RETRY_AFTER, Lease, lease_seconds
from laraq_kombu.ledger import ACK_LINGER, BATCH, Ledger
from laraq_kombu.once import REMEMBERED, SLOTS, DeliveryTag, Put, new_put, put_of
from laraq_kombu.presence import Presence, presence_of
from laraq_kombu.store import (
    Bindings,
    BrokerStore,
    Job,
    JobStore,
    Polling,
    Posting,
    QueueCount,
    Queues,
    Reservations,
    Route,
    Taken,
    WakeUp,
)
from laraq_kombu.turns import Turns
from laraq_kombu.undecodable import UNDECODABLE, raw, undecodable

__all__ = [
    "ACK_LINGER",
    "BATCH",
    "FOREVER",
    "HINT_INTERVAL",
    "HINT_WINDOW",
    "REMEMBERED",
    "RETRY_AFTER",
    "SLOTS",
    "UNDECODABLE",
    "Appetite",
    "Ask",
    "Bindings",
    "BrokerStore",
    "DeliveryTag",
    "Feed",
    "Heartbeat",
    "HintThrottle",
    "Job",
    "JobStore",
    "Lease",
    "Ledger",
    "Polling",
    "Posting",
    "Presence",
    "Put",
    "QueueCount",
    "Queues",
    "Reservations",
    "Route",
    "Taken",
    "Turns",
    "WakeUp",
    "credit",
    "lease_seconds",
    "new_put",
    "presence_of",
    "put_of",
    "raw",
    "undecodable",
]
