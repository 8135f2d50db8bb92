"""Redis as laraq's store and broker."""

from laraq_redis.store.store import RedisStore

__all__ = ["RedisStore"]
