"""The transport core: what every broker of laraq's own does the same way, whatever its store."""

from laraq_kombu.body import open_body
from laraq_kombu.credit import BATCH, credit
from laraq_kombu.deliveries import Deliveries
from laraq_kombu.draining import PAGE, drain
from laraq_kombu.feed import Appetite, Ask, Feed, Polling
from laraq_kombu.heartbeat import Heartbeat
from laraq_kombu.hints import HINT_INTERVAL, HINT_WINDOW, HintThrottle
from laraq_kombu.lease import FOREVER, Lease, lease_seconds
from laraq_kombu.ledger import ACK_LINGER, Ledger
from laraq_kombu.once import REMEMBERED, SLOTS, DeliveryTag, Put, new_put, put_of
from laraq_kombu.presence import Presence
from laraq_kombu.store import Job, Posting, QueueCount, Queues, Reservations, Route, Routes, Taken
from laraq_kombu.turns import Turns
from laraq_kombu.undecodable import UNDECODABLE, raw, undecodable

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
