"""open_body(): the body of a kombu message as its sender gave it to kombu."""

from __future__ import annotations

import base64
from typing import Any


def open_body(message: dict[str, Any]) -> None:
    """Undo what kombu did to put bytes into JSON; ValueError, TypeError or KeyError when they are something else.

    kombu would do it when it makes a Message of it, where an error ends the worker.
    """
    properties = message["properties"]
    encoding = properties.get("body_encoding")
    if encoding is None:
        return
    if encoding != "base64":
        raise ValueError(f"body_encoding {encoding!r}")
    message["body"], properties["body_encoding"] = base64.b64decode(message["body"]), None
