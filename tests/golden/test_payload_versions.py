"""Messages of every version that was ever sent must stay readable: these files are added to, never changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from laraq.messages.payload import VERSION, Payload

HERE = Path(__file__).parent


def golden(version: int) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((HERE / f"payload_v{version}.json").read_text())
    return data


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_there_is_a_message_of_every_version(version: int) -> None:
    assert golden(version)["laraq"]["v"] == version


def test_version_1_is_read_as_it_was_meant() -> None:
    assert Payload.from_dict(golden(1)) == Payload(
        id="0b5b0a4e-5f4f-4e9c-9e0b-6f0a3b1f7c11",
        job="shop.jobs.ProcessPodcast",
        fields={"podcast": {"id": 7}, "bitrate": 128},
        queue="podcasts",
        connection="redis",
        attempts=2,
        exceptions=1,
        retried=1,
        returns=3,
        options={"tries": 5, "backoff": [1, 5, 10]},
        retry_until=1790000000.5,
        created_at=1780000000.25,
        context={"request": "r-1"},
        tags=("podcast:7", "audio"),
        batch_id="b-1",
        chain={"tail": []},
        unique={"key": "k", "owner": "o"},
        last_error="ValueError: no",
    )


def test_what_the_carrier_needs_is_read_as_well() -> None:
    assert Payload.from_dict(golden(1)).carrier == {"priority": 3}


def test_the_present_version_is_written_as_the_file_says() -> None:
    assert Payload.from_dict(golden(VERSION)).to_dict() == golden(VERSION)
