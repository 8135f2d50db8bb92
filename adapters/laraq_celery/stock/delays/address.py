"""The address of a broker: names it in the store, and tells whether the store is in it."""

from __future__ import annotations

from typing import Any

#: Kinds of brokers, as kombu's transports say them, that hand a message with an ETA to a worker at once.
KNOW_NO_DELAY = frozenset({"redis", "amqp"})


def knows_no_delay(connection: Any) -> bool:
    """Whether this is stock Redis or RabbitMQ; laraq's own transports keep delayed messages to themselves."""
    own = str(connection.transport_cls).startswith("laraq-")
    return not own and connection.transport.driver_type in KNOW_NO_DELAY


def address_of(connection: Any) -> str:
    """`redis://localhost:6379/0`, without user and password; with Redis in the form of a Redis store's label.

    Every process must call the broker by the same name. What of kombu's options makes another broker of the same place
    stands behind it.
    """
    info, kind = connection.info(), connection.transport.driver_type
    scheme, where = kind, f"{info['hostname']}:{info['port']}"
    place = str(info["virtual_host"] or "/")
    if kind == "redis":
        scheme = str(connection.transport_cls)
        if scheme == "redis" and info["ssl"]:
            scheme = "rediss"
        place = place.strip("/") or "0"
    options = connection.transport_options or {}
    apart = [str(options[name]) for name in ("master_name", "global_keyprefix") if options.get(name)]
    return " ".join([f"{scheme}://{where}/{place}", *apart])
