"""Redis as a place where laraq keeps what is not in the broker."""

from laraq_redis.store.store import RedisStore

__all__ = ["RedisStore"]
