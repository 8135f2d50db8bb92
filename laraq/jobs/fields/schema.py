"""Checks pydantic's core schema of a job's fields for types that can be sent, and adapts it.

A walk follows the keys that hold schemas, never values that look like one: names and metadata are users' data.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from enum import Flag
from typing import Any

from pydantic_core import CoreSchema, SchemaSerializer, SchemaValidator, core_schema, to_json

from laraq.jobs.fields.mapped import is_row
from laraq.jobs.fields.untyped import Untyped, as_written

#: A node of a core schema.
Node = dict[str, Any]

#: Keys under which a node holds other nodes: one, a list (of pairs, in a union with labels), or by name.
_HOLDING = frozenset({
    "schema", "items_schema", "keys_schema", "values_schema", "extras_schema", "extras_keys_schema", "lax_schema",
    "strict_schema", "json_schema", "python_schema", "arguments_schema", "var_args_schema", "var_kwargs_schema",
    "choices", "steps", "fields", "definitions",
})  # fmt: skip
_BY_NAME = ("fields", "choices")

#: Nodes that may have their own configuration, as nested models do.
_CONFIGURED = frozenset({"model", "model-fields", "dataclass", "dataclass-args", "typed-dict"})

#: Types of which no value survives JSON, and what to write instead.
_NEVER = {
    "generator": "a generator is used up when it is read: use list[...]",
    "callable": "code cannot be sent in a field: dispatch the function itself, or send a name to find it by",
    "is-subclass": "a class cannot be sent: send a name to find it by",
}

#: Nodes whose every value arrives equal, unless other keys are set.
_SCALARS = frozenset({"none", "bool", "int", "float", "decimal", "str", "bytes", "date", "uuid"})
_CONTAINERS = frozenset({"list", "set", "frozenset", "tuple", "nullable", "default", "typed-dict", "typed-dict-field"})
#: Keys that may be set on these nodes: they do not change a value.
_HARMLESS = frozenset({
    "type", "ref", "metadata", "strict", "schema", "items_schema", "variadic_item_index", "fields", "required",
    "min_length", "max_length", "pattern", "regex_engine", "gt", "ge", "lt", "le", "multiple_of", "allow_inf_nan",
    "max_digits", "decimal_places", "default", "default_factory", "default_factory_takes_data", "copy_default", "cls",
    "cls_name", "total", "fail_fast", "version", "members", "expected", "sub_type", "now_op", "now_utc_offset",
})  # fmt: skip


#: Held while classes are treated as incomplete.
_compiling = threading.Lock()


class Refusal(TypeError):
    """The reason why a type cannot be sent, and what to write instead."""


def refuse_what_never_arrives(schema: Node, refs: Mapping[str, Node]) -> None:
    """Raise Refusal for a type, at any depth, that has a value which can never arrive equal."""
    for node in walk(schema, refs):
        if node["type"] in _NEVER:
            raise Refusal(_NEVER[node["type"]])
        if node["type"] in ("enum", "literal") and "serialization" not in node:
            _prove_members(node)


def _prove_members(node: Node) -> None:
    bare: Any = {key: value for key, value in node.items() if key != "ref"}
    validator, serializer = SchemaValidator(bare), SchemaSerializer(bare)
    for member in node.get("members") or node["expected"]:
        try:
            arrived = validator.validate_json(to_json(serializer.to_python(member, mode="json")))
        except ValueError:
            problem = "could not be read back from JSON"
        else:
            if type(arrived) is type(member) and arrived == member:
                continue
            problem = f"would arrive as {arrived!r}"
        remedy = "make its members text or whole numbers" if node["type"] == "enum" else "name the type itself"
        raise Refusal(f"{member!r} {problem}: {remedy}")


def is_proven(node: Node, refs: Mapping[str, Node]) -> bool:
    """Whether every value that the validator accepts arrives equal, so that no value needs to be checked."""
    kind = node["type"]
    if kind == "definition-ref":
        others = {ref: other for ref, other in refs.items() if ref != node["schema_ref"]}
        return len(others) < len(refs) and is_proven(refs[node["schema_ref"]], others)
    if is_row(node.get("function")) or node.get("serialization", {}).get("function") is as_written:
        return True
    if node.keys() - _HARMLESS or "__type__" in node.get("fields", ()):
        return False
    if kind in ("enum", "literal"):
        return not issubclass(node.get("cls", object), Flag)
    return kind in _SCALARS or (kind in _CONTAINERS and all(is_proven(part, refs) for part in _parts(node)))


def has_untyped(schema: Node, refs: Mapping[str, Node]) -> bool:
    """Whether the schema holds a value without a type."""
    return any(node["type"] == "any" for node in walk(schema, refs))


def has_secret(schema: Node, refs: Mapping[str, Node]) -> bool:
    """Whether the schema holds pydantic's SecretStr, SecretBytes or Secret[...]."""
    return any(_is_secret(node) for node in walk(schema, refs))


def refs_of(schema: Any) -> Mapping[str, Node]:
    """The nodes that other nodes refer to."""
    return {node["ref"]: node for node in walk(schema, {}) if "ref" in node}


def walk(schema: Node, refs: Mapping[str, Node]) -> Iterator[Node]:
    """Yield every node, each referenced node once."""
    seen: set[str] = set()
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if node.get("type") == "definition-ref":
            ref = node["schema_ref"]
            if ref not in seen and ref in refs:
                seen.add(ref)
                waiting.append(refs[ref])
            continue
        if "type" in node:
            yield node
        waiting.extend(_parts(node))


def _parts(node: Node) -> Iterator[Node]:
    for key in _HOLDING & node.keys():
        held = node[key]
        if isinstance(held, dict):
            yield from held.values() if key in _BY_NAME else (held,)
        else:
            parts = (part[0] if isinstance(part, tuple) else part for part in held)
            yield from (
                part for part in parts if isinstance(part, dict)
            )  # a dataclass also lists the names of its fields
    if isinstance(inner := node.get("serialization", {}).get("schema"), dict):
        yield inner


def changed(node: Any, change: Callable[[Node], Node]) -> Any:
    """A copy in which every node is replaced by the result of `change`, the innermost first."""
    if isinstance(node, (list, tuple)):
        return type(node)(changed(part, change) for part in node)
    if not isinstance(node, dict):
        return node
    copy = dict(node)
    for key in _HOLDING & node.keys():
        held = node[key]
        if isinstance(held, dict) and key in _BY_NAME:
            copy[key] = {name: changed(part, change) for name, part in held.items()}
        else:
            copy[key] = changed(held, change)
    if isinstance(inner := node.get("serialization", {}).get("schema"), dict):
        copy["serialization"] = {**node["serialization"], "schema": changed(inner, change)}
    return change(copy)


class Compiler:
    """Compiles the validators and the serializer of one schema for jobs."""

    def __init__(self, title: str, untyped: Untyped) -> None:
        self._title = title
        self._untyped = untyped

    def sender(self, schema: CoreSchema, *, hide: bool) -> SchemaValidator:
        """The validator for the values of an instance. It refuses what could not be read back: a str for bytes, text
        with half of a surrogate pair, and keys that a TypedDict does not have."""

        def strict(node: Node) -> Node:
            if node.get("type") == "bytes":
                return {**node, "strict": True}
            if node.get("type") == "str":
                return {"min_length": 0, **node}  # makes pydantic check the text at all
            if node.get("type") == "typed-dict" and "extra_behavior" not in node and "config" not in node:
                return {**node, "extra_behavior": "forbid"}
            return node

        return self._validator(changed(schema, strict), hide)

    def receiver(self, schema: CoreSchema, *, hide: bool) -> SchemaValidator:
        """The validator that reads values from JSON."""
        return self._validator(schema, hide)

    def serializer(self, schema: CoreSchema) -> SchemaSerializer:
        """The serializer to JSON-ready values."""
        made: SchemaSerializer = _compiled(SchemaSerializer, self._ready(schema, hide=False), self._config(hide=False))
        return made

    def _validator(self, schema: CoreSchema, hide: bool) -> SchemaValidator:
        made: SchemaValidator = _compiled(SchemaValidator, self._ready(schema, hide=hide), self._config(hide=hide))
        return made

    def _config(self, *, hide: bool) -> Any:
        return {"title": self._title, **_settings(hide)}

    def _ready(self, schema: CoreSchema, *, hide: bool) -> Any:
        settings = _settings(hide)

        def ready(node: Node) -> Node:
            kind = node.get("type")
            if kind in _CONFIGURED:
                return {**node, "config": {**node.get("config", {}), **settings}}
            if kind == "any" and "serialization" not in node:
                return self._any(node)
            if _is_secret(node):
                inner = node["json_schema"]["schema"]
                return {**node, "serialization": core_schema.wrap_serializer_function_ser_schema(_reveal, schema=inner)}
            return node

        return changed(schema, ready)

    def _any(self, node: Node) -> Node:
        return {
            "type": "json-or-python",
            "json_schema": core_schema.no_info_after_validator_function(self._untyped.load, core_schema.any_schema()),
            "python_schema": node,
            "serialization": core_schema.plain_serializer_function_ser_schema(self._untyped.dump),
        }


def _settings(hide: bool) -> dict[str, Any]:
    """The settings for every depth, as pydantic reads those of each nested model. Names are sent, never aliases."""
    return {
        "ser_json_bytes": "base64",
        "val_json_bytes": "base64",
        "ser_json_inf_nan": "constants",
        "hide_input_in_errors": hide,
        "populate_by_name": True,
        "validate_by_name": True,
    }


def _compiled(kind: Any, schema: Any, config: Any) -> Any:
    # Models keep their own compiled validators and serializers, with their own settings, which must not be used here.
    try:
        return kind(schema, config, _use_prebuilt=False)
    except TypeError:
        pass
    # pydantic before 2.12 lacks this parameter, and 2.11 uses the compiled ones of classes that are complete.
    classes = {node["cls"] for node in walk(schema, {}) if node["type"] in ("model", "dataclass")}
    complete = [cls for cls in classes if vars(cls).get("__pydantic_complete__")]
    with _compiling:
        try:
            for cls in complete:
                cls.__pydantic_complete__ = False
            return kind(schema, config)
        finally:
            for cls in complete:
                cls.__pydantic_complete__ = True


def _is_secret(node: Node) -> bool:
    function = node.get("serialization", {}).get("function")
    if node.get("type") != "json-or-python" or getattr(function, "__module__", "") != "pydantic.types":
        return False
    return "secret" in getattr(function, "__qualname__", "").lower() and "schema" in node["json_schema"]


def _reveal(secret: Any, write: Callable[[Any], Any]) -> Any:
    return write(secret.get_secret_value()) if hasattr(secret, "get_secret_value") else write(secret)
