"""Identifier: what is sent in place of a mapped instance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import InstanceState, Mapper

from laraq.errors import ModelNotIdentifiableError, PayloadError
from laraq_sqlalchemy.orm import primary_key, relationships


@dataclass(frozen=True, slots=True)
class Identifier:
    """In a message: `{"model": "shop.models:Order", "id": 7, "with": ["customer", "lines.product"]}`."""

    #: The class of the row; never wider than the class of the instance.
    entity: Mapper[Any]
    #: Primary key as SQLAlchemy compares it (`InstanceState.identity`).
    key: tuple[Any, ...]
    #: Names of the relationships that were loaded.
    relations: tuple[str, ...] = ()

    @classmethod
    def of(cls, instance: Any, relations: bool = True) -> Identifier:
        """The identifier of an instance; sends no SQL. Raises ModelNotIdentifiableError if it was never flushed."""
        state: InstanceState[Any] = inspect(instance)
        if state.identity is None:
            raise ModelNotIdentifiableError(
                type(instance).__qualname__, "it has no row yet; flush or commit its session before the dispatch"
            )
        return cls(state.mapper, state.identity, tuple(relationships.loaded(instance)) if relations else ())

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; one value for "id", or a list for a composite key."""
        return {
            "model": _path(self.entity),
            "id": primary_key.to_json(self.entity, self.key),
            "with": list(self.relations),
        }

    @classmethod
    def from_json(cls, expected: Mapper[Any], raw: Mapping[str, Any]) -> Identifier:
        """Read an identifier of the class `expected`, which is also the default when "model" is missing.

        A class is looked up only among the mapped subclasses of `expected`: a message cannot make this process import
        anything. Raises PayloadError.
        """
        path, relations = raw.get("model"), raw.get("with", [])
        entity = expected if path is None else _find(expected, path)
        if "id" not in raw or not isinstance(relations, list) or not all(isinstance(r, str) for r in relations):
            raise PayloadError(f"{dict(raw)!r} does not identify a {expected.class_.__qualname__}.")
        return cls(entity, primary_key.from_json(entity, raw["id"]), tuple(relations))


def _path(mapper: Mapper[Any]) -> str:
    return f"{mapper.class_.__module__}:{mapper.class_.__qualname__}"


def _find(expected: Mapper[Any], path: Any) -> Mapper[Any]:
    for mapper in expected.self_and_descendants:
        if _path(mapper) == path:
            return mapper
    raise PayloadError(f"{path!r} is neither {_path(expected)!r} nor a subclass of it that this worker has imported.")
