"""JSON as kombu writes it, in less time."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kombu import serialization
from kombu.utils import json

#: What `kombu.utils.json: dumps` does, which makes a new encoder for each message.
encode: Callable[[Any], str] = json.JSONEncoder().encode


def encode_body(body: Any) -> Any:
    """What the serializer "json" makes of a body: text, unless somebody registered another serializer of that name.

    Raises kombu's EncodeError.
    """
    try:
        if serialization.registry._encoders["json"].encoder is json.dumps:
            return encode(body)
    except Exception:  # noqa: S110 - said again, by kombu and in its words, one line below
        pass
    _, _, encoded = serialization.dumps(body, "json")
    return encoded


def encode_plain(message: dict[str, Any]) -> bytes | str:
    """For a message that holds nothing but text, numbers, None, and lists and mappings of them: every encoder writes
    the same values. (kombu's marks others, such as moments, so that they arrive as what they were.)"""
    from pydantic_core import PydanticSerializationError, to_json  # late: who attaches need not send

    try:
        return to_json(message)
    except PydanticSerializationError:  # half of a surrogate pair is text for Python, and JSON by kombu
        return encode(message)
