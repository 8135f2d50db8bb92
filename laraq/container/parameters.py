"""Parameters: the injected parameters of a function, read once per function."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Final, ForwardRef, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints
from weakref import WeakKeyDictionary

if sys.version_info >= (3, 14):
    from annotationlib import Format

    #: Names that are not defined yet must not keep the other parameters from being read (PEP 649).
    _signature = functools.partial(inspect.signature, annotation_format=Format.FORWARDREF)
else:
    _signature = inspect.signature

T = TypeVar("T")


class _Mark(Enum):
    """An enum, so that functions sent by value have the same mark."""

    INJECT = "injected"


INJECT: Final = _Mark.INJECT

#: `mailer: Injected[Mailer]` is a Mailer for a type checker, and for `@job` a parameter that is not a field.
Injected: TypeAlias = Annotated[T, INJECT]

#: A parameter without a default.
REQUIRED: Final = inspect.Parameter.empty


def injected() -> Any:
    """A default that lets callers leave an injected parameter out: `mailer: Injected[Mailer] = injected()`."""
    return INJECT


@dataclass(frozen=True, slots=True)
class Wanted:
    """A type hint in the form in which the container looks it up."""

    #: The hint without `Annotated` and `| None`: the class that is built if nothing is bound.
    type: Any
    #: What may be bound, most exact first: `Annotated[T, "x"]` before `T`, `Repo[User]` before `Repo`.
    keys: tuple[Any, ...] = ()
    #: Whether the hint is `Injected[...]`.
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function."""

    name: str
    wanted: Wanted
    #: REQUIRED, or Python's default if nothing is bound.
    default: Any
    positional_only: bool
    #: Whether it has `Injected[...]` or `= injected()`; other parameters of an `@job` function are its fields.
    is_injected: bool
    #: The reason why the annotation could not be read; it matters only if the parameter must be filled.
    problem: str | None


#: By function, and by the function of a bound method, which has no `self` to fill.
_of_functions: WeakKeyDictionary[Any, tuple[Parameter, ...]] = WeakKeyDictionary()
_of_methods: WeakKeyDictionary[Any, tuple[Parameter, ...]] = WeakKeyDictionary()


def parameters_of(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The parameters to fill by name, without `self`, `*args` and `**kwargs`; for a class those of its constructor.

    Names in annotations are looked up now, not when the function was defined. An annotation that cannot be read yet has
    a `problem` and is read again next time; everything else is cached as long as the function lives.
    """
    of_method = getattr(function, "__func__", None)
    cache, key = (_of_functions, function) if of_method is None else (_of_methods, of_method)
    try:
        return cache[key]
    except (KeyError, TypeError):  # TypeError: a callable that cannot be hashed or weakly referenced
        pass
    parameters = tuple(_read(function))
    if all(parameter.problem is None for parameter in parameters):
        with suppress(TypeError):
            cache[key] = parameters
    return parameters


def wanted(hint: Any) -> Wanted:
    """Analyse a type hint."""
    metadata: tuple[Any, ...] = ()
    while True:
        if get_origin(hint) is Annotated:
            metadata, hint = (*hint.__metadata__, *metadata), hint.__origin__
        elif _is_union(hint) and len(rest := [each for each in get_args(hint) if each is not types.NoneType]) == 1:
            hint = rest[0]
        elif type(hint).__name__ == "TypeAliasType":  # `type X = ...`, of typing from 3.12, of typing_extensions before
            hint = hint.__value__
        else:
            break
    names = tuple(mark for mark in metadata if mark is not INJECT)
    keys: list[Any] = [hint]
    with suppress(TypeError):  # a list in `Annotated[T, [...]]`, say, cannot be a key
        if names and hash(exact := Annotated[hint, *names]):
            keys.insert(0, exact)
    if isinstance(origin := get_origin(hint), type) and not _is_union(hint):
        keys.append(origin)
    return Wanted(hint, tuple(keys), marked=len(names) < len(metadata))


def _read(function: Callable[..., Any]) -> Iterator[Parameter]:
    try:
        signature = _signature(function)
    except (TypeError, ValueError):  # written in C, and says nothing about its parameters
        return
    names = _names(function)
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        hint, problem = parameter.annotation, None
        try:
            found = wanted(_evaluate(hint, names))
        except Exception as error:  # whatever evaluating the text of an annotation raises
            text = hint.__forward_arg__ if isinstance(hint, ForwardRef) else hint
            found = Wanted(None, marked=_is_marked(text, names))
            problem = (
                f"its annotation {text!r} cannot be read ({error})."
                " Import the name at run time, not only under TYPE_CHECKING, or give the parameter a default"
            )
        if hint is parameter.empty:
            found = Wanted(None)
            problem = "it has no type annotation. Annotate it with its type or give it a default"
        by_default = parameter.default is INJECT
        yield Parameter(
            parameter.name,
            found,
            REQUIRED if by_default else parameter.default,
            parameter.kind is parameter.POSITIONAL_ONLY,
            found.marked or by_default,
            problem,
        )


#: Global and local names.
_Names: TypeAlias = tuple[dict[str, Any], dict[str, Any]]


def _names(function: Any) -> _Names:
    """The names available to the annotations of a function."""
    around: dict[str, Any] = {}
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, type):
        # A dataclass has fields, and so annotations, of bases in other modules.
        for base in reversed(function.__mro__):
            around |= vars(sys.modules.get(base.__module__, types))
        made_by = inspect.getattr_static(function, "__init__")
        function = made_by if isinstance(made_by, types.FunctionType) else function.__new__
    elif not inspect.isroutine(function):
        function = type(function).__call__
    function = inspect.unwrap(function)
    function = getattr(function, "__func__", function)
    local: dict[str, Any] = {}
    with suppress(TypeError, ValueError):  # not written in Python; a name that the enclosing function has not set yet
        local = dict(inspect.getclosurevars(function).nonlocals)
    return around | getattr(function, "__globals__", {}), local


def _evaluate(annotation: Any, names: _Names) -> Any:
    if isinstance(annotation, type):
        return annotation

    def holder() -> None: ...

    # One annotation at a time: one that cannot be read must not spoil the others.
    holder.__annotations__ = {"hint": annotation}
    return get_type_hints(holder, *names, include_extras=True)["hint"]


def _is_marked(annotation: Any, names: _Names) -> bool:
    """Whether an unreadable annotation is `Injected[...]`: its head can often be read."""
    with suppress(Exception):  # the same that kept the whole from being read
        if isinstance(annotation, str):  # in quotes of its own under `from __future__ import annotations`
            annotation = _evaluate(annotation.strip("'\"").partition("[")[0], names)
        return wanted(annotation).marked
    return False


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)
