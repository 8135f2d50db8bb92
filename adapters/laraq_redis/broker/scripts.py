"""load(): a Lua file of the broker, preceded by the functions it uses."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple


class LuaFile(NamedTuple):
    """A Lua script."""

    text: str
    #: The hash for EVALSHA.
    sha: str


@cache
def load(name: str, *functions: str) -> LuaFile:
    """`lua/<name>.lua`, preceded by `lua/<function>.lua` for each of `functions`."""
    folder = files("laraq_redis.broker").joinpath("lua")
    text = "".join(folder.joinpath(f"{file}.lua").read_text(encoding="utf-8") for file in (*functions, name))
    return LuaFile(text, sha1(text.encode(), usedforsecurity=False).hexdigest())
