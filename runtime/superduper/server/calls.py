"""What may be called over HTTP of the three stores, and of what runs models; nothing else can be."""

from __future__ import annotations

import dataclasses
from typing import Any

from superduper import wire
from superduper.errors import QueryError
from superduper.query import ast
from superduper.query.tables import TableDef

Filter = (ast.Compare, ast.In, ast.Exists, ast.Regex, ast.And, ast.Or, ast.Not)
Rows = list
_STR, _INT, _MAYBE = (str,), (int,), (str, type(None))
_VERSION = (int, type(None))


@dataclasses.dataclass(frozen=True)
class Call:
    """A method that may be called: the types of its arguments, and whether it only reads."""

    args: tuple[tuple[type, ...], ...] = ()
    reads: bool = False
    named: tuple[str, ...] = ()


_TABLE = (TableDef,)
CALLS: dict[str, dict[str, Call]] = {
    "data": {
        "create_table": Call((_TABLE,)),
        "drop_table": Call((_STR,)),
        "list_tables": Call(reads=True),
        "check": Call((_TABLE, (Rows,)), reads=True),
        "insert": Call((_TABLE, (Rows,))),
        "upsert": Call((_TABLE, (Rows,))),
        "count": Call((_TABLE, Filter), reads=True),
        "distinct": Call((_TABLE, _STR, Filter), reads=True),
        "update": Call((_TABLE, Filter, (ast.Update,)), named=("many",)),
        "replace": Call((_TABLE, Filter, (dict,))),
        "delete": Call((_TABLE, Filter), named=("many",)),
        "settle": Call(((list,),)),
        "native_names": Call((_TABLE,), reads=True),
    },
    "metadata": {
        "add_component": Call((_STR, _STR), named=("digest", "spec", "artifacts", "children")),
        "component": Call((_STR, _STR, _VERSION), reads=True),
        "components": Call((_MAYBE,), reads=True),
        "versions": Call((_STR, _STR), reads=True),
        "state": Call(reads=True),
        "remove_component": Call((_STR, _STR, _VERSION)),
        "children": Call(((list,),), reads=True),
        "parents": Call((_STR, _STR, _VERSION), reads=True),
        "status": Call((_STR, _STR), reads=True),
        "set_status": Call((_STR, _STR, (dict,))),
        "put_job": Call(((list,),)),
        "jobs": Call((_MAYBE,), reads=True, named=("limit",)),
        "acquire": Call((_STR, _STR, (int, float))),
        "holder": Call((_STR,), reads=True),
        "release": Call((_STR, _STR)),
        "prepare": Call(),
        "drop": Call(),
    },
    "artifacts": {
        "head": Call((_STR,), reads=True),
        "put_many": Call(((dict,),)),
        "delete": Call(((list,),)),
        "move": Call((_STR, _STR)),
        "existing": Call(((list,),), reads=True),
        "sizes": Call(((list,),), reads=True),
        "discard": Call(((list,),)),
        "url": Call((_STR, (int, float)), reads=True),
        "drop": Call(),
    },
    "models": {
        "predict": Call((_STR, (list,), (dict,)), reads=True),
        "coverage": Call((_STR,), reads=True),
    },
}
"""What may be called; nothing else can be."""
STREAMS: dict[str, dict[str, Call]] = {
    "data": {
        "select": Call((_TABLE, (ast.Select,)), reads=True, named=("batch",)),
        "missing": Call((_TABLE, Filter, _TABLE, Filter), reads=True, named=("batch",)),
    },
    "metadata": {"artifacts": Call(reads=True)},
    "artifacts": {
        "list": Call((_STR,), reads=True),
        "leftovers": Call(reads=True),
        "get_many": Call(((list,),), reads=True),
    },
    "models": {"validate": Call((_STR,)), "run": Call((_STR,), named=("retry", "full"))},
}
"""What gives many items, one frame after the other."""


def arguments(known: Call, body: bytes | bytearray, what: str) -> tuple[list[Any], dict[str, Any]]:
    """What a call is made with. Raises QueryError where that is nothing the method takes."""
    said = wire.loads(body)
    if not isinstance(said, list) or len(said) != 2 or not isinstance(said[0], list) or not isinstance(said[1], dict):
        raise QueryError(f"{what}: a call is a list of its arguments and of its named ones")
    args, kwargs = said
    if len(args) > len(known.args) or not all(map(isinstance, args, known.args)):
        shown = ", ".join(type(arg).__name__ for arg in args)
        raise QueryError(f"{what} does not take ({shown})")
    if unknown := set(kwargs) - set(known.named):
        raise QueryError(f"{what} takes no {', '.join(sorted(map(str, unknown)))}")
    if what in ("data/insert", "data/upsert", "data/check") and not all(type(row) is dict for row in args[1]):
        raise QueryError(f"{what}: a row is a document")
    if what in ("artifacts/sizes", "artifacts/get_many") and not all(type(key) is str for key in args[0]):
        raise QueryError(f"{what}: a key is a text")
    if what == "artifacts/put_many" and not all(type(k) is str and type(v) is bytes for k, v in args[0].items()):
        raise QueryError(f"{what}: an object is bytes, and its key a text")
    return args, kwargs
