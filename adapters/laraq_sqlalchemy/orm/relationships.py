"""The loaded relationships of a mapped instance, and how to load them again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import InstanceState, Mapper, selectinload
from sqlalchemy.orm.collections import collection_adapter
from sqlalchemy.orm.interfaces import ORMOption

#: Longest recorded path, in relationships. Deeper rows are loaded on access; without a limit, a linked list of a
#: thousand rows would cause a thousand queries in the worker.
DEPTH = 3

#: Collections that are queries, which SQLAlchemy cannot load in advance.
_QUERIES = frozenset({"dynamic", "write_only"})


def loaded(instance: Any) -> list[str]:
    """Names of the loaded relationships, sorted; those of related rows after a dot (`episodes.sponsor`).

    Each related row is visited once. A path that only leads back to rows already visited (the other side of a
    relationship) is left out: the session that loads the rest has them.
    Source: Illuminate/Database/Eloquent/Concerns/HasRelationships.php: getQueueableRelations().
    """
    root: InstanceState[Any] = inspect(instance)
    seen = {root}
    names: set[str] = set()
    level = [("", root.mapper, root)]
    for _ in range(DEPTH):
        below = []
        for prefix, mapper, state in level:
            for relationship in mapper.relationships:
                if relationship.key not in state.dict or relationship.lazy in _QUERIES:
                    continue
                related = _related(state.dict[relationship.key], relationship.uselist)
                unseen = [one for one in related if one not in seen]
                if related and not unseen and prefix:
                    continue
                path = prefix + relationship.key
                names.add(path)
                seen.update(unseen)
                below += [(path + ".", relationship.mapper, one) for one in unseen]
        level = below
    return sorted(names)


def loaders(mapper: Mapper[Any], names: Iterable[str]) -> list[ORMOption]:
    """Loader options that fetch the named relationships in full, one query for each.

    A name that the class no longer has is skipped: it was an optimisation of the program that sent the job.
    """
    options: list[ORMOption] = []
    for name in sorted(names):
        here: Any = mapper
        option: Any = None
        for step in name.split(".")[:DEPTH]:
            relationship = here.mapper.relationships.get(step)
            if relationship is None or relationship.lazy in _QUERIES:
                break
            attribute = getattr(here.entity, step)
            option = selectinload(attribute) if option is None else option.selectinload(attribute)
            here = relationship.entity
        if option is not None:
            options.append(option)
    return options


def _related(value: Any, is_collection: bool | None) -> list[InstanceState[Any]]:
    """The rows behind a loaded attribute, whatever class of collection it is."""
    if value is None:
        return []
    rows = collection_adapter(value) if is_collection else (value,)
    return [inspect(row) for row in rows]
