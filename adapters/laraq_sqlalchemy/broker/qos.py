"""LeaseQoS: the core's deliveries as kombu's virtual channel wants them."""

from __future__ import annotations

from kombu.transport import virtual

from laraq_kombu import Deliveries


class LeaseQoS(Deliveries, virtual.QoS):
    """Nothing is left of kombu's but what a channel may ask of it."""
