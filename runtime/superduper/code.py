"""User code: from a spec to a callable, and from a callable to a spec.

Code comes as a module's name, as source text, or pickled (written by Python only). Two callables that do the same
have the same digest in every process, so that applying them again is no new version.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import linecache
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superduper.errors import CodeError, nearest
from superduper.fingerprint import fingerprint, installed_name, is_installed, sha1

if TYPE_CHECKING:
    from superduper.api.v1alpha1 import Code

PROTOCOL = 4
"""Pickle protocol wherever an id depends on the bytes."""

Fetch = Callable[[str], bytes]
"""Gives the verified bytes of an artifact id."""


def load(code: Code, fetch: Fetch, *, where: str = "code") -> Any:
    """The callable that ``code`` names.

    Raises CodeError, saying which module, line or name is wrong; ``where`` names the field in the message.
    """
    if code.pickle is not None:
        found = unpickle(code.pickle, fetch, where)
    else:
        found = named(code, where=where)
    if code.is_called:
        try:
            found = found(*(code.args or ()), **(code.kwargs or {}))
        except Exception as error:
            raise CodeError(
                f"{where}: {code.callable or 'the callable'} failed on its args and kwargs: {describe(error)}"
            ) from error
    _need_callable(code, found, where)
    return found


def named(code: Code, *, where: str = "code") -> Any:
    """What ``callable`` names in the module or source, before ``args`` and ``kwargs``. Raises CodeError."""
    try:
        if code.module is not None:
            found = _attribute(_module(code.module), code.callable or "", code.module)
        elif code.source is not None:
            found = _attribute(_source(code.source), code.callable or "", "the source")
        else:
            problem = "a ConfigMap can be read in a cluster only; use source or module here"
            raise CodeError(problem, part="sourceFrom")
    except CodeError as error:
        raise error.at(where) from error.__cause__
    _need_callable(code, found, where)
    return found


def check_syntax(source: str) -> None:
    """Raises CodeError where the text is no Python; nothing of it is run."""
    _compiled(source)


def dump(function: Any) -> tuple[Code, dict[str, bytes]]:
    """A spec for a Python callable, and the artifacts that it needs (id → bytes).

    What an installed package holds is named by module; everything else is pickled by value.
    """
    from superduper.api.v1alpha1 import Code

    name = installed_name(function)
    if name is not None:
        return Code(module=name[0], callable=name[1]), {}
    data = pickled(function)
    identifier = sha1(data)
    return Code(pickle=identifier), {identifier: data}


def pickled(value: Any, *holders: Any) -> bytes:
    """Cloudpickle's bytes, with functions and classes of the modules of ``value`` (or ``holders``) by value."""
    import cloudpickle

    with ExitStack() as stack:
        for module in set().union(*(_own_modules(holder) for holder in holders or (value,))):
            stack.enter_context(_by_value(module))
        try:
            return bytes(cloudpickle.dumps(value, protocol=PROTOCOL))
        except CodeError:
            raise
        except Exception as error:
            raise CodeError(
                f"{value!r} cannot be pickled: {describe(error)}; define it in a module or as source"
            ) from error


def digest(code: Code, function: Any = None) -> str:
    """A hash of what the code does: source text, a module's file, or a callable's own code."""
    parts = [code.callable or "", repr(code.args), repr(sorted((code.kwargs or {}).items()))]
    if code.pickle is not None and function is not None and function is not code:
        parts.append(fingerprint(function))
    elif code.source is not None:
        parts.append(code.source)
    elif code.module is not None:
        parts += [code.module, _module_text(code.module)]
    else:
        parts.append(code.pickle or "")
    return sha1("\0".join(parts).encode())


def describe(error: BaseException) -> str:
    """``ValueError: text``, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def explain(error: BaseException) -> str:
    """The error in one line, with the line of code that raised it; the first frame is ours and not looked at."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    where = f" (line {frames[-1].lineno} of {frames[-1].name})" if frames else ""
    return describe(error) + where


def misfit(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """``"; it takes (x, y)"`` where the function cannot be called with these arguments, or an empty text."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        names = [str(one.replace(annotation=inspect.Parameter.empty)) for one in signature.parameters.values()]
        return f"; it takes ({', '.join(names)})"
    return ""


def _own_modules(value: Any) -> set[types.ModuleType]:
    """Importable modules of the user's own that hold the value: another process may not be able to import them."""
    parts = [value.func, *value.args] if isinstance(value, functools.partial) else [value]
    names = {name for part in parts for name in (getattr(part, "__module__", None), type(part).__module__)}
    return {
        sys.modules[name]
        for name in names
        if name and name != "__main__" and name in sys.modules and not is_installed(name)
    }


@contextmanager
def _by_value(module: types.ModuleType) -> Iterator[None]:
    import cloudpickle

    if module.__name__ in cloudpickle.list_registry_pickle_by_value():
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def unpickle(identifier: str, fetch: Fetch, where: str) -> Any:
    """What cloudpickle made of an object of ours. Raises CodeError where it does not load here."""
    import cloudpickle

    from superduper.config import CFG

    if not CFG.allow_pickle:
        raise CodeError(f"{where}: pickled code is not loaded while allow_pickle is off; give source or module instead")
    data = fetch(identifier)
    try:
        return cloudpickle.loads(data)
    except Exception as error:
        raise CodeError(
            f"{where}: the pickled callable {identifier} does not load here: {describe(error)}; install what it imports"
        ) from error


def _module(name: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        problem = f"no module {error.name!r}; install it or correct the name {name!r}"
        raise CodeError(problem, part="module") from error
    except Exception as error:
        raise CodeError(f"importing {name!r} failed: {describe(error)}", part="module") from error


def _module_text(name: str) -> str:
    """The module's own source, so that a changed file is a new version."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return ""
    if found is None or not found.origin or not found.origin.endswith(".py"):
        return ""
    return Path(found.origin).read_text(encoding="utf-8")


@functools.lru_cache(maxsize=256)
def _source(text: str) -> types.ModuleType:
    """Run the text as a module of its own. It is kept out of ``sys.modules``, so what it defines pickles by value."""
    file = _file(text)
    module = types.ModuleType(file)
    module.__file__ = file
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    try:
        exec(_compiled(text), module.__dict__)  # noqa: S102 - the user's own code, which is what this is for
    except CodeError:
        raise
    except Exception as error:
        raise CodeError(describe(error), part="source", line=_line_in(file, error)) from error
    return module


def _compiled(text: str) -> types.CodeType:
    try:
        return compile(text, _file(text), "exec")
    except SyntaxError as error:
        raise CodeError(error.msg, part="source", line=error.lineno) from error
    except ValueError as error:
        raise CodeError(str(error), part="source") from error


def _file(text: str) -> str:
    """The name of a source text in tracebacks."""
    return f"<superduper {sha1(text.encode())[:12]}>"


def _line_in(file: str, error: BaseException) -> int | None:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else None


def line_of(function: Any, error: BaseException) -> int | None:
    """The line, in the file or source text that defines the function, at which it raised the error."""
    code = getattr(function, "__code__", None)
    return _line_in(code.co_filename, error) if code is not None else None


def _need_callable(code: Code, found: Any, where: str) -> None:
    if not callable(found):
        problem = f"{code.callable!r} is a {type(found).__name__}, not something to call"
        raise CodeError(problem, where=where, part="callable")


def _attribute(module: types.ModuleType, name: str, within: str) -> Any:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = [key for key in vars(found) if not key.startswith("_")] if hasattr(found, "__dict__") else []
            raise CodeError(f"{within} defines no {name!r}{nearest(name, known)}", part="callable")
        found = getattr(found, part)
    return found
