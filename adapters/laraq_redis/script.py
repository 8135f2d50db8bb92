"""Lua scripts, kept as files beside this one."""

from __future__ import annotations

from importlib.resources import files

from redis.commands.core import Script

from laraq_redis.connection import Client


def load(client: Client, name: str) -> Script:
    """The script `lua/<name>.lua`; it is sent by its hash, and as a whole to a server that does not have it yet."""
    return client.register_script(files("laraq_redis").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8"))
