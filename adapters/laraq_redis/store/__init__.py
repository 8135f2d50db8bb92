"""Everything laraq keeps, in one Redis database."""

from laraq_redis.store.store import RedisStore

__all__ = ["RedisStore"]
