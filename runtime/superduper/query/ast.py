"""The portable query: a small tree of frozen dataclasses, compiled by each databackend.

Meaning, the same on every backend:

- A null and an absent field are one thing: ``Compare("x", "eq", None)`` and ``Exists("x", False)`` find both.
- ``ne``, ``NotIn`` and ``Not`` find rows whose field is null; ``eq`` with a value, ``gt`` … and ``Regex`` do not.
- Nulls sort before every value. Texts compare by code point, case counts. ``Regex`` searches anywhere in the text.
- A dotted field (``meta.size``) reaches into a ``json`` column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Plain: TypeAlias = object
"""A value as a databackend stores it: str, int, float, bool, bytes, datetime, None, or JSON."""


@dataclass(frozen=True, slots=True)
class Compare:
    """``field op value``."""

    field: str
    op: Literal["eq", "ne", "gt", "gte", "lt", "lte"]
    value: Plain


@dataclass(frozen=True, slots=True)
class In:
    """``field`` is one of ``values``; negated, it is none of them."""

    field: str
    values: tuple[Plain, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Exists:
    """``field`` is there and not null; negated, it is absent or null."""

    field: str
    present: bool = True


@dataclass(frozen=True, slots=True)
class Regex:
    """``pattern`` is found somewhere in the text ``field``."""

    field: str
    pattern: str
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter


Filter: TypeAlias = Compare | In | Exists | Regex | And | Or | Not

EVERYTHING = And(())
"""The filter that every row passes."""


@dataclass(frozen=True, slots=True)
class Select:
    """Rows of one table. ``fields`` None means all; ``exclude`` names fields to leave out."""

    table: str
    filter: Filter = EVERYTHING
    fields: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    sort: tuple[tuple[str, Literal[1, -1]], ...] = ()
    skip: int = 0
    limit: int | None = None
    outputs: tuple[str, ...] = ()
    """Listeners whose current outputs are joined to each row."""


@dataclass(frozen=True, slots=True)
class Update:
    """What changes in a row. ``set`` may hold a null; ``push`` appends to a JSON list."""

    set: Mapping[str, Plain] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    inc: Mapping[str, int | float] = field(default_factory=dict)
    push: Mapping[str, tuple[Plain, ...]] = field(default_factory=dict)

    @property
    def fields(self) -> frozenset[str]:
        """Names of the top-level fields that it touches."""
        names = [*self.set, *self.unset, *self.inc, *self.push]
        return frozenset(name.partition(".")[0] for name in names)
