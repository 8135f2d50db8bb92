"""The built-in middleware of jobs (Illuminate/Queue/Middleware).

Each works around sync and async handlers; the wrapped code has ended when `next` returns.
"""

from laraq.middleware.fail_on_exception import FailOnException
from laraq.middleware.rate_limited import RateLimited, RateLimitedWithRedis
from laraq.middleware.release import Release
from laraq.middleware.skip import Skip
from laraq.middleware.skip_if_batch_cancelled import SkipIfBatchCancelled
from laraq.middleware.throttles_exceptions import ThrottlesExceptions, ThrottlesExceptionsWithRedis
from laraq.middleware.without_overlapping import WithoutOverlapping

__all__ = [
    "FailOnException",
    "RateLimited",
    "RateLimitedWithRedis",
    "Release",
    "Skip",
    "SkipIfBatchCancelled",
    "ThrottlesExceptions",
    "ThrottlesExceptionsWithRedis",
    "WithoutOverlapping",
]
