"""Jobs start when they are due by the clock of the server, whatever clocks producers and workers go by."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kombu import Connection

from laraq_kombu import envelope
from laraq_redis.broker.aliases import register
from laraq_redis.broker.channel import Channel

register()


@pytest.fixture
def channel(redis_url: str) -> Iterator[Channel]:
    with Connection(f"laraq-{redis_url}") as connection:
        channel: Any = connection.default_channel
        yield channel


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[datetime]:
    """The clock of this process, which goes wrong by `clock.off`."""

    class Clock(datetime):
        off = timedelta()

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + cls.off

    monkeypatch.setattr(envelope, "datetime", Clock)
    return Clock


def _put(channel: Channel, eta: datetime) -> None:
    headers = {"id": "x", "eta": eta.isoformat()}
    message = channel.prepare_message("body", 0, "text/plain", "utf-8", headers, {})
    channel.basic_publish(message, exchange="", routing_key="q")


@pytest.mark.parametrize("early", [timedelta(), timedelta(milliseconds=5)], ids=["over", "nearly over"])
def test_a_delay_that_is_over_when_it_is_put_is_over_for_every_worker(
    channel: Channel, clock: Any, early: timedelta
) -> None:
    """A release of no seconds has an ETA, too, which a worker whose clock is behind would wait for."""
    _put(channel, datetime.now(UTC) + early)
    clock.off = timedelta(hours=-1)
    message = None
    while message is None:
        message = channel.basic_get("q")
    assert message.headers["eta"] is None


def test_what_a_worker_has_put_off_is_due_for_every_other_one(channel: Channel, clock: Any) -> None:
    """A stock producer leaves the ETA in its message; the first of our workers looks at it, and no other."""
    channel.connection.native_delay = False  # as a stock producer
    _put(channel, datetime.now(UTC) + timedelta(milliseconds=300))
    channel.connection.native_delay = True
    assert channel.basic_get("q") is None
    clock.off = timedelta(hours=-1)
    message = None
    while message is None:
        message = channel.basic_get("q")
    assert (message.headers["id"], message.headers["eta"], message.headers["attempts"]) == ("x", None, 1)
