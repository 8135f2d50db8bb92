"""Lua scripts, kept as files beside this one."""

from __future__ import annotations

from importlib.resources import files

from redis.commands.core import Script

from laraq_redis.connection import Client


def load(client: Client, *names: str) -> Script:
    """The script `lua/<name>.lua`; it is sent by its hash, and as a whole to a server that does not have it yet.

    Several names: one after the other, as one script.
    """
    lua = files("laraq_redis").joinpath("lua")
    return client.register_script("".join(lua.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in names))
