"""What others must not read in a chain, or write into it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from cryptography.fernet import Fernet

from laraq import Bus, Job
from tests.support.line import Line
from tests.workflow.chains.jobs import Breaks, Note, by_name, caught, log, note


@pytest.fixture
def keyed() -> Iterator[Line]:
    with Line.attached(keys=[Fernet.generate_key().decode()]) as line:
        yield line


def test_links_travel_encrypted_and_catch_learns_nothing_of_them(keyed: Line) -> None:
    class Charge(Job):
        card: str

        encrypted = True

        def handle(self) -> None:
            raise ValueError(f"card {self.card} is refused")

    Bus.chain([Note(1), Charge("4111")]).catch(caught).dispatch()
    assert "4111" not in json.dumps(keyed.taken[0].to_dict())
    keyed.work()
    assert log == [1, ("caught", "JobFailure", "builtins.ValueError")]
    assert "4111" not in json.dumps([payload.to_dict() for payload in keyed.taken])


def test_signed_closures_are_links_and_callbacks(keyed: Line) -> None:
    word = "closed over"
    Bus.chain([lambda: note(word), by_name, Breaks(1)]).catch(lambda error: note(str(error))).dispatch()
    keyed.work()
    assert log == [word, "by name", "break 1", "no 1"]


def test_a_forged_closure_stops_the_chain(keyed: Line) -> None:
    Bus.chain([lambda: note("forged"), Note(2)]).catch(caught).dispatch()
    payload, _ = keyed.waiting.pop()
    keyed.run(payload.with_(fields={**payload.fields, "signature": "AAAA"}))
    keyed.work()
    assert [entry[:2] for entry in log] == [("caught", "TamperedPayloadError")]
