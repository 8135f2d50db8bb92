"""Parameters: what a function wants injected, read once per function."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final, ForwardRef, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints
from weakref import WeakKeyDictionary

if sys.version_info >= (3, 14):
    from annotationlib import Format

    #: Names that are not defined yet must not keep the other parameters from being read (PEP 649).
    _signature = functools.partial(inspect.signature, annotation_format=Format.FORWARDREF)
else:
    _signature = inspect.signature

T = TypeVar("T")


class _Inject:
    """The mark of what is injected."""

    def __repr__(self) -> str:
        return "INJECT"

    def __reduce__(self) -> str:
        """There is one: functions sent by value bring the same mark back."""
        return "INJECT"


INJECT: Final = _Inject()

#: `mailer: Injected[Mailer]` is a Mailer to a type checker, and to `@job` a parameter that is no field.
Injected: TypeAlias = Annotated[T, INJECT]

#: A parameter without a default.
REQUIRED: Final = inspect.Parameter.empty


def injected() -> Any:
    """A default that lets callers leave an injected parameter out: `mailer: Injected[Mailer] = injected()`."""
    return INJECT


@dataclass(frozen=True, slots=True)
class Wanted:
    """A type hint as the container looks for it."""

    #: The hint without `Annotated` and `| None`: what is built when nothing is bound.
    type: Any
    #: What may be bound, most exact first: `Annotated[T, "x"]` before `T`, `Repo[User]` before `Repo`.
    keys: tuple[Any, ...]
    #: Whether the hint says `Injected[...]`.
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function."""

    name: str
    wanted: Wanted
    #: REQUIRED, or what Python puts in when nothing is bound.
    default: Any = REQUIRED
    positional_only: bool = False
    #: Whether it says `Injected[...]` or `= injected()`; the other parameters of an `@job` function are its fields.
    is_injected: bool = False
    #: Why the annotation could not be read; it matters only when the parameter has to be filled.
    problem: str | None = None


_NO_TYPE = Wanted(None, ())

#: Global and local names.
_Names: TypeAlias = tuple[dict[str, Any], dict[str, Any]]

_of_functions: WeakKeyDictionary[Any, tuple[Parameter, ...]] = WeakKeyDictionary()
_of_methods: WeakKeyDictionary[Any, tuple[Parameter, ...]] = WeakKeyDictionary()
_declared: WeakKeyDictionary[Any, Mapping[str, Any]] = WeakKeyDictionary()


def parameters_of(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The parameters to fill by name, without `self`, `*args` and `**kwargs`; for a class those of its constructor.

    Names in annotations are looked up now, not when the function was defined. What cannot be read yet says so in
    `problem` and is tried again next time; everything else is kept as long as the function lives.
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


def declare_locals(function: Callable[..., Any], names: Mapping[str, Any]) -> None:
    """Names that string annotations of a function defined inside another function may use.

    Python keeps no trace of them; whoever sees the definition (`sys._getframe().f_locals`) can pass them on.
    """
    if (plain := _plain(function)) is not None:
        _declared[plain] = dict(names)


def wanted(hint: Any) -> Wanted:
    """Take a type hint apart."""
    metadata: tuple[Any, ...] = ()
    while True:
        if get_origin(hint) is Annotated:
            metadata, hint = (*hint.__metadata__, *metadata), hint.__origin__
        elif (member := _optional(hint)) is not None:
            hint = member
        elif type(hint).__name__ == "TypeAliasType":  # `type X = ...`, of typing from 3.12, of typing_extensions before
            hint = hint.__value__
        else:
            break
    marked = any(mark is INJECT for mark in metadata)
    metadata = tuple(mark for mark in metadata if mark is not INJECT)
    keys: list[Any] = [Annotated[hint, *metadata], hint] if metadata else [hint]
    if isinstance(origin := get_origin(hint), type) and not _is_union(hint):
        keys.append(origin)
    return Wanted(hint, tuple(key for key in keys if _hashable(key)), marked)


def _read(function: Callable[..., Any]) -> Iterator[Parameter]:
    try:
        signature = _signature(function)
    except (TypeError, ValueError):  # written in C, and says nothing about its parameters
        return
    names = _names(function)
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        found, problem = _NO_TYPE, None
        if parameter.annotation is REQUIRED:
            problem = "it has no type annotation. Annotate it with its type or give it a default"
        else:
            try:
                found = wanted(_evaluate(parameter.annotation, names))
            except Exception as error:  # whatever evaluating the text of an annotation raises
                found = Wanted(None, (), _looks_marked(parameter.annotation, names))
                problem = (
                    f"its annotation {_text(parameter.annotation)!r} cannot be read ({error})."
                    " Import the name at run time, not only under TYPE_CHECKING, or give the parameter a default"
                )
        marked_by_default = parameter.default is INJECT
        yield Parameter(
            parameter.name,
            found,
            default=REQUIRED if marked_by_default else parameter.default,
            positional_only=parameter.kind is parameter.POSITIONAL_ONLY,
            is_injected=found.marked or marked_by_default,
            problem=problem,
        )


def _evaluate(annotation: Any, names: _Names) -> Any:
    if isinstance(annotation, type):
        return annotation

    def holder() -> None: ...

    # One annotation at a time: one that cannot be read must not spoil the others.
    holder.__annotations__ = {"hint": annotation}
    return get_type_hints(holder, *names, include_extras=True)["hint"]


def _names(function: Callable[..., Any]) -> _Names:
    """The global and the local names that the annotations of a function may use."""
    around: dict[str, Any] = {}
    if isinstance(function, type):
        # A dataclass has fields, and so annotations, of bases in other modules.
        for base in reversed(function.__mro__):
            around |= vars(sys.modules.get(base.__module__, types))
    plain = _plain(function)
    if plain is None:
        return around, {}
    local: dict[str, Any] = dict(_declared.get(plain, {}))
    for name, cell in zip(plain.__code__.co_freevars, plain.__closure__ or (), strict=True):
        with suppress(ValueError):  # the enclosing function has not set it yet
            local[name] = cell.cell_contents
    return around | plain.__globals__, local


def _plain(function: Any) -> types.FunctionType | None:
    """The Python function whose text holds the annotations, None when it is not written in Python."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, type):
        made_by = inspect.getattr_static(function, "__init__")
        function = made_by if isinstance(made_by, types.FunctionType) else function.__new__
    elif not isinstance(function, types.FunctionType | types.MethodType | types.BuiltinFunctionType):
        function = type(function).__call__
    function = inspect.unwrap(function)
    function = getattr(function, "__func__", function)
    return function if isinstance(function, types.FunctionType) else None


def _looks_marked(annotation: Any, names: _Names) -> bool:
    """Whether an annotation that cannot be read is `Injected[...]` all the same: its head often can be."""
    text = _text(annotation)
    if not isinstance(text, str):
        return wanted(annotation).marked
    with suppress(Exception):  # the same that kept the whole from being read
        tree = ast.parse(text, mode="eval").body
        while isinstance(tree, ast.BinOp):
            tree = tree.left
        if isinstance(tree, ast.Constant):
            # Quotes from before the module got its `from __future__ import annotations`.
            return _looks_marked(tree.value, names)
        if isinstance(tree, ast.Subscript):
            return wanted(_evaluate(ast.unparse(tree.value), names)).marked
    return False


def _text(annotation: Any) -> Any:
    return annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _optional(hint: Any) -> Any:
    """The `X` of `X | None`, None for any other hint."""
    if not _is_union(hint) or type(None) not in get_args(hint):
        return None
    members = [member for member in get_args(hint) if member is not type(None)]
    return members[0] if len(members) == 1 else None


def _hashable(key: Any) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True
