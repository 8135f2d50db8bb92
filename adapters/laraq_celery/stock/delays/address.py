"""The address of a broker: its name in the store, which also shows whether the store is in the broker."""

from __future__ import annotations

from typing import Any

#: Kinds of brokers, by kombu's names, that deliver a message with an ETA to a worker at once.
KNOW_NO_DELAY = frozenset({"redis", "amqp"})


def knows_no_delay(connection: Any) -> bool:
    """Whether this is stock Redis or RabbitMQ; laraq's own transports keep delayed messages themselves."""
    own = str(connection.transport_cls).startswith("laraq-")
    return not own and connection.transport.driver_type in KNOW_NO_DELAY


def address_of(connection: Any) -> str:
    """The address, such as `redis://localhost:6379/0`, without user and password; for Redis like a store's label.

    Every process must use the same name for the broker. kombu's options that separate brokers at the same place are
    appended.
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
