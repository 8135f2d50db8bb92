"""Lua scripts, kept as files next to the code that uses them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from laraq_redis.client.connection import Client, sized
from laraq_redis.client.direct import direct


class Script:
    """A Lua script on one server. It is called by its hash, and sent whole to a server that does not have it yet."""

    def __init__(self, client: Client, text: str) -> None:
        self._client = client
        self._registered = client.register_script(text)
        # With a client that decodes, replies are text, which only redis-py can create.
        self._direct = None if client.get_encoder().decode_responses else direct(client)

    def __call__(self, keys: Sequence[str], arguments: Sequence[Any] = ()) -> Any:
        """Call the script and return its reply. Raises redis-py's errors."""
        with sized(self._client, arguments):
            if self._direct is None:
                return self._registered(keys, arguments)
            return self._direct.ask(self._registered, keys, arguments)


def load(client: Client, *names: str) -> Script:
    """The script `store/lua/<name>.lua`; several names: one after the other, as one script."""
    lua = files("laraq_redis.store").joinpath("lua")
    return Script(client, "".join(lua.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in names))
