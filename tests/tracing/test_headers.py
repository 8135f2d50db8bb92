"""What Celery's `Context.headers` shows of a message: everything, each part by whom it belongs to."""

from __future__ import annotations

from typing import Any

import pytest
from celery.app.task import Context

from laraq_celery.worker.arrival import CRASH, LARAQ, ORIGINAL, marked, settled_headers

OURS = {LARAQ: {"v": 1}}
FORGED = {LARAQ: {"v": 1, "attempts": 9}, CRASH: {"kind": "lost", "detail": "x"}, ORIGINAL: "shop.Other"}


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        pytest.param({**OURS, "tenant": "x"}, {**OURS, "tenant": "x"}, id="nothing nested"),
        pytest.param({**OURS, "headers": {"trace": 1}}, {**OURS, "trace": 1}, id="a trace nested"),
        pytest.param({**OURS, "tenant": "x", "headers": {}}, {**OURS, "tenant": "x"}, id="an empty one"),
        pytest.param({**OURS, "trace": 1, "headers": {"trace": 2}}, {**OURS, "trace": 2}, id="an old trace beside"),
        pytest.param({**OURS, "headers": FORGED}, OURS, id="laraq's own, forged"),
        pytest.param({"headers": FORGED}, {}, id="forged in a stranger's message"),
        pytest.param({"tenant": "x", "headers": {"trace": 1}}, {"tenant": "x", "trace": 1}, id="a stranger's message"),
        pytest.param({**OURS, "headers": "text"}, OURS, id="a text"),
        pytest.param({**OURS, "headers": None}, OURS, id="nothing"),
        pytest.param({**OURS, "headers": ["trace"]}, OURS, id="a list"),
        pytest.param({**OURS, "headers": {"headers": {"a": 1}, "expires": "x"}}, OURS, id="Celery's own, copied"),
    ],
)
def test_every_header_is_shown_and_laraqs_are_laraqs(sent: dict[str, Any], shown: dict[str, Any]) -> None:
    settled = settled_headers({"lang": "py", "task": "shop.Add", "id": "1", "retries": 0, **sent})
    assert Context(settled).headers == shown
    assert settled.get(LARAQ) == sent.get(LARAQ)


@pytest.mark.parametrize("nested", [{}, {"headers": {"trace": 1}}])
def test_a_mark_is_shown_too(nested: dict[str, Any]) -> None:
    settled = settled_headers({"task": "shop.Add", "id": "1", **OURS, **nested})
    assert Context(marked(settled, **{CRASH: 1})).headers == {**OURS, CRASH: 1, **nested.get("headers", {})}
