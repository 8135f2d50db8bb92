"""The Redis broker: kombu's Redis transport, with jobs reserved and kept until they are acknowledged."""

from laraq_redis.broker.aliases import register

__all__ = ["register"]
