"""What `channel.browser()` of the database broker tells."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from laraq.errors import StoreError
from laraq.messages.inspection import QueueState
from laraq_celery.stock.message import inspected
from laraq_kombu import Posting
from laraq_sqlalchemy.broker.browser import TableBrowser
from laraq_sqlalchemy.broker.store import TableStore, open_store

PENDING, DELAYED, RESERVED = QueueState.PENDING, QueueState.DELAYED, QueueState.RESERVED


@pytest.fixture
def store(sql_url: str) -> Iterator[TableStore]:
    store = open_store(sql_url, {"create_tables": True})
    store.connect()
    yield store
    store.close()


@pytest.fixture
def browser(store: TableStore) -> TableBrowser:
    return TableBrowser(store)


def posting(name: str, queue: str = "q", priority: int = 0, delay: float = 0) -> Posting:
    return Posting(queue, json.dumps({"headers": {"id": name, "task": "t"}}), priority, delay)


def ids(browser: TableBrowser, state: QueueState, queue: str = "q") -> list[str]:
    return [message["headers"]["id"] for message, _, _ in browser.messages(queue, state, None)]


def counts(browser: TableBrowser, queue: str = "q") -> tuple[int, ...]:
    return browser.size(queue), *(browser.count(queue, state) for state in (PENDING, DELAYED, RESERVED))


def test_each_state_is_counted_and_listed_next_job_first(store: TableStore, browser: TableBrowser) -> None:
    assert counts(browser) == (0, 0, 0, 0)
    store.put([posting("running")])
    store.step((), ["q"], 1)
    store.put([posting("a"), posting("urgent", priority=9), posting("b"), posting("other", queue="p")])
    store.put([posting("late", delay=600), posting("soon", delay=60, priority=0)])
    assert counts(browser) == (6, 3, 2, 1)
    assert ids(browser, PENDING) == ["urgent", "a", "b"]
    assert ids(browser, DELAYED) == ["soon", "late"]
    assert ids(browser, RESERVED) == ["running"]
    assert ids(browser, PENDING, "p") == ["other"]


def test_a_job_is_shown_with_its_reservations_and_time(store: TableStore, browser: TableBrowser) -> None:
    before = time.time()
    store.put([posting("a")])
    store.step((), ["q"], 1)
    [job] = [inspected("q", found) for found in browser.messages("q", RESERVED, None)]
    assert (job.id, job.name, job.attempts) == ("a", "t", 1)
    assert job.created_at is not None
    assert job.created_at.timestamp() == pytest.approx(before, abs=2)


def test_clear_drops_every_state_of_that_queue_only(store: TableStore, browser: TableBrowser) -> None:
    store.put([posting("running"), posting("kept", queue="p")])
    [running] = store.step((), ["q"], 1).jobs
    store.put([posting("a"), posting("later", delay=60)])
    assert browser.clear("q") == 3
    assert counts(browser) == (0, 0, 0, 0)
    assert counts(browser, "p") == (1, 1, 0, 0)
    assert store.release([running.lease]) == [running.lease]
    assert counts(browser) == (0, 0, 0, 0)


def test_a_row_that_holds_no_message_is_shown_without_a_name(store: TableStore, browser: TableBrowser) -> None:
    store.put([Posting("q", "no json"), Posting("q", "[1]")])
    assert [inspected("q", found).name for found in browser.messages("q", PENDING, None)] == ["", ""]


def test_a_long_listing_comes_whole_or_up_to_its_limit(store: TableStore, browser: TableBrowser) -> None:
    store.put([posting(str(number)) for number in range(1200)])
    assert ids(browser, PENDING) == [str(number) for number in range(1200)]
    assert [found[0]["headers"]["id"] for found in browser.messages("q", PENDING, 2)] == ["0", "1"]
    assert browser.clear("q") == 1200


def test_missing_tables_are_told(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'empty.db'}", {})
    with pytest.raises(StoreError, match="laraq migrate"):
        list(TableBrowser(store).messages("q", PENDING, None))
    store.close()
