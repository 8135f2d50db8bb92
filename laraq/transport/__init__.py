"""The transport core: what every broker of laraq's own does the same way, whatever its store."""

from laraq.transport.body import open_body
from laraq.transport.credit import BATCH, credit
from laraq.transport.deliveries import Deliveries
from laraq.transport.draining import PAGE, drain
from laraq.transport.feed import Appetite, Ask, Feed, Polling
from laraq.transport.heartbeat import Heartbeat
from laraq.transport.hints import HINT_INTERVAL, HINT_WINDOW, HintThrottle
from laraq.transport.lease import FOREVER, Lease, lease_seconds
from laraq.transport.ledger import ACK_LINGER, Ledger
from laraq.transport.once import REMEMBERED, SLOTS, DeliveryTag, Put, new_put, put_of
from laraq.transport.presence import Presence
from laraq.transport.store import Job, Posting, QueueCount, Queues, Reservations, Route, Routes, Taken
from laraq.transport.turns import Turns
from laraq.transport.undecodable import UNDECODABLE, raw, undecodable

__all__ = [
    "ACK_LINGER",
    "BATCH",
    "FOREVER",
    "HINT_INTERVAL",
    "HINT_WINDOW",
    "PAGE",
    "REMEMBERED",
    "SLOTS",
    "UNDECODABLE",
    "Appetite",
    "Ask",
    "Deliveries",
    "DeliveryTag",
    "Feed",
    "Heartbeat",
    "HintThrottle",
    "Job",
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
    "Routes",
    "Taken",
    "Turns",
    "credit",
    "drain",
    "lease_seconds",
    "new_put",
    "open_body",
    "put_of",
    "raw",
    "undecodable",
]
