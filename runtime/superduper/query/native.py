"""Expressions of the database's own client (pymongo, ibis), recorded and applied when they are executed.

``t.filter(t.x > 3).select('id')`` becomes steps on the client's own table object; arguments may hold further
recorded expressions, of this table or of another. Only plain public names are recorded, and they are
applied by the backend with ``getattr`` and ``operator``: no text is ever evaluated.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from superduper.errors import QueryError, nearest

if TYPE_CHECKING:
    from superduper.query.builder import Executor

Step = tuple[str, tuple[Any, ...], Mapping[str, Any]]
"""What is done to the object so far: ``('.', (name,), {})`` takes an attribute, ``('()', args, kwargs)`` calls it,
and an operator's name (``'gt'``, ``'and_'``, ``'getitem'``) applies that of the module ``operator``."""

ATTRIBUTE, CALL = ".", "()"


def _reflected(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda this, other: function(other, this)


_BINARY = (
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "and_",
    "or_",
    "xor",
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
)
_UNARY = ("invert", "neg")
_APPLY: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in (*_BINARY, *_UNARY, "getitem")},
    **{"r" + name: _reflected(getattr(operator, name)) for name in _BINARY[6:]},
}


@dataclass(frozen=True, eq=False, repr=False)
class Native:
    """A recorded expression on one table. It is a query: ``.execute()`` runs it."""

    _executor: Executor
    _table: str
    _steps: tuple[Step, ...] = ()

    def execute(self) -> Any:
        """Run it with the database's own client."""
        return self._executor.execute(self)

    def __repr__(self) -> str:
        return f"Native({self._table!r}, {len(self._steps)} steps)"

    def __getattr__(self, name: str) -> Native:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._then(ATTRIBUTE, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Native:
        return self._then(CALL, *args, **kwargs)

    def __getitem__(self, key: Any) -> Native:
        return self._then("getitem", key)

    def __iter__(self) -> Any:
        raise TypeError("a query is run by .execute(), and its result is what can be iterated")

    def __bool__(self) -> bool:
        raise TypeError("an expression has no truth value before it is run; combine conditions by & | ~")

    def __hash__(self) -> int:
        return id(self)

    def _then(self, operation: str, *args: Any, **kwargs: Any) -> Native:
        return Native(self._executor, self._table, (*self._steps, (operation, args, kwargs)))


def _binary(name: str) -> Callable[[Native, Any], Native]:
    return lambda self, other: self._then(name, other)


def _unary(name: str) -> Callable[[Native], Native]:
    return lambda self: self._then(name)


for _name in _BINARY:
    setattr(Native, f"__{_name.rstrip('_')}__", _binary(_name))
for _name in _BINARY[6:]:
    setattr(Native, f"__r{_name.rstrip('_')}__", _binary("r" + _name))
for _name in _UNARY:
    setattr(Native, f"__{_name}__", _unary(_name))


def native(executor: Executor, table: str) -> Native:
    """The table itself, as the beginning of a recorded expression."""
    return Native(executor, table)


def table_of(query: Native) -> str:
    """The name of the table that the expression begins with."""
    return object.__getattribute__(query, "_table")  # type: ignore[no-any-return]


def steps_of(query: Native) -> tuple[Step, ...]:
    """What is done to that table, step by step."""
    return object.__getattribute__(query, "_steps")  # type: ignore[no-any-return]


def apply_steps(root: Callable[[str], Any], table: str, steps: Sequence[Step]) -> Any:
    """Do the steps to ``root(table)``, the client's own object; ``root`` also opens tables named in arguments.

    Raises QueryError for a name that the object does not have.
    """
    made = root(table)
    for operation, args, kwargs in steps:
        if operation == ATTRIBUTE:
            made = _attribute(made, args[0])
            continue
        given = [_resolved(root, argument) for argument in args]
        if operation == CALL:
            made = made(*given, **{name: _resolved(root, argument) for name, argument in kwargs.items()})
        else:
            made = _APPLY[operation](made, *given)
    return made


def _attribute(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError as error:
        kind = type(owner).__name__
        raise QueryError(f"{kind} has nothing called {name!r}{nearest(name, dir(owner))}") from error


def _resolved(root: Callable[[str], Any], argument: Any) -> Any:
    if isinstance(argument, Native):
        return apply_steps(root, table_of(argument), steps_of(argument))
    if type(argument) is list:
        return [_resolved(root, item) for item in argument]
    if type(argument) is tuple:
        return tuple(_resolved(root, item) for item in argument)
    if type(argument) is dict:
        return {name: _resolved(root, item) for name, item in argument.items()}
    # A collection (``db['u']``, the other side of a join) stands for its table.
    opened = getattr(type(argument), "__superduper_native__", None)
    return _resolved(root, opened(argument)) if opened is not None else argument
