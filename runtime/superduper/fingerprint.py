"""What a callable does, as a hash: the same in every process, another when the code changes.

Functions count by their source (lambdas by their byte code), their defaults, what they close over, and what of the
user's own they call, however deep. What an installed package holds counts by name.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
import sysconfig
import textwrap
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_PLAIN = (str, int, float, complex, bool, bytes, type(None), type(...))


def fingerprint(value: Any) -> str:
    """SHA-1, in hex, of what the value is and does."""
    return _hash(_facts(value, {}))


def sha1(data: bytes) -> str:
    """The digest in hex."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def installed_name(function: Any) -> tuple[str, str] | None:
    """Module and name, if an installed package or the standard library holds exactly this object."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or "<" in name or not is_installed(module):
        return None
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    return (module, name) if found is function else None


@functools.cache
def is_installed(name: str) -> bool:
    """Whether the module belongs to the standard library or an installed package, rather than to the user."""
    module = sys.modules.get(name)
    if module is None or name == "__main__":
        return False
    if name in sys.builtin_module_names or name.partition(".")[0] == "superduper":
        return True
    file = getattr(module, "__file__", None)
    return file is None or any(folder in Path(file).resolve().parents for folder in _library_folders())


@functools.cache
def _library_folders() -> tuple[Path, ...]:
    return tuple({Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")})


def _hash(facts: Iterable[str]) -> str:
    return sha1("\0".join(facts).encode())


def _facts(value: Any, seen: dict[int, Any]) -> Iterator[str]:
    if isinstance(value, _PLAIN):
        yield repr(value)
        return
    if id(value) in seen:
        yield "again"
        return
    # Kept while it runs: the id of a value that is gone may come back as another's.
    seen[id(value)] = value
    name = installed_name(value)
    yield type(value).__qualname__ if name is None else ":".join(name)
    if name is None:
        yield from _inside(value, seen)


def _inside(value: Any, seen: dict[int, Any]) -> Iterator[str]:
    match value:
        case list() | tuple():
            yield from _each(value, seen)
        case set() | frozenset():
            yield from sorted(_hash(_facts(part, dict(seen))) for part in value)
        case dict():
            yield from sorted(_hash(_each(pair, dict(seen))) for pair in value.items())
        case functools.partial():
            yield from _each((value.func, value.args, value.keywords), seen)
        case types.MethodType():
            yield from _each((value.__func__, value.__self__), seen)
        case types.ModuleType():
            yield value.__name__
        case types.FunctionType():
            yield from _function(value, seen)
        case type():
            yield from _class(value, seen)
        case _ if not is_installed(type(value).__module__) and hasattr(value, "__dict__"):
            yield from _each((type(value), vars(value)), seen)
        case _:
            from superduper.code import pickled

            yield sha1(pickled(value))


def _each(values: Iterable[Any], seen: dict[int, Any]) -> Iterator[str]:
    for value in values:
        yield from _facts(value, seen)


def _function(function: types.FunctionType, seen: dict[int, Any]) -> Iterator[str]:
    yield _text(function) if function.__name__ != "<lambda>" else "\n".join(_byte_code(function.__code__))
    yield from _each((function.__defaults__, function.__kwdefaults__), seen)
    for cell in function.__closure__ or ():
        try:
            yield from _facts(cell.cell_contents, seen)
        except ValueError:
            yield "empty"
    for name in sorted(_names(function.__code__)):
        if name in function.__globals__:
            yield name
            yield from _facts(function.__globals__[name], seen)


def _class(cls: type, seen: dict[int, Any]) -> Iterator[str]:
    yield from _each(cls.__bases__, seen)
    for name, part in sorted(vars(cls).items()):
        if isinstance(part, (staticmethod, classmethod)):
            part = part.__func__
        if isinstance(part, types.FunctionType) or (isinstance(part, _PLAIN) and not name.startswith("__")):
            yield name
            yield from _facts(part, seen)


def _text(function: types.FunctionType) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return "\n".join(_byte_code(function.__code__))


def _names(code: types.CodeType) -> set[str]:
    """Names that the code and the functions within it may look up."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found


def _byte_code(code: types.CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr((code.co_names, code.co_varnames, code.co_freevars))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _byte_code(constant)
        else:
            yield repr(sorted(constant, key=repr)) if isinstance(constant, frozenset) else repr(constant)
