"""load(): a Lua file of the broker, with the functions it uses in front."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple


class LuaFile(NamedTuple):
    """A Lua script."""

    text: str
    #: What EVALSHA takes.
    sha: str


@cache
def load(name: str, *functions: str) -> LuaFile:
    """`lua/<name>.lua` behind `lua/<function>.lua` for each of `functions`."""
    folder = files("laraq_redis.broker").joinpath("lua")
    text = "".join(folder.joinpath(f"{file}.lua").read_text(encoding="utf-8") for file in (*functions, name))
    return LuaFile(text, sha1(text.encode(), usedforsecurity=False).hexdigest())
