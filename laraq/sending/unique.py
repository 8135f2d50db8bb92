"""Unique and debounced jobs: what is claimed before a job is sent, and released when it ends.

(Illuminate/Bus/UniqueLock.php, DebounceLock.php.) The owner is the job's uuid. Owner and key are sent with the job: the
key is never computed twice, and only the owner releases the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from laraq.messages.keys import Keys
from laraq.messages.options import key_of, read, seconds
from laraq.ports import Store
from laraq.process import clock

#: Seconds a unique lock is held by default; never for ever, so that a crash cannot block a job for good.
DEFAULT_SECONDS = 24 * 3600.0

#: How many windows long a debounce token lives, and at least so many seconds (Laravel's figures).
_TOKEN_WINDOWS, _TOKEN_SECONDS = 10, 300.0


class UniqueLocks:
    """Unique locks and debounce tokens of one Laraq."""

    def __init__(self, store_of: Callable[[Any], Store], keys: Keys | None = None) -> None:
        self._store_of = store_of
        self._keys = keys or Keys()

    def claim(self, job: Any, id: str, session: Any = None) -> tuple[Mapping[str, Any], str | None]:
        """Claim what the job needs before it is sent; return the claim, and the id of another holder of the lock, if
        any.

        `session` is that of the transaction that decides about the job. Raises StoreError.
        """
        if job.debounce_for is not None:
            return self._debounce(job, id, session), None
        if not (job.unique or job.unique_until_processing):
            return {}, None
        via = read(job, "unique_via")
        length = held_for(job)
        key = self._key("unique", job)
        locks = self._claiming(via, session).locks
        if not locks.acquire(key, id, length):
            return {}, locks.owner(key) or ""
        claim: dict[str, Any] = {"key": key, "owner": id}
        if job.unique_until_processing:
            claim["until_processing"] = True
        if via is not None:
            claim["via"] = True  # the class names the store again: a message must not say where to connect
        return claim, None

    def release(self, claim: Mapping[str, Any], job: Any = None) -> None:
        """Release the lock if this job still owns it; a second call changes nothing.

        `job` may be the class. Without either, a lock outside of the default store expires by itself.
        """
        if (store := self._holding(claim, job)) is not None:
            store.locks.release(str(claim["key"]), str(claim["owner"]))

    def claim_again(self, claim: Mapping[str, Any], job: Any = None) -> Mapping[str, Any]:
        """The claim of a job that is sent again, unless another job holds the lock meanwhile."""
        store = self._holding(claim, job)
        if store is None or not store.locks.acquire(str(claim["key"]), str(claim["owner"]), DEFAULT_SECONDS):
            return {}
        return claim

    def unlock(self, name: str, unique_id: str | None = None) -> bool:
        """Release the lock of a class explicitly, whoever owns it; return whether there was one."""
        locks = self._store_of(None).locks
        ids = (None,) if unique_id is None else self._keys.spellings(unique_id)
        freed = [locks.force_release(_named("unique", name, id)) for id in ids]
        return any(freed)

    def is_debounced(self, claim: Mapping[str, Any]) -> bool:
        """Whether a later dispatch has replaced the job; if the token is gone, the job runs."""
        if not _is(claim, "debounced", "token"):
            return False
        cached = self._store_of(None).cache.get(str(claim["key"]))
        return cached is not None and cached.value != claim["token"]

    def end_of_debounce(self, claim: Mapping[str, Any]) -> None:
        """End the wait, as the last job runs: the next dispatch begins a new one."""
        if _is(claim, "debounced", "token"):
            self._store_of(None).cache.forget(f"{claim['key']}:first")

    def forget_token(self, claim: Mapping[str, Any]) -> None:
        """Withdraw a dispatch that was never sent, if it is still the last one."""
        if _is(claim, "debounced", "token"):
            self._store_of(None).cache.forget(str(claim["key"]), str(claim["token"]))

    def give_up(self, claim: Mapping[str, Any], job: Any = None) -> None:
        """Release all claims of a job that will never run; a second call changes nothing.

        `job` may be its class, as for `release`.
        """
        self.release(claim, job)
        if _is(claim, "debounced", "token") and self._store_of(None).cache.forget(
            str(claim["key"]), str(claim["token"])
        ):
            self.end_of_debounce(claim)

    def is_within(self, session: Any, job: Any) -> bool:
        """Whether the job's claim is part of the session's transaction, and commits or rolls back with it."""
        via = None if job.debounce_for is not None else read(job, "unique_via")
        return self._claiming(via, session) is not self._store_of(via)

    def _holding(self, claim: Mapping[str, Any], job: Any) -> Store | None:
        """The store of the lock that a job owns by its message; None without a lock, or if the store is unknown now."""
        if not _is(claim, "unique", "owner"):
            return None
        if not claim.get("via"):
            return self._store_of(None)
        if job is None:
            return None
        if not isinstance(job, type):
            return self._store_of(read(job, "unique_via"))
        try:
            return self._store_of(read(object.__new__(job), "unique_via"))
        except AttributeError:  # it uses its fields, which are not available
            return None

    def _claiming(self, via: Any, session: Any) -> Any:
        """The store to claim in; through the session if both share a single writer (SqlStore.within)."""
        store = self._store_of(via)
        within = getattr(store, "within", None)
        return store if session is None or within is None else within(session)

    def wait(self, job: Any, session: Any = None) -> float:
        """Seconds that a debounced job with a claim waits. The job stays unchanged, because it may be sent again.
        Raises StoreError."""
        window = seconds(job.debounce_for)
        if job.debounce_max_wait is None:
            return window
        cache, first, now = self._claiming(None, session).cache, f"{self._key('debounced', job)}:first", clock.now()
        if cache.add(first, repr(now), _kept(window)) or (since := cache.get(first)) is None:
            return window
        left = seconds(job.debounce_max_wait) - (now - float(since.value))
        if left <= 0:
            cache.forget(first)
        return max(0.0, min(window, left))

    def _debounce(self, job: Any, id: str, session: Any) -> Mapping[str, Any]:
        key = self._key("debounced", job)
        self._claiming(None, session).cache.put(key, id, _kept(seconds(job.debounce_for)))
        return {"key": key, "token": id}

    def _key(self, kind: str, job: Any) -> str:
        """The name of a lock or token; that of an encrypted job is hidden, because the message shows it."""
        id = read(job, "unique_id")
        if id is not None and job.encrypted:
            id = self._keys.hide(str(key_of(id)))
        return _named(kind, read(job, "display_name") or job.job_name(), id)


def held_for(job: Any) -> float:
    """Seconds that the lock of a unique job is held. Values of methods and instances are known only at the dispatch.

    Raises InvalidJobError for a lock that would expire at once, or never (`options.read`).
    """
    length = read(job, "unique_for")
    return DEFAULT_SECONDS if length is None else seconds(length)


def _kept(window: float) -> float:
    """Seconds for which a debounce token is kept."""
    return max(window * _TOKEN_WINDOWS, _TOKEN_SECONDS)


def _is(claim: Mapping[str, Any], kind: str, proof: str) -> bool:
    """Whether it is a claim of that kind: a message must not release locks or drop values of other kinds."""
    return proof in claim and str(claim.get("key")).startswith(f"{kind}:")


def _named(kind: str, name: str, unique_id: object) -> str:
    return f"{kind}:{name}:{'' if unique_id is None else key_of(unique_id)}"
